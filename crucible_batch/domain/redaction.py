"""Redaction of external text: the API key, plain or encoded, and the signatures and passwords of links.

If a gateway's answer contains the API key, it must not be written into a journal, a report or a log. The complete
secret and any part of it with at least 23 letters and digits is found

    plain, in any case, with any other characters between its letters and digits: white space, line ends, invisible
    characters, controls, terminal escapes, combining marks; in compatibility forms (full width, mathematical)
    in escapes of JSON and C (\\u005f, \\x5f, \\137), percent-encoding, HTML character references; up to five levels
    in base64, in both alphabets and at any offset, and in hexadecimal

The first three may be combined in any way. Base64 and hexadecimal of any of these are found, as are base64 and
hexadecimal of base64 or hexadecimal of the secret itself, with escapes around each. Three nested encodings of this kind
are not found: the limit of two bounds the work, since each level multiplies the text by its possible offsets.

Look-alike characters of another script, inserted letters and ciphers are not found: producing these requires the key.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, bidi overrides, lone surrogates, line separators

MESSAGE_LIMIT = 500
CODE_LIMIT = 100


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Remove terminal escapes and invisible characters, join the lines, and truncate to ``limit`` characters."""
    # Truncate first: a message of megabytes must not cost megabytes of work. Escapes are longer than their values.
    return truncate(strip_invisible(text[: limit * 8]), limit)


def strip_invisible(text: str) -> str:
    """Remove terminal escapes and invisible characters, and join the lines."""
    if text.isascii() and text.isprintable():  # nearly all text
        return " ".join(text.split())
    spaced = " ".join(strip_escapes(text).split())
    return "".join(char for char in spaced if unicodedata.category(char) not in _UNSEEN)


def truncate(text: str, limit: int) -> str:
    """Truncate to ``limit`` characters, with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def strip_escapes(text: str) -> str:
    """Remove terminal escape sequences."""
    return _ESCAPES.sub("", text)


MASK: Final = "***"
KEY_PREFIX: Final = "moltazine_"

_PIECE: Final = 12
"""The number of letters and digits that can't match by chance. A shorter secret is found only in plain form."""
_LAYERS: Final = 5
_HEX: Final = "[0-9A-Fa-f]"
_ESCAPE: Final = re.compile(
    rf"\\+(?:u({_HEX}{{4}})|u\{{({_HEX}{{1,6}})\}}|U({_HEX}{{8}})|[xX]({_HEX}{{2}})|([0-3][0-7]{{2}})|([abfnrtv]))"
)
_REFERENCE: Final = re.compile(r"&(?:#[0-9A-Za-z]{1,10};?|[0-9A-Za-z]{2,31};|amp|shy)")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_LOWER: Final = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())
_NO_LETTERS: Final = bytes(set(range(256)) - set((string.ascii_letters + string.digits).encode()))
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_NO_HEX: Final = bytes(set(range(256)) - set(string.hexdigits.encode()))
_NO_BASE64: Final = bytes(set(range(256)) - set((string.ascii_letters + string.digits + "+/-_").encode()))
_KINDS: Final = bytes(
    b"a"[0] if b < 0x80 else b"."[0] if b < 0xC0 else b"234"[(b >= 0xE0) + (b >= 0xF0)] for b in range(256)
)
"""The kind of a UTF-8 byte: ``a`` is ASCII, a digit starts a character of that many bytes, a dot continues one."""
_RUNS: Final = (b"a" * 16, b"3.." * 6, b"4..." * 4)
"""Sequences of characters that are long enough to be text."""


