"""Where each node of a parsed YAML tree stands, kept as two numbers a node.

Nodes are numbered as they appear: a mapping, then its first key, that key's value, and so on. ``position`` packs line,
column and length of each; ``span`` says how many numbers a node and all within it take up. A path is found by walking
the values and the spans side by side, which costs time only where a place is asked for: with an error, or in a report.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NamedTuple, TypeAlias

from crucible_batch.errors import Place, Problem

Path: TypeAlias = Sequence[str | int]

# 27 bits are left for the line: 64 MiB have no more of them.
COLUMN_BITS, LENGTH_BITS = 24, 13
MAX_COLUMN, MAX_LENGTH = (1 << COLUMN_BITS) - 1, (1 << LENGTH_BITS) - 1


class Node(NamedTuple):
    """One node: the marks of the tree that it belongs to, and its number in it."""

    marks: SourceMap
    number: int


class StreamedList(ABC):
    """A list whose items are trees of their own, with marks of their own. It takes the place of a list as a value."""

    @abstractmethod
    def add(self, value: Any, marks: SourceMap) -> None: ...

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[Any, SourceMap]]:
        """Yield value and marks of each item."""

    @abstractmethod
    def item(self, index: int) -> tuple[Any, SourceMap]: ...


class SourceMap:
    """The places of one tree's nodes, in order of appearance. Whoever builds it appends to ``position`` and ``span``.

    ``aliases`` maps an alias's number to the node that it stands for, in this tree or another. ``unsound`` are the
    nodes, in order, whose values are not what their author wrote, since a problem says that already: to judge these
    values would only be its echo.
    """

    __slots__ = ("aliases", "position", "span", "unsound")

    def __init__(self) -> None:
        self.position = array("Q")
        self.span = array("I")
        self.aliases: dict[int, Node] = {}
        self.unsound: list[int] = []

    def cut(self, start: int) -> None:
        """Forget the nodes from ``start`` on, as if they had never been added."""
        del self.position[start:], self.span[start:]
        while self.aliases and (newest := next(reversed(self.aliases))) >= start:
            del self.aliases[newest]
        while self.unsound and self.unsound[-1] >= start:
            self.unsound.pop()

    def line_column(self, node: int) -> tuple[int, int]:
        """Return line and column of a node, from 1."""
        position = self.position[node] >> LENGTH_BITS
        return (position >> COLUMN_BITS) + 1, (position & MAX_COLUMN) + 1

    def end_column(self, node: int) -> int:
        """Return the first column behind a node, from 1; 0 where it ends on another line than it begins."""
        length = self.position[node] & MAX_LENGTH
        return self.line_column(node)[1] + length if length else 0

    def target(self, node: int) -> Node:
        """Return the node that a node stands for: itself, unless it is an alias."""
        return self.aliases.get(node) or Node(self, node)

    def is_sound(self, node: int, *, within: bool = True) -> bool:
        """Tell whether a node's value is what its author wrote: all ``within`` it, or the node itself alone."""
        marks, number = self.target(node)
        end = number + (marks.span[number] if within else 1)
        first = bisect_left(marks.unsound, number)
        return first == len(marks.unsound) or marks.unsound[first] >= end

    def find(self, value: Any, node: int, path: Path, *, key: bool = False) -> Node:
        """Return the node at ``path`` within ``value``, which is node ``node``.

        Where the path leads nowhere, the nearest enclosing node is returned. With ``key``, the last step gives the
        key of a mapping's member instead of its value.
        """
        found = Node(self, node)
        for depth, step in enumerate(path):
            if isinstance(value, StreamedList):
                if not isinstance(step, int) or step >= len(value):
                    break
                value, marks = value.item(step)
                found = Node(marks, 0)
                continue
            container = found.marks.target(found.number)
            child = container.marks.child(value, container.number, step)
            if child is None:
                break
            value = value[step]
            is_key = key and depth == len(path) - 1 and isinstance(step, str)
            found = Node(container.marks, child - 1 if is_key else child)
        return found

    def items(self, value: Sequence[Any], node: int) -> Iterator[Node]:
        """Yield the nodes of a list's items: one walk for all, where one walk each would be quadratic."""
        marks, number = self.target(node)
        child = number + 1
        for _ in value:
            yield Node(marks, child)
            child += marks.span[child]

    def child(self, value: Any, node: int, step: str | int) -> int | None:
        """Return the number of a member or item of the container ``node``, whose value is ``value``."""
        if isinstance(value, Mapping) and step in value:
            child = node + 2
            for name in value:
                if name == step:
                    return child
                child += self.span[child] + 1
        if isinstance(value, list) and isinstance(step, int) and step < len(value):
            child = node + 1
            for _ in range(step):
                child += self.span[child]
            return child
        return None


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


@dataclass(frozen=True, slots=True, eq=False)
class SourceNode:
    """``value`` is node ``node`` of a tree of the file and stands at ``path``; paths below are relative to it."""

    file: FilePath
    value: Any
    marks: SourceMap
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

    def items(self, key: str) -> Iterator[SourceNode]:
        """Yield the items of the list at ``key``, each as a site of its own."""
        value = self.value[key]
        if isinstance(value, StreamedList):
            for index, (item, marks) in enumerate(value):
                yield SourceNode(self.file, item, marks, 0, (*self.path, key, index))
            return
        marks, number = self.marks.find(self.value, self.node, (key,))
        for index, (item, node) in enumerate(zip(value, marks.items(value, number), strict=True)):
            yield SourceNode(self.file, item, *node, (*self.path, key, index))

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
            value = value.item(name)[0] if isinstance(value, StreamedList) and isinstance(name, int) else value[name]
            steps.append(name)
        return steps


def _longest_step(value: Any, rest: str) -> tuple[str | int, str] | None:
    if isinstance(value, dict):
        ends = [position for position, character in enumerate(rest) if character in ".["] + [len(rest)]
        for end in reversed(ends):
            if rest[:end] in value:
                return rest[:end], rest[end:].removeprefix(".")
    if isinstance(value, list | StreamedList) and rest.startswith("["):
        digits, _, after = rest[1:].partition("]")
        if digits.isdecimal() and int(digits) < len(value):
            return int(digits), after.removeprefix(".")
    return None
