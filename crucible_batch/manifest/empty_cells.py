"""Empty cells of tables that templates insert as they are, as notes: a prompt with a gap is bought like any other."""

from __future__ import annotations

from collections.abc import Iterable

MOST_NOTED = 5


class EmptyCells:
    """The empty cells that jobs have used, with notes for the first ``MOST_NOTED`` of them, and one for the rest."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0
        self._row = ""
        self._columns: set[str] = set()

    def add(self, row: str, columns: Iterable[str]) -> None:
        """Note the empty cells of a row, which is described by ``row``. Jobs of one row must follow each other."""
        if row != self._row:
            self._row, self._columns = row, set()
        for column in sorted(set(columns) - self._columns):
            self._columns.add(column)
            self._count += 1
            if len(self._first) < MOST_NOTED:
                self._first.append(f"{row}: the cell in column {column!r} is empty; the job is made without its text")

    @property
    def notes(self) -> list[str]:
        more = self._count - len(self._first)
        if not more:
            return self._first
        return [*self._first, f"{more:,} more cells that jobs use are empty, {self._count:,} in all"]