class Secret:
    """A secret, and the forms in which it is found."""

    __slots__ = ("_encoded", "_folded", "_text", "_token")

    def __init__(self, text: str) -> None:
        self._text = text
        self._token = text.removeprefix(KEY_PREFIX)
        letters, raw = _letters(self._token), self._token.encode()
        is_long = len(letters) >= _PIECE
        self._folded = (*_pieces(letters, _PIECE), *_pieces(raw.hex().encode(), 2 * _PIECE)) if is_long else ()
        self._encoded = tuple(piece for core in _base64(raw) for piece in _pieces(core, 16)) if is_long else ()

    def mask_in(self, text: str) -> str:
        """Return the text with the secret replaced by ``***``; if it is encoded, the entire text is replaced."""
        plain = text.replace(self._text, MASK)
        if self._folded:
            plain = plain.replace(self._token, MASK)
        return MASK if self._is_encoded_in(plain) else plain

    def is_in(self, text: str) -> bool:
        """Whether the secret is in a text, plain or encoded."""
        return self._text in text or self._is_encoded_in(text)

    def _is_encoded_in(self, text: str) -> bool:
        return bool(self._folded) and any(self._matches(view) for view in _views(text))

    def _matches(self, plain: bytes) -> bool:
        return _holds_any(self._folded, plain.translate(_LOWER, _NO_LETTERS)) or _holds_any(
            self._encoded, plain.translate(_STANDARD, _NO_BASE64)
        )


class _Compatible(dict[int, str]):
    """A cache of the ASCII in a character's compatibility form, by its code point."""

    def __missing__(self, point: int) -> str:
        plain = unicodedata.normalize("NFKD", chr(point)).encode("ascii", "ignore").decode()
        return self.setdefault(point, plain)


_COMPATIBLE: Final = _Compatible()


def _ascii(text: str) -> bytes:
    return (text if text.isascii() else text.translate(_COMPATIBLE)).encode("ascii")


def _letters(text: str) -> bytes:
    return _ascii(text).translate(_LOWER, _NO_LETTERS)


def _pieces(text: bytes, size: int) -> tuple[bytes, ...]:
    """Split into pieces, so that any part of twice the size contains one. The last may overlap the one before."""
    starts = {*range(0, len(text) - size + 1, size), max(len(text) - size, 0)}
    return tuple(text[start : start + size] for start in sorted(starts))


