"""Names of jobs: made from a template and the axes, fit for file systems, and no two alike.

A name becomes a directory on any of a user's machines: Linux, macOS (folds case, normalises), Windows (reserved
names and characters), an archive, a URL. So characters are allowed, not forbidden; where one had to be replaced or
the name cut, eight digits of the raw name's SHA-256 keep different names apart on every run.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from crucible_batch.manifest.claims import Claims

MAX_NAME_BYTES = 120
# Of 255 bytes for a file name, what other parts of a path pattern and extensions may take stays free.
MAX_SLUG_LENGTH = 48

_HEX = 8
_PUNCTUATION = frozenset(" -_.+=@,()!")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@,()! -]*(?<![. ])")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9]|conin\$|conout\$)", re.IGNORECASE)
_DEVICE_BEGINNINGS = frozenset({"con", "prn", "aux", "nul", "com", "lpt"})
_DIVIDERS = re.compile(r"[^\w.+-]+|_+")
_DASHES = re.compile(r"-{2,}")


class NameFault(ValueError):  # noqa: N818 - it becomes a Problem
    """A rendered name that is refused."""


def check(rendered: str) -> None:
    """Raise ``NameFault`` for a rendered name that no replacement would make what its author meant."""
    if _PLAIN.fullmatch(rendered):
        return
    if not rendered.strip():
        raise NameFault("the name is empty")
    if any(unicodedata.category(character) == "Cs" for character in rendered):
        raise NameFault(f"the name {rendered[:100]!r} holds half of a surrogate pair, which is no character")
    if rendered in {".", ".."}:
        raise NameFault(f"the name is {rendered!r}, which means a directory")
    for character, called in (("/", "/"), ("\\", "\\"), ("\0", "NUL")):
        if character in rendered:
            raise NameFault(f"the name {rendered[:100]!r} holds {called}; folders are made in `output.path`")


def safe(raw: str) -> str:
    """Return ``raw`` in NFC where it is a safe name of at most 120 bytes, else a safe likeness with 8 hex."""
    if len(raw) <= MAX_NAME_BYTES and _PLAIN.fullmatch(raw) and not is_device(raw):
        return raw
    name = unicodedata.normalize("NFC", raw)
    cleaned = "".join(character if _allowed(character) else "-" for character in name)
    if cleaned[0] in "-. ":
        cleaned = "_" + cleaned[1:]
    if cleaned[-1] in ". ":
        cleaned = cleaned[:-1] + "_"
    if is_device(cleaned):
        cleaned = "_" + cleaned
    if cleaned == name and len(cleaned.encode()) <= MAX_NAME_BYTES:
        return cleaned
    room = MAX_NAME_BYTES - _HEX - 1
    cut = cleaned.encode()[:room].decode(errors="ignore").rstrip(". ")
    return f"{cut}-{digest(raw)}"


def digest(text: str) -> str:
    """Return the first 8 hexadecimal digits of the text's SHA-256; lone surrogates count as they are."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HEX]


def _allowed(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in _PUNCTUATION
    return unicodedata.category(character)[0] in "LNM"


def is_device(name: str) -> bool:
    """Whether Windows takes a name for a device's, whatever its case and its extension."""
    if name.isascii() and name.lstrip()[:3].lower() not in _DEVICE_BEGINNINGS:
        return False  # as almost all are
    stem = unicodedata.normalize("NFKC", name.partition(".")[0]).strip()
    return _DEVICE.fullmatch(stem) is not None


def slug(text: str) -> str:
    """Return a short form of an axis value for names: ``Old Noir!`` becomes ``old-noir``.

    Letters and digits of any script, ``.``, ``+`` and the minus of a number stay. A value of which nothing or too
    much would stay gets 8 hex of its digest.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).lower())
    dashed = _DASHES.sub("-", _DIVIDERS.sub("-", folded))
    is_number = re.fullmatch(r"-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?", folded) is not None
    short = dashed if is_number else dashed.strip("-.")
    if not short:
        return digest(text)
    if len(short) > MAX_SLUG_LENGTH:
        return f"{short[: MAX_SLUG_LENGTH - _HEX - 1].rstrip('-.')}-{digest(text)}"
    return short


class Registry:
    """Remembers which names are taken."""

    __slots__ = ("_claims",)

    def __init__(self) -> None:
        self._claims = Claims()

    def take(self, name: str, entry: int) -> int | None:
        """Take a name for a job of the entry with that index; return the index of the entry that has it already.

        Names that differ in case or in compatible characters alone are the same on some file systems.
        """
        claim = self._claims.take(_folded(name), name, entry)
        return None if claim is None else claim.entry


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()  # which is what the line below makes of it
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
