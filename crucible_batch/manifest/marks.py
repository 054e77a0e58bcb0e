"""Where each node of a parsed YAML document stands, kept as two numbers a node.

Nodes are numbered as they appear: a mapping, then its first key, that key's value, and so on. ``position`` packs line,
column and length of each; ``span`` says how many numbers a node and all within it take up. A path is found by walking
the values and the spans side by side, which costs time only where a place is asked for: with an error, or in a report.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Path: TypeAlias = Sequence[str | int]

# 27 bits are left for the line: 64 MiB have no more of them.
_COLUMN_BITS, _LENGTH_BITS = 24, 13
_MAX_COLUMN, _MAX_LENGTH = (1 << _COLUMN_BITS) - 1, (1 << _LENGTH_BITS) - 1


class Marks:
    """The places of one document's nodes. ``add`` in the order of appearance; ``aliases`` maps an alias's number to
    that of the node it stands for."""

    __slots__ = ("aliases", "position", "span")

    def __init__(self) -> None:
        self.position = array("Q")
        self.span = array("I")
        self.aliases: dict[int, int] = {}

    def add(self, line: int, column: int, length: int = 0) -> int:
        """Record the next node (line and column from 0) and return its number.

        ``length`` is how far it goes on that line; 0 where it goes beyond.
        """
        node = len(self.span)
        if column > _MAX_COLUMN or length > _MAX_LENGTH:
            column, length = min(column, _MAX_COLUMN), min(length, _MAX_LENGTH)
        self.position.append((line << _COLUMN_BITS | column) << _LENGTH_BITS | length)
        self.span.append(1)
        return node

    def close(self, node: int) -> None:
        """Note that all within ``node`` has been added."""
        self.span[node] = len(self.span) - node

    def cut(self, start: int) -> None:
        """Forget the nodes from ``start`` on, as if they had never been added."""
        del self.position[start:], self.span[start:]
        while self.aliases and (newest := next(reversed(self.aliases))) >= start:
            del self.aliases[newest]

    def line_column(self, node: int) -> tuple[int, int]:
        """Return line and column of a node, from 1."""
        position = self.position[node] >> _LENGTH_BITS
        return (position >> _COLUMN_BITS) + 1, (position & _MAX_COLUMN) + 1

    def end_column(self, node: int) -> int:
        """Return the first column behind a node, from 1; 0 where it ends on another line than it begins."""
        length = self.position[node] & _MAX_LENGTH
        return self.line_column(node)[1] + length if length else 0

    def find(self, value: Any, node: int, path: Path, *, key: bool = False) -> int:
        """Return the number of the node at ``path`` within ``value``, which is node ``node``.

        Where the path leads nowhere, the nearest enclosing node is returned. With ``key``, the last step gives the
        key of a mapping's member instead of its value.
        """
        for depth, step in enumerate(path):
            container = self.aliases.get(node, node)
            child = self._child(value, container, step)
            if child is None:
                break
            value = value[step]
            is_key = key and depth == len(path) - 1 and isinstance(step, str)
            node = child - 1 if is_key else child
        return node

    def items(self, value: Sequence[Any], node: int) -> array[int]:
        """Return the numbers of a list's items: one walk for all, where one walk each would be quadratic."""
        children = array("I")
        child = self.aliases.get(node, node) + 1
        for _ in value:
            children.append(child)
            child += self.span[child]
        return children

    def _child(self, value: Any, node: int, step: str | int) -> int | None:
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
