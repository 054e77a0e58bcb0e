"""Redaction of external text: the API key, plain or encoded, and the signatures and passwords of
links.

If a gateway's answer contains the API key, it must not be written into a journal, a report or a
log. It is searched for in the text as it is shown, without terminal escapes and invisible
characters:

    plain, in any letter case, with any other characters between its letters and digits escaped as
    in JSON, percent-encoded, and in HTML character references, and each of the latter two in JSON
    in base64, in both alphabets and at any offset

Deeper encodings are not searched for: only a party that has the key can send them.
"""

from __future__ import annotations

import base64
import html
import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import unquote

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_UNSEEN = frozenset(
    {"Cc", "Cf", "Cs", "Zl", "Zp"}
)  # controls, bidi overrides, lone surrogates, line separators

MESSAGE_LIMIT = 500
CODE_LIMIT = 100


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Remove terminal escapes and invisible characters, join the lines, and truncate to ``limit``
    characters."""
    # Truncate first: a message of megabytes must not cost megabytes of work. Escapes are longer
    # than their values.
    return truncate(strip_invisible(text[: limit * 8]), limit)


def clean_path(path: object) -> str:
    """Return a path or a URL as ``clean`` does, in its full length."""
    return clean(str(path), 4000)


def listed(names: Sequence[str], most: int) -> str:
    """Return the first ``most`` names, separated by commas, and how many more there are."""
    shown = ", ".join(names[:most])
    if len(names) > most:
        shown += f" and {len(names) - most} more"
    return shown


def strip_invisible(text: str) -> str:
    """Remove terminal escapes and invisible characters, and join the lines."""
    if text.isascii() and text.isprintable():  # nearly all text
        return " ".join(text.split())
    spaced = " ".join(strip_escapes(text).split())
    return "".join(char for char in spaced if unicodedata.category(char) not in _UNSEEN)


def truncate(text: str, limit: int) -> str:
    """Truncate to ``limit`` characters, with an ellipsis."""
    if len(text) <= limit:
        return text
    return text[: limit - 1] + "…"


def strip_escapes(text: str) -> str:
    return _ESCAPES.sub("", text)


MASK = "***"
KEY_PREFIX = "moltazine_"

_LEAST = 12
"""The least number of letters and digits of a secret that is searched for in other forms than its
own."""
_JSON_ESCAPE = re.compile(r"\\+(?:u([0-9A-Fa-f]{4})|[bfnrt])")
_CONTROLS = bytes((*range(0x20), 0x7F))
_LOWER = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())
_NO_LETTERS = bytes(set(range(256)) - set((string.ascii_letters + string.digits).encode()))
_STANDARD = bytes.maketrans(b"-_", b"+/")
_NO_BASE64: Final = bytes(
    set(range(256)) - set((string.ascii_letters + string.digits + "+/-_").encode())
)


class Secret:
    """A secret, and the forms in which it is found."""

    __slots__ = ("_encoded", "_is_long", "_letters", "_text", "_token")

    def __init__(self, text: str) -> None:
        self._text = text
        self._token = text.removeprefix(KEY_PREFIX)
        self._letters = _letters(self._token)
        self._is_long = len(self._letters) >= _LEAST
        self._encoded = tuple(_base64(self._token.encode()))

    def mask_in(self, text: str) -> str:
        """Return the text with the secret replaced by ``***``; if it is encoded, the entire text is
        replaced."""
        plain = text.replace(self._text, MASK)
        if self._is_long:
            plain = plain.replace(self._token, MASK)
        return MASK if self._is_hidden_in(plain) else plain

    def is_in(self, text: str) -> bool:
        """Whether the secret is in a text, plain or encoded."""
        return self._text in text or self._is_hidden_in(text)

    def _is_hidden_in(self, text: str) -> bool:
        return self._is_long and any(map(self._matches, _readings(text)))

    def _matches(self, text: bytes) -> bool:
        if self._letters in text.translate(_LOWER, _NO_LETTERS):
            return True
        packed = text.translate(_STANDARD, _NO_BASE64)
        return any(core in packed for core in self._encoded)


def _readings(text: str) -> Iterator[bytes]:
    """Yield the text as it may be shown: as it is, and with its escapes decoded."""
    for seen in _shown(text):
        plain = seen.decode()
        for form in dict.fromkeys((plain, _JSON_ESCAPE.sub(_character, plain))):
            yield from _shown(form)
            if "%" in form:
                yield from _shown(unquote(form))
            if "&" in form:
                yield from _shown(html.unescape(form))


def _character(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else ""


def _shown(text: str) -> Iterator[bytes]:
    """Yield the printable ASCII characters of a text: without control characters, and without
    terminal escapes.
    """
    yield _printable(text)
    if "\x1b" in text:
        yield _printable(strip_escapes(text))


def _printable(text: str) -> bytes:
    return text.encode("ascii", "ignore").translate(None, _CONTROLS)


def _letters(text: str) -> bytes:
    return _printable(text).translate(_LOWER, _NO_LETTERS)


def _base64(raw: bytes) -> Iterator[bytes]:
    """Yield the base64 of the bytes at each offset, without the characters that depend on their
    neighbours."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw)
        yield encoded[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]


_LINK = re.compile(
    r"""(?P<scheme>[a-z][a-z0-9+.-]{0,30}:(?:\\*/){2})
        (?P<user>[^\s?#]*@)?
        (?P<place>[^\s?#]*)
        (?P<rights>\s*[?#]\S*(?:\s+[^\s=]*=\S*)*)?""",
    re.IGNORECASE | re.VERBOSE,
)
_QUERY = re.compile(r"(?P<mark>[?&\#])[\w.~%\[\]-]{1,100}=\S*")
_CLOSERS = "'\"<>)]},.;:"
_QUOTE = r"\\*[\"']|%(?:25)*2[27]|&quot;|&\#0*3[49];"
_NAMED = re.compile(
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
"""A name, a separator and a value. The value is in quotation marks, escaped or not, or extends to
the next blank. A short lower-case word after a colon ("the token: expired") is prose, and not
matched."""


def mask_link_secrets(text: str) -> str:
    """Replace user, password, query and fragment of links, and values of named secrets, with
    ``***``.

    Named secrets are values with a name such as signature or token, in a query, a header or JSON.
    The text must not contain invisible characters, which could hide a link.
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


_OPEN_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:\S*$")


def clean_message(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Make text of the gateway safe to show and store: as ``clean`` does, and with the secrets of
    links masked.

    Links are masked after cleaning, which may reveal one, and before truncation, which may remove
    its end.
    """
    seen = strip_invisible(text[: limit * 8])
    if len(text) > limit * 8:
        seen = _OPEN_LINK.sub("", seen)  # the @ that would show its password may have been cut off
    return truncate(mask_link_secrets(seen), limit)
