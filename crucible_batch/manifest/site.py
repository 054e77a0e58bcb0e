"""A value of the manifest together with where it stands, so that problems within it find their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest.marks import Path
from crucible_batch.manifest.wording import dotted
from crucible_batch.manifest.yaml_tree import Document


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """``value`` is node ``node`` of the document and stands at ``path``; paths below are relative to it."""

    document: Document
    value: Any
    node: int = 0
    path: tuple[str | int, ...] = ()

    def field(self, path: Path) -> str:
        """Return the field path within the manifest: ``jobs[2].params.size.width``."""
        return dotted((*self.path, *path))

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Return the place of what stands at ``path``, of its key with ``key``, else of the nearest thing around."""
        return self.document.place_within(self.value, self.node, path, key=key)

    def is_sound(self, path: Path, *, within: bool = True) -> bool:
        """Tell whether what stands at ``path`` is what its author wrote; else a problem of form has said so."""
        return self.document.is_sound(self.document.marks.find(self.value, self.node, path), within=within)

    def problem(
        self, path: Path, message: str, *, key: bool = False, nearest: str | None = None, hint: str | None = None
    ) -> Problem:
        return Problem(self.place(path, key=key), self.field(path), message, nearest=nearest, hint=hint)

    def steps(self, field: str) -> list[str | int] | None:
        """Split a field path below this site, such as ``params.size.width``, where it leads to something.

        Keys may hold dots themselves, so the longest key that fits is taken at each step.
        """
        value, rest, steps = self.value, field, list[str | int]()
        while rest:
            step = _longest_step(value, rest)
            if step is None:
                return None
            name, rest = step
            value = value[name]
            steps.append(name)
        return steps


def _longest_step(value: Any, rest: str) -> tuple[str | int, str] | None:
    if isinstance(value, dict):
        ends = [position for position, character in enumerate(rest) if character in ".["] + [len(rest)]
        for end in reversed(ends):
            if rest[:end] in value:
                return rest[:end], rest[end:].removeprefix(".")
    if isinstance(value, list) and rest.startswith("["):
        digits, _, after = rest[1:].partition("]")
        if digits.isdecimal() and int(digits) < len(value):
            return int(digits), after.removeprefix(".")
    return None
