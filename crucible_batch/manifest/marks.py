"""Where each node of a parsed YAML tree stands, kept as two numbers a node.

Nodes are numbered as they appear: a mapping, then its first key, that key's value, and so on. ``position`` packs line,
column and length of each; ``span`` says how many numbers a node and all within it take up. A path is found by walking
the values and the spans side by side, which costs time only where a place is asked for: with an error, or in a report.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Path: TypeAlias = Sequence[str | int]

# 27 bits are left for the line: 64 MiB have no more of them.
COLUMN_BITS, LENGTH_BITS = 24, 13
MAX_COLUMN, MAX_LENGTH = (1 << COLUMN_BITS) - 1, (1 << LENGTH_BITS) - 1


class Node(NamedTuple):
    """One node: the marks of the tree that it belongs to, and its number in it."""

    marks: Marks
    number: int


class Apart(ABC):
    """A list whose items are trees of their own, with marks of their own. It takes the place of a list as a value."""

    @abstractmethod
    def add(self, value: Any, marks: Marks) -> None: ...

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[Any, Marks]]:
        """Yield value and marks of each item."""

    @abstractmethod
    def item(self, index: int) -> tuple[Any, Marks]: ...


class Marks:
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
            if isinstance(value, Apart):
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
