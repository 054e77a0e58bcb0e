"""A value of the manifest together with where it stands, so that problems within it find their place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from crucible_batch.errors import Place, Problem
from crucible_batch.manifest.marks import Apart, Marks, Path
from crucible_batch.manifest.wording import dotted


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """``value`` is node ``node`` of a tree of the file and stands at ``path``; paths below are relative to it."""

    file: FilePath
    value: Any
    marks: Marks
    node: int = 0
    path: tuple[str | int, ...] = ()

    def field(self, path: Path) -> str:
        """Return the field path within the manifest: ``jobs[2].params.size.width``."""
        return dotted((*self.path, *path))

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Return the place of what stands at ``path``, of its key with ``key``, else of the nearest thing around."""
        marks, number = self.marks.find(self.value, self.node, path, key=key)
        return Place(self.file, *marks.line_column(number), marks.end_column(number))

    def is_sound(self, path: Path, *, within: bool = True) -> bool:
        """Tell whether what stands at ``path`` is what its author wrote; else a problem of form has said so."""
        if not path and not self.marks.unsound and not self.marks.aliases:
            return True
        marks, number = self.marks.find(self.value, self.node, path)
        return marks.is_sound(number, within=within)

    def items(self, key: str) -> Iterator[Site]:
        """Yield the items of the list at ``key``, each as a site of its own."""
        value = self.value[key]
        if isinstance(value, Apart):
            for index, (item, marks) in enumerate(value):
                yield Site(self.file, item, marks, 0, (*self.path, key, index))
            return
        marks, number = self.marks.find(self.value, self.node, (key,))
        for index, (item, node) in enumerate(zip(value, marks.items(value, number), strict=True)):
            yield Site(self.file, item, *node, (*self.path, key, index))

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
            value = value.item(name)[0] if isinstance(value, Apart) and isinstance(name, int) else value[name]
            steps.append(name)
        return steps


def _longest_step(value: Any, rest: str) -> tuple[str | int, str] | None:
    if isinstance(value, dict):
        ends = [position for position, character in enumerate(rest) if character in ".["] + [len(rest)]
        for end in reversed(ends):
            if rest[:end] in value:
                return rest[:end], rest[end:].removeprefix(".")
    if isinstance(value, list | Apart) and rest.startswith("["):
        digits, _, after = rest[1:].partition("]")
        if digits.isdecimal() and int(digits) < len(value):
            return int(digits), after.removeprefix(".")
    return None
