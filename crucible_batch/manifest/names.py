"""Job names: made from a template and the axes, safe for file systems, and unique.

A name may become a directory on Linux, macOS (case-insensitive, normalizes Unicode) or exFAT
(reserved characters), and part of an archive or a URL. Therefore only listed characters are
allowed. If a character is replaced or the name is cut, the first eight hex digits of the raw name's
SHA-256 are appended, so that different names stay different on every run.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import sys
import unicodedata
import weakref
from dataclasses import dataclass
from pathlib import PurePath

from crucible_batch.manifest.source_map import nearest, shown
from crucible_batch.temporary_database import temporary_database

_KEY = struct.Struct(">qq")
_CACHE_KIB = 2048


@dataclass(frozen=True, slots=True)
class NameClaim:
    """A job's claim: the job's name, the index of its entry in ``jobs``, and its row of the entry's
    table.

    ``row`` is the row's number from 1, ``line`` the line on which it begins; each is 0 if there is
    none.
    """

    name: str
    entry: int
    row: int = 0
    line: int = 0


class NameClaims:
    """A set of claimed texts, each claimed by one job.

    Texts are identified by the 128 bits of their BLAKE2b digest, not stored.
    """

    __slots__ = ("__weakref__", "_cursor")

    def __init__(self) -> None:
        connection = temporary_database(
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "CREATE TABLE claims (key INTEGER PRIMARY KEY, rest INTEGER NOT NULL, "
            "name TEXT NOT NULL,"
            " entry INTEGER NOT NULL, row INTEGER NOT NULL, line INTEGER NOT NULL)",
            "BEGIN",
        )
        weakref.finalize(
            self, connection.close
        )  # the garbage collector may do so in another thread
        self._cursor = connection.cursor()

    def take(
        self, text: str, name: str, entry: int, row: int = 0, line: int = 0
    ) -> NameClaim | None:
        """Claim ``text`` for a job and return None, or return the claim that another has."""
        claim = (*_key(text), name, entry, row, line)
        if self._cursor.execute(
            "INSERT OR IGNORE INTO claims VALUES (?, ?, ?, ?, ?, ?)", claim
        ).rowcount:
            return None
        return self.get(text)

    def get(self, text: str) -> NameClaim | None:
        query = "SELECT name, entry, row, line FROM claims WHERE key = ? AND rest = ?"
        found = self._cursor.execute(query, _key(text)).fetchone()
        if found is None:
            return None
        return NameClaim(*found)


def _key(text: str) -> tuple[int, int]:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    key, rest = _KEY.unpack(digest)
    return key, rest


MAX_NAME_BYTES = 120
# A file name has at most 255 bytes; the rest is left for other parts of the path pattern and for
# extensions.
MAX_SLUG_LENGTH = 48

_HEX = 8
_PUNCTUATION = frozenset(" -_.+=@,()!")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@,()! -]*(?<![. ])")
_DIVIDERS = re.compile(r"[^\w.+-]+|_+")
_DASHES = re.compile(r"-{2,}")


class NameFault(ValueError):  # noqa: N818 - it becomes a Problem
    """A rendered name that is rejected."""


def check(rendered: str) -> None:
    """Raise ``NameFault`` if replacing characters in a rendered name would not give what its author
    meant."""
    if _PLAIN.fullmatch(rendered):
        return
    if not rendered.strip():
        raise NameFault("the name is empty")
    if any(unicodedata.category(character) == "Cs" for character in rendered):
        raise NameFault(
            f"the name {rendered[:100]!r} contains half of a surrogate pair, "
            "which is not a character"
        )
    if rendered in {".", ".."}:
        raise NameFault(f"the name {rendered!r} denotes a directory")
    for character, called in (("/", "/"), ("\\", "\\"), ("\0", "NUL")):
        if character in rendered:
            raise NameFault(
                f"the name {rendered[:100]!r} contains {called}; folders are set in `output.path`"
            )


def safe(raw: str) -> str:
    """Return ``raw`` in NFC if it is a safe name of at most 120 bytes.

    Otherwise unsafe characters are replaced and ``-`` with 8 hex digits of the digest of ``raw`` is
    appended.
    """
    if len(raw) <= MAX_NAME_BYTES and _PLAIN.fullmatch(raw):
        return raw
    name = unicodedata.normalize("NFC", raw)
    cleaned = "".join(character if _allowed(character) else "-" for character in name)
    if cleaned[0] in "-. ":
        cleaned = "_" + cleaned[1:]
    if cleaned[-1] in ". ":
        cleaned = cleaned[:-1] + "_"
    if cleaned == name and len(cleaned.encode()) <= MAX_NAME_BYTES:
        return cleaned
    room = MAX_NAME_BYTES - _HEX - 1
    cut = cleaned.encode()[:room].decode(errors="ignore").rstrip(". ")
    return f"{cut}-{digest(raw)}"


def digest(text: str) -> str:
    """Return the first 8 hex digits of the text's SHA-256; lone surrogates are allowed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HEX]


