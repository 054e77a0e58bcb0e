"""The picks file that chooses among the outputs which an entry with ``from`` takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from crucible_batch.manifest.files import Files, read_text
from crucible_batch.manifest.source_map import nearest, shown

MAX_PICKS_BYTES = 16 * 1024 * 1024
_COMMENT = "#"  # no safe name begins with it


@dataclass(frozen=True, slots=True)
class Picks:
    """The content of a picks file: names of jobs, each with the numbers of its outputs.

    None stands for all of its outputs. ``lines`` has the line of each, for messages.
    """

    chosen: Mapping[str, frozenset[int | None]]
    lines: Mapping[tuple[str, int | None], int]

    def takes(self, name: str, index: int) -> bool:
        indexes = self.chosen.get(name, frozenset())
        return None in indexes or index in indexes

    def indexes(self, name: str) -> Sequence[int]:
        """Return the numbers of the outputs that are taken of a job before it has run:

        0 if all are.
        """
        indexes = self.chosen.get(name, frozenset())
        named = sorted(index for index in indexes if index is not None)
        if None in indexes and not named:
            return [0]
        return named

    def unknown(self, names: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Yield the entries whose job is not among ``names``, each with its line."""
        known = frozenset(names)
        for (name, index), line in self.lines.items():
            if name not in known:
                yield pick_text(name, index), line


def pick_text(name: str, index: int | None) -> str:
    """Return an entry of a picks file: ``NAME`` or ``NAME/INDEX``."""
    return name if index is None else f"{name}/{index}"


def parse_pick(text: str) -> tuple[str, int | None]:
    """Return the name and the output's number of an entry of a picks file.

    Names contain no ``/``.
    """
    name, slash, index = text.rpartition("/")
    if slash and index.isascii() and index.isdecimal() and len(index) <= 9:
        return name, int(index)
    return text, None


def parse_picks(text: str) -> Picks:
    """Return the entries of a picks file, one a line.

    Blank lines and lines that begin with ``#`` are ignored.
    """
    chosen: dict[str, frozenset[int | None]] = {}
    lines: dict[tuple[str, int | None], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith(_COMMENT):
            continue
        name, index = parse_pick(entry)
        chosen[name] = chosen.get(name, frozenset()) | {index}
        lines.setdefault((name, index), number)
    return Picks(chosen, lines)


def read_picks(text: str, files: Files) -> Picks | None:
    """Return the picks of a file, by its path in the manifest; None if there is no such file, or it
    has no entry.

    Raises ``FileFault`` if it is outside the manifest's directory, not a readable file, too large,
    or not UTF-8.
    """
    path = files.find_optional(text)
    if path is None:
        return None
    limit = f"{MAX_PICKS_BYTES // 1024**2} MiB, the limit for a picks file"
    picks = parse_picks(read_text(path, text, MAX_PICKS_BYTES, limit))
    return picks if picks.lines else None


def unknown_pick(text: str, line: int, names: Sequence[str]) -> tuple[str, str | None]:
    """Return the message for an entry that names no source of the stage, and the nearest name."""
    name, index = parse_pick(text)
    message = f"line {line}: no job of this stage's `from` is named {shown(name)!r}"
    near = nearest(name, names)
    if near is None:
        return message, None
    return message, pick_text(near, index)
