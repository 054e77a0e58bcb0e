"""One line of the table: a goal, what was reached, and whether that meets it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A measurement in words. ``note`` holds the figures that it was made of.

    ``reason`` explains why a goal is missed, or may be missed on another machine; it is shown if
    the goal is missed. Each module of this folder that measures has ``def rows(quick: bool) ->
    Iterator[Row]``: the complete measurement by default; with ``quick``, one of at most a minute,
    with smaller numbers and fewer rounds.
    """

    what: str
    goal: str
    reached: str
    met: bool
    note: str = ""
    reason: str = ""