def _base64(raw: bytes) -> Iterator[bytes]:
    """Yield the base64 of the bytes at each offset, without the characters that depend on their neighbours."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw)
        yield encoded[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]


def _views(text: str) -> Iterator[bytes]:
    """Yield the text and its encoded content, each plain and unescaped, reduced to ASCII."""
    last, noise = text, bytearray()
    for last in _unescaped(text):
        yield _ascii(last)
    for raw in _encoded_in(last):  # escapes are not part of an encoding, so the last text still has all of it
        if _holds_text(raw):
            yield from map(_ascii, _unescaped(raw.decode(errors="ignore")))
        else:
            noise += raw
    yield bytes(noise)  # may still contain the secret, with other bytes after each letter


def _unescaped(text: str) -> Iterator[str]:
    """Yield the text, then decoded once, twice, until nothing is left to decode."""
    yield text
    for _ in range(_LAYERS):
        before, text = text, _decoded(text)
        if text == before:
            return
        yield text


def _encoded_in(text: str) -> Iterator[bytes]:
    """Yield the text decoded from base64 and hexadecimal at each offset; all other text becomes noise."""
    packed = _ascii(text).translate(_STANDARD, _NO_BASE64)
    for start in range(4):
        yield binascii.a2b_base64(packed[start : len(packed) - (len(packed) - start) % 4])
    digits = packed.translate(None, _NO_HEX)
    for start in range(2):
        yield binascii.unhexlify(digits[start : len(digits) - (len(digits) - start) % 2])


def _holds_text(raw: bytes) -> bool:
    return _holds_any(_RUNS, raw.translate(_KINDS))


def _holds_any(pieces: Sequence[bytes], content: bytes) -> bool:
    for piece in pieces:  # noqa: SIM110 - ``any`` with a generator takes twice as long, and each answer is searched
        if piece in content:
            return True
    return False


def _decoded(text: str) -> str:
    if not text.isascii():
        if _SURROGATES.search(text):  # two of them may be one character
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = text.translate(_COMPATIBLE)
    if "\\" in text:
        text = _ESCAPE.sub(_character, text)
    if "%" in text:
        text = unquote(text)
    if "&" in text:
        text = _REFERENCE.sub(lambda found: _referenced(found[0]), text)
    return strip_escapes(text) if "\x1b" in text else text


@lru_cache(4096)  # a hostile text may be a megabyte of them
def _referenced(reference: str) -> str:
    return html.unescape(reference)


def _character(found: re.Match[str]) -> str:
    *hexadecimal, octal, control = found.groups()
    if control is not None:
        return ""
    number = int(octal, 8) if octal is not None else int(next(filter(None, hexadecimal)), 16)
    return chr(number) if number <= 0x10FFFF else ""


_LINK: Final = re.compile(
    r"""(?P<scheme>[a-z][a-z0-9+.-]{0,30}:(?:\\*/){2})
        (?P<user>[^\s?#]*@)?
        (?P<place>[^\s?#]*)
        (?P<rights>\s*[?#]\S*(?:\s+[^\s=]*=\S*)*)?""",
    re.IGNORECASE | re.VERBOSE,
)
_QUERY: Final = re.compile(r"(?P<mark>[?&\#])[\w.~%\[\]-]{1,100}=\S*")
_CLOSERS: Final = "'\"<>)]},.;:"
_QUOTE: Final = r"\\*[\"']|%(?:25)*2[27]|&quot;|&\#0*3[49];"
_NAMED: Final = re.compile(
    rf"""(?P<name>
            (?:signature|credential|secret|token|passw(?:or)?d|api[ _-]?key|\bsig)
            (?P<json>{_QUOTE})?\s*
            (?:=|%(?:25)*3d|&\#0*61;|(?P<colon>:|%(?:25)*3a|&\#0*58;))\s*
            (?P<quote>{_QUOTE})?
        )
        (?(quote)
            (?:.*?(?<!\\)(?P<end>(?P=quote))|.*)
        |
            (?(colon)(?!(?-i:[a-z]{{1,15}})(?=[,)}}\]]|[{re.escape(_CLOSERS)}]*(?:\s|$))))
            (?:(?:bearer|basic)\s+)?
            (?P<bare>(?(json)[^\s,}}\]]+|\S+))
        )""",
    re.IGNORECASE | re.VERBOSE,
)
"""A name, a separator and a value. The value is in quotation marks, escaped or not, or extends to the next blank. A
short lower-case word after a colon ("the token: expired") is prose, and not matched."""


def mask_link_secrets(text: str) -> str:
    """Replace user, password, query and fragment of links, and values of named secrets, with ``***``.

    Named secrets are values with a name such as signature or token, in a query, a header or JSON. The text must not
    contain invisible characters, which could hide a link.
    """
    text = _LINK.sub(_masked_link, text)
    text = _QUERY.sub(lambda found: f"{found['mark']}{MASK}", text)
    return _NAMED.sub(_masked_value, text)


def _masked_link(link: re.Match[str]) -> str:
    rights = link["rights"] or ""
    user = f"{MASK}@" if link["user"] else ""
    if "@" in rights:  # a password may contain any character, even one that ends an address
        return f"{link['scheme']}{MASK}{_closers(rights)}"
    mark = rights.lstrip()[:1]
    return f"{link['scheme']}{user}{link['place']}{mark and mark + MASK}{_closers(rights)}"


def _masked_value(named: re.Match[str]) -> str:
    return f"{named['name']}{MASK}{named['end'] or ''}{_closers(named['bare'] or '')}"


def _closers(text: str) -> str:
    """Return the closing quotation marks, brackets and punctuation at the end of a text."""
    return text[len(text.rstrip(_CLOSERS)) :]


_OPEN_LINK: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:\S*$")


def clean_message(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Make text of the gateway safe to show and store: as ``clean`` does, and with the secrets of links masked.

    Links are masked after cleaning, which may reveal one, and before truncation, which may remove its end.
    """
    seen = strip_invisible(text[: limit * 8])
    if len(text) > limit * 8:
        seen = _OPEN_LINK.sub("", seen)  # the @ that would show its password may have been cut off
    return truncate(mask_link_secrets(seen), limit)
