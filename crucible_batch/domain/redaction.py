"""A secret in text from outside, found in whatever it is dressed in, and links without the rights that they carry.

A gateway that answers with the API key in it must not have it written into a journal, a report or a log. Looked for
are the whole secret and any part of it of 23 letters and digits or more:

    as it is, in any case, with anything between its letters and digits that is neither: white space, line ends,
    unseen characters, controls, terminal escapes, combining marks; compatible forms (full width, mathematical)
    escapes of JSON and C (\\u005f, \\x5f, \\137), percent-encoding, HTML's character references; up to five deep
    base64, in both alphabets and at any offset; hexadecimal

All but the last line are found within each other. Base64 and hexadecimal are found of any of these, and of base64 and
hexadecimal of the secret itself, with escapes around each. Three of these encodings within each other are not found:
two bound the work, since each multiplies the text by the places where it may begin.

Not found are look-alikes of another script, letters put in between, and ciphers: who does that wants to show the key,
and has it already.
"""

from __future__ import annotations

import base64
import html
import re
import string
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, bidi overrides, lone surrogates, line separators

MESSAGE_LIMIT = 500
CODE_LIMIT = 100


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Drop terminal escapes and unseen characters, join the lines, and cut to ``limit`` characters."""
    if len(text) <= limit and text.isascii() and text.isprintable():  # as nearly all is
        return " ".join(text.split())
    # Cut first: a message of megabytes must not cost megabytes of work. Escapes are longer than what they leave.
    return truncate(strip_invisible(text[: limit * 8]), limit)


def strip_invisible(text: str) -> str:
    """Drop terminal escapes and unseen characters, and join the lines."""
    spaced = " ".join(strip_escapes(text).split())
    return "".join(char for char in spaced if unicodedata.category(char) not in _UNSEEN)


def truncate(text: str, limit: int) -> str:
    """Cut to ``limit`` characters, and show that."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def strip_escapes(text: str) -> str:
    """Drop what a terminal would take for an order."""
    return _ESCAPES.sub("", text)


MASK: Final = "***"
KEY_PREFIX: Final = "moltazine_"

_PIECE: Final = 12
"""So many letters and digits in a row are no coincidence. A shorter secret is looked for as it is only."""
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
"""Of a byte of UTF-8: ``a`` is ASCII, a digit begins a character of so many bytes, a dot goes on with one."""
_RUNS: Final = (b"a" * 16, b"3.." * 6, b"4..." * 4)
"""So many characters in a row are no noise."""


class Secret:
    """A secret, and how it is found."""

    __slots__ = ("_encoded", "_folded", "_text", "_token")

    def __init__(self, text: str) -> None:
        self._text = text
        self._token = text.removeprefix(KEY_PREFIX)
        letters, raw = _letters(self._token), self._token.encode()
        is_long = len(letters) >= _PIECE
        self._folded = (*_pieces(letters, _PIECE), *_pieces(raw.hex().encode(), 2 * _PIECE)) if is_long else ()
        self._encoded = tuple(piece for core in _base64(raw) for piece in _pieces(core, 16)) if is_long else ()

    def mask_in(self, text: str) -> str:
        """Return the text with the secret replaced by ``***``; where it is disguised, that is all that is left."""
        plain = text.replace(self._text, MASK)
        if self._folded:
            plain = plain.replace(self._token, MASK)
        return MASK if self._is_disguised_in(plain) else plain

    def is_in(self, text: str) -> bool:
        """Whether the secret is in a text, plain or disguised."""
        return self._text in text or self._is_disguised_in(text)

    def _is_disguised_in(self, text: str) -> bool:
        return bool(self._folded) and any(self._shows_in(view) for view in _views(text))

    def _shows_in(self, plain: bytes) -> bool:
        letters = plain.translate(_LOWER, _NO_LETTERS)
        if any(piece in letters for piece in self._folded):
            return True
        encoded = plain.translate(_STANDARD, _NO_BASE64)
        return any(piece in encoded for piece in self._encoded)


class _Compatible(dict[int, str]):
    """What is ASCII of a character's compatible form, by its code point; filled as characters come."""

    def __missing__(self, point: int) -> str:
        plain = unicodedata.normalize("NFKD", chr(point)).encode("ascii", "ignore").decode()
        return self.setdefault(point, plain)


_COMPATIBLE: Final = _Compatible()


