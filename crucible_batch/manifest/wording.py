"""How problems are worded: paths of fields, kinds of values, and the known name nearest to an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from crucible_batch.manifest.marks import Path

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (Mapping, "a mapping"),
)


_MAX_SHOWN = 100


def dotted(path: Path) -> str:
    """Write a path as authors know it: ``jobs[2].params.size.width``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in path)
    return text.removeprefix(".")


def shown(text: str) -> str:
    """Write a name from outside so that it can neither fill the screen nor steer the terminal."""
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
    return cut if cut.isprintable() else repr(cut)[1:-1]


def kind(value: object) -> str:
    """Name the kind of a YAML value."""
    return next((name for types, name in _KINDS if isinstance(value, types)), "nothing")


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that ``name`` is most likely a slip of."""
    folded = {candidate.casefold(): candidate for candidate in sorted(known, reverse=True)}
    close = difflib.get_close_matches(name[:200].casefold(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None