def _allowed(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in _PUNCTUATION
    return unicodedata.category(character)[0] in "LNM"


def slug(text: str) -> str:
    """Return a short form of an axis value for use in names: ``Old Noir!`` becomes ``old-noir``.

    Letters and digits of any script, ``.``, ``+`` and the minus sign of a number are kept. If
    nothing is left, the result is 8 hex digits of the value's digest; if too much is left, it is
    cut and those digits are appended.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).lower())
    dashed = _DASHES.sub("-", _DIVIDERS.sub("-", folded))
    is_number = re.fullmatch(r"-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?", folded) is not None
    short = dashed
    if not is_number:
        short = dashed.strip("-.")
    if not short:
        return digest(text)
    if len(short) > MAX_SLUG_LENGTH:
        return f"{short[: MAX_SLUG_LENGTH - _HEX - 1].rstrip('-.')}-{digest(text)}"
    return short


def folded(name: str) -> str:
    """Return the text that identifies a name: on some file systems, case and compatibility
    characters don't count.
    """
    if name.isascii():
        return name.lower()  # same result as the line below, faster
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


FIELDS = ("name", "workflow", "index", "ext")
MAX_PATTERN_BYTES = 255
_MAX_LITERAL_BYTES = (
    100  # beside a name of 120 bytes, an index and an extension in one file name of 255
)
_FIELD = re.compile(r"\{([^{}]*)\}")
_PATTERN_FAULTS = (
    (r"\\", "contains \\; separate folders with /"),
    (r'[<>:"|?*]', 'contains one of < > : " | ? *, which some file systems do not support'),
    (r"^/", "must be relative to the run directory"),
    (
        r"(^|/)\.{0,2}(/|$)",
        "has a part that is empty, . or .., which could lead out of the run directory",
    ),
    (
        r"(^|/)(?!\.{1,2}(/|$))[.~ -]|[^/.][. ]+(/|$)",
        "has a part that begins with . - ~ or a space, or ends with a dot or a space",
    ),
    (
        r"\{name\}\{index\}|\{index\}\{name\}|\{(\w+)\}\{\1\}",
        "needs a separator between {name} and {index}, such as {name}/{index}",
    ),
    (r"\{ext\}.", "must have {ext} at its end"),
)


def faults(pattern: str) -> list[tuple[str, str | None]]:
    """Return the problems of a path pattern: messages, each with a known field that is near."""
    fields = ", ".join(f"{{{field}}}" for field in FIELDS)
    unknown = [name for name in _FIELD.findall(pattern) if name not in FIELDS]
    found = [
        (f"unknown field {{{shown(name)}}}; the fields are {fields}", nearest(name, FIELDS))
        for name in unknown
    ]
    messages = [message for fault, message in _PATTERN_FAULTS if re.search(fault, pattern)]
    literal = _FIELD.sub("", pattern)
    if "{" in literal or "}" in literal:
        messages.append("has an unmatched brace")
    if any(unicodedata.category(character)[0] == "C" for character in literal):
        messages.append("contains a control character")
    if len(pattern.encode("utf-8", "replace")) > MAX_PATTERN_BYTES:
        messages.append(f"is longer than {MAX_PATTERN_BYTES} bytes")
    if "{name}" not in pattern and all(near != "name" for _, near in found):
        messages.append("must contain {name}, which keeps the outputs of different jobs apart")
    if any(
        len(part.encode("utf-8", "replace")) > _MAX_LITERAL_BYTES for part in literal.split("/")
    ):
        messages.append(f"has a part of more than {_MAX_LITERAL_BYTES} bytes")
    return list(dict.fromkeys([*found, *((message, None) for message in messages)]))


def keeps_apart(pattern: str) -> bool:
    """Return whether jobs with different names can't collide, because ``{name}`` is a complete part
    of the path.

    ``{name}`` as the last part isn't enough without ``{index}``: a second output of ``a`` would be
    called ``a-1``.
    """
    parts = pattern.split("/")
    return "{name}" in parts[:-1] or ("{name}" in parts and "{index}" in pattern)


def filled(pattern: str, workflow: str) -> str:
    """Return ``pattern`` with a job's workflow filled in, ``{name}``, ``{index}`` and ``{ext}``
    kept.

    Safe names contain no braces, so the workflow can't add a field.
    """
    return pattern.replace("{workflow}", safe(workflow.replace("/", "-").replace("\\", "-")))


MAX_PART_BYTES = 255
"""The longest file name that common file systems accept."""


def path_fault(path: str) -> tuple[str, str] | None:
    """Return the problem of a path and its remedy, or None if the path can be used."""
    fault = text_fault(path)
    if fault is not None:
        return fault
    if any(len(os.fsencode(part)) > MAX_PART_BYTES for part in PurePath(path).parts):
        return (
            f"has a part of more than {MAX_PART_BYTES} bytes, the limit for a file name",
            "use a shorter name",
        )
    return None


def text_fault(path: str) -> tuple[str, str] | None:
    """Return the problem of a path's text and its remedy, or None if UTF-8 and the file system can
    encode all of it."""
    if "\0" in path:
        return "contains a NUL character", "use another path"
    if path.isascii():  # fast path for nearly all paths
        return None
    try:
        # Fails if a byte that the locale can't decode was kept as a lone surrogate.
        path.encode("utf-8")
        os.fsencode(path)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        if encoding.lower() in {"utf-8", "utf8"}:
            return "is not UTF-8", "rename it so that its name is valid UTF-8"
        return (
            f"contains a character that the encoding of this locale ({encoding}) cannot represent",
            "use a UTF-8 locale, such as LC_ALL=C.UTF-8",
        )
    return None
