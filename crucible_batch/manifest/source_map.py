"""Positions of a manifest's values in its file."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from crucible_batch.errors import Place, Problem

Path = Sequence[str | int]
Span = int
"""Line, column and end column, as in ``Place``, packed: a manifest has two for each value, and a
tuple takes three times the memory."""
_BITS = 32


def span_of(line: int, column: int, end_column: int) -> Span:
    return (line << _BITS | column) << _BITS | end_column


def unpacked(span: Span) -> tuple[int, int, int]:
    """Return line, column and end column."""
    most = (1 << _BITS) - 1
    return span >> 2 * _BITS, span >> _BITS & most, span & most


@dataclass(slots=True, eq=False)
class SourceMap:
    """The span of one value and of its key, and the source maps of the values within it, by key or
    index.

    An alias has its own span and shares its target's ``children``. ``file`` is set for a value of
    another file than that of the manifest.
    """

    span: Span
    key: Span | None = None
    children: dict[str, SourceMap] | list[SourceMap] | tuple[()] = ()
    file: FilePath | None = None

    def child(self, step: str | int) -> SourceMap | None:
        if isinstance(step, str):
            return self.children.get(step) if isinstance(self.children, dict) else None
        if isinstance(self.children, dict) or step >= len(self.children):
            return None
        return self.children[step]

    def find(self, path: Path) -> tuple[SourceMap, bool]:
        """Return the source map at ``path`` and True, or the nearest one around it and False."""
        found = self
        for step in path:
            child = found.child(step)
            if child is None:
                return found, False
            found = child
        return found, True


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    (int, "an integer"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (Mapping, "a mapping"),
)
_MAX_SHOWN = 100


def dotted(path: Path) -> str:
    """Return a path in the notation of fields: ``jobs[2].params.size.width``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in path)
    return text.removeprefix(".")


def shown(text: str) -> str:
    """Return an untrusted name shortened to 100 characters, and escaped if it contains unprintable
    characters."""
    if len(text) > _MAX_SHOWN:
        text = text[:_MAX_SHOWN] + "..."
    if text.isprintable():
        return text
    return repr(text)[1:-1]


def kind(value: object) -> str:
    """Return the kind of a YAML value, for messages."""
    return next((name for types, name in _KINDS if isinstance(value, types)), "nothing")


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that ``name`` most likely misspells, or None."""
    folded = {candidate.casefold(): candidate for candidate in sorted(known, reverse=True)}
    close = difflib.get_close_matches(name[:200].casefold(), folded, n=1, cutoff=0.6)
    if not close:
        return None
    return folded[close[0]]


@dataclass(frozen=True, slots=True, eq=False)
class SourceNode:
    """A value of the manifest at ``path``, with its source map.

    Paths given to its methods are relative to it.
    """

    file: FilePath
    value: Any
    source_map: SourceMap
    path: tuple[str | int, ...] = ()

    def field(self, path: Path) -> str:
        """Return the full field path of ``path`` in the manifest: ``jobs[2].params.size.width``."""
        return dotted((*self.path, *path))

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Return the place of the value at ``path``, or of its key if ``key`` is set.

        If there is no such value, returns the place of the innermost value that encloses it.
        """
        found, is_exact = self.source_map.find(path)
        if key and is_exact and found.key is not None:
            return Place(found.file or self.file, *unpacked(found.key))
        return Place(found.file or self.file, *unpacked(found.span))

    def items(self, key: str) -> Iterator[SourceNode]:
        """Yield the items of the list at ``key``."""
        found, _ = self.source_map.find((key,))
        for index, (item, child) in enumerate(zip(self.value[key], found.children, strict=True)):
            assert isinstance(child, SourceMap)
            yield SourceNode(self.file, item, child, (*self.path, key, index))

    def problem(
        self,
        path: Path,
        message: str,
        *,
        key: bool = False,
        nearest: str | None = None,
        hint: str | None = None,
    ) -> Problem:
        return Problem(
            self.place(path, key=key), self.field(path), message, nearest=nearest, hint=hint
        )

    def steps(self, field: str) -> list[str | int] | None:
        """Split a field path below this node, such as ``params.size.width``. Returns None if there
        is no such value.

        Keys may contain dots, so the longest matching key is used at each step.
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
        ends = [position for position, character in enumerate(rest) if character in ".["]
        ends.append(len(rest))
        for end in reversed(ends):
            if rest[:end] in value:
                return rest[:end], rest[end:].removeprefix(".")
    if isinstance(value, list) and rest.startswith("["):
        digits, _, after = rest[1:].partition("]")
        if digits.isdecimal() and int(digits) < len(value):
            return int(digits), after.removeprefix(".")
    return None