def _ascii(text: str) -> bytes:
    return (text if text.isascii() else text.translate(_COMPATIBLE)).encode("ascii")


def _letters(text: str) -> bytes:
    return _ascii(text).translate(_LOWER, _NO_LETTERS)


def _pieces(text: bytes, size: int) -> tuple[bytes, ...]:
    """Cut into pieces, of which any part of twice the size holds one. The last may overlap the one before."""
    starts = {*range(0, len(text) - size + 1, size), max(len(text) - size, 0)}
    return tuple(text[start : start + size] for start in sorted(starts))


def _base64(raw: bytes) -> Iterator[bytes]:
    """Yield what base64 makes of the bytes wherever they begin, less the characters that their neighbours share."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw)
        yield encoded[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]


def _views(text: str) -> Iterator[bytes]:
    """Yield the text as it is and unescaped, and the same of what is encoded in it; of characters what is ASCII."""
    last, noise = text, bytearray()
    for last in _unescaped(text):
        yield _ascii(last)
    for raw in _encoded_in(last):  # an escape is no part of what is encoded, so nothing of that is lost in the last
        if _holds_text(raw):
            yield from map(_ascii, _unescaped(raw.decode(errors="ignore")))
        else:
            noise += raw
    yield bytes(noise)  # the secret may be in it yet, with something else after each letter


def _unescaped(text: str) -> Iterator[str]:
    """Yield the text as it is, then decoded once, twice, until nothing is left to decode."""
    yield text
    for _ in range(_LAYERS):
        before, text = text, _decoded(text)
        if text == before:
            return
        yield text


def _encoded_in(text: str) -> Iterator[bytes]:
    """Yield what base64 and hexadecimal in the text stand for, wherever they begin; all else in it becomes noise."""
    packed = _ascii(text).translate(_STANDARD, _NO_BASE64)
    for start in range(4):
        yield base64.b64decode(packed[start : len(packed) - (len(packed) - start) % 4])
    digits = packed.translate(None, _NO_HEX)
    for start in range(2):
        yield bytes.fromhex(digits[start : len(digits) - (len(digits) - start) % 2].decode())


def _holds_text(raw: bytes) -> bool:
    kinds = raw.translate(_KINDS)
    return any(run in kinds for run in _RUNS)


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
        text = _REFERENCE.sub(lambda found: _referred(found[0]), text)
    return strip_escapes(text) if "\x1b" in text else text


@lru_cache(4096)  # a hostile text is a megabyte of them
def _referred(reference: str) -> str:
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
"""A name, a sign between, a value: in quotation marks, escaped or not, else up to a blank. A short word in small
letters after a colon ("the token: expired") is prose."""


def mask_link_secrets(text: str) -> str:
    """Return a text with what makes a link a right replaced by ``***``: user and password, query, fragment; and the
    values that are called a signature or a token, in a query, a header or JSON.

    For text that was cleaned: an unseen character hides a link.
    """
    text = _LINK.sub(_without_rights, text)
    text = _QUERY.sub(lambda found: f"{found['mark']}{MASK}", text)
    return _NAMED.sub(_without_value, text)


def _without_rights(link: re.Match[str]) -> str:
    rights = link["rights"] or ""
    user = f"{MASK}@" if link["user"] else ""
    if "@" in rights:  # a password may hold any character, also one that ends an address
        return f"{link['scheme']}{MASK}{_closers(rights)}"
    mark = rights.lstrip()[:1]
    return f"{link['scheme']}{user}{link['place']}{mark and mark + MASK}{_closers(rights)}"


def _without_value(named: re.Match[str]) -> str:
    return f"{named['name']}{MASK}{named['end'] or ''}{_closers(named['bare'] or '')}"


def _closers(text: str) -> str:
    """Return what closes a quotation or a sentence at the end of a text."""
    return text[len(text.rstrip(_CLOSERS)) :]


_OPEN_LINK: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:\S*$")


def clean_message(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Make what the gateway says safe to show and to keep: as ``clean`` does, and without the rights of links.

    Links are looked for between cleaning, which may bring one to light, and cutting, which may take its end away.
    """
    seen = strip_invisible(text[: limit * 8])
    if len(text) > limit * 8:
        seen = _OPEN_LINK.sub("", seen)  # what would tell that it holds a password may be behind the cut
    return truncate(mask_link_secrets(seen), limit)
