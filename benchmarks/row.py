"""One line of the table: a goal, what was reached, and whether that meets it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A measurement in words. ``note`` holds the figures that it was made of.

    ``reason`` says in plain words why a goal is missed, or may be on another machine: it is shown where it is.
    Each module of this folder that measures has ``def rows(quick: bool) -> Iterator[Row]``: the whole measurement by
    default, with ``quick`` one of a minute at most, of smaller numbers and fewer rounds.
    """

    what: str
    goal: str
    reached: str
    met: bool
    note: str = ""
    reason: str = ""
