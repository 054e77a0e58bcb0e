"""One line of a file, cut to fit, and a mark under the place in it that a problem is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from rich.cells import get_character_cell_size

from crucible_batch.errors import Place

NARROWEST = 20
"""Cells of a line that are shown on the narrowest terminal: fewer tell nothing."""

_LARGEST_FILE_BYTES = 64 * 1024 * 1024
# YAML counts three more characters as line breaks than the readers of tables and prompts do.
_BREAKS, _YAML_BREAKS = re.compile(r"\r\n|[\r\n]"), re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_NO_YAML = frozenset({".csv", ".jsonl", ".txt", ".md"})


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A line as it is shown, and what stands below it; ``mark`` is empty where the whole line is meant."""

    text: str
    mark: str


def excerpt(line: str, column: int, end_column: int, width: int) -> Excerpt:
    """Cut a line to ``width`` cells around the characters from ``column`` to before ``end_column``, and mark them.

    Columns count characters from 1, 0 for none. What has no shape of its own (a tab, a control) takes one cell, so
    that the mark stands where it belongs.
    """
    width = max(width, NARROWEST)
    column = column if column <= len(line) + 1 else 0  # the file has changed since
    at = max(column - 1, 0)
    begin = max(0, at - 2 * width)
    piece = [char if char.isprintable() else " " for char in line[begin : at + 2 * width]]
    cells = [0, *accumulate(map(get_character_cell_size, piece))]
    first, last = _window(cells, at - begin, width, is_cut=(begin > 0, len(line) > at + 2 * width))
    before = "…" if begin + first > 0 else ""
    after = "…" if begin + last < len(line) else ""
    text = before + "".join(piece[first:last]) + after
    if not column:
        return Excerpt(text, "")
    start = cells[at - begin] - cells[first] + len(before)
    end = cells[min(max(end_column - 1 - begin, at - begin), last)] - cells[first] + len(before)
    return Excerpt(text, " " * start + "^" * max(1, end - start))


def _window(cells: list[int], at: int, width: int, *, is_cut: tuple[bool, bool]) -> tuple[int, int]:
    """Choose which characters to show: all, or those around ``at`` with room for an ellipsis at either end."""
    if cells[-1] <= width and not any(is_cut):
        return 0, len(cells) - 1
    low = max(0, min(cells[at] - width // 3, cells[-1] - width))
    first = next(index for index, cell in enumerate(cells) if cell >= low)
    if first > 0 or is_cut[0]:
        first = next(index for index, cell in enumerate(cells) if cell >= low + 1)
    room = width - (1 if first > 0 or is_cut[0] else 0)
    last = max(index for index, cell in enumerate(cells) if cell - cells[first] <= room)
    if last < len(cells) - 1 or is_cut[1]:
        last = max(index for index, cell in enumerate(cells) if cell - cells[first] <= room - 1)
    return first, last


def read_lines(places: Iterable[Place]) -> Mapping[tuple[Path, int], str]:
    """Read the lines that the places are on, each file once. What can't be read is left out."""
    wanted: dict[Path, set[int]] = {}
    for place in places:
        if place.line:
            wanted.setdefault(place.file, set()).add(place.line)
    found: dict[tuple[Path, int], str] = {}
    for file, numbers in wanted.items():
        lines = _lines(file)
        found |= {(file, number): lines[number - 1] for number in numbers if number <= len(lines)}
    return found


def _lines(file: Path) -> list[str]:
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST_FILE_BYTES:
            return []
        text = file.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError:
        return []
    return (_BREAKS if file.suffix.lower() in _NO_YAML else _YAML_BREAKS).split(text)
