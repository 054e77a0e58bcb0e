"""The items of a long list, each a value with its marks: in memory while they are few, then in a nameless file."""

from __future__ import annotations

import marshal
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from crucible_batch.manifest.marks import Apart, Marks, Node

# Value, positions, spans, unsound nodes, and the aliases as pairs: a node, and which of the known targets it has.
_Record: TypeAlias = tuple[Any, bytes, bytes, list[int], list[tuple[int, int]]]

_BLOCK_ITEMS = 64
_BLOCK_NODES = 4096
_MAX_BYTES_IN_MEMORY = 1024 * 1024


class Spool(Apart):
    """Takes items and gives them back, in order or one by its index, as often as one likes.

    They are kept in blocks in the form of ``marshal``, which reads and writes a job in half a microsecond each (JSON
    takes ten times that) and is as good as any for a file that no other process sees: it has no name, so that no kill
    leaves it behind. Raises ``OSError`` where the temporary directory has no room. ``watch`` is called with each block,
    and may raise to end the work on a long list.
    """

    def __init__(self, watch: Callable[[], None] = lambda: None) -> None:
        self._watch = watch
        self._filling: list[_Record] = []
        self._nodes = 0
        self._blocks: list[bytes] = []
        self._bytes = 0
        self._file: int | None = None
        self._offsets = array("Q", [0])
        self._firsts = array("Q")  # the index of each block's first item
        self._count = 0
        self._targets: list[Node] = []
        self._numbers: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, value: Any, marks: Marks) -> None:
        """Take the next item. Neither it nor its marks may change from now on."""
        aliases = [(node, self._number(target)) for node, target in marks.aliases.items()] if marks.aliases else []
        self._filling.append((value, marks.position.tobytes(), marks.span.tobytes(), marks.unsound, aliases))
        self._nodes += len(marks.span)
        self._count += 1
        if len(self._filling) >= _BLOCK_ITEMS or self._nodes >= _BLOCK_NODES:
            self._write()

    def item(self, index: int) -> tuple[Any, Marks]:
        """Return one item. It costs as much as reading its whole block."""
        for block, first in enumerate(self._firsts):
            if index < first + self._length(block):
                return self._made(self._read(block)[index - first])
        return self._made(self._filling[index - (self._count - len(self._filling))])

    def __iter__(self) -> Iterator[tuple[Any, Marks]]:
        for block in range(len(self._firsts)):
            for record in self._read(block):
                yield self._made(record)
        for record in self._filling:
            yield self._made(record)

    def _number(self, target: Node) -> int:
        key = (id(target.marks), target.number)  # the list keeps the marks, so that no others get their id
        if key not in self._numbers:
            self._numbers[key] = len(self._targets)
            self._targets.append(target)
        return self._numbers[key]

    def _made(self, record: _Record) -> tuple[Any, Marks]:
        value, position, span, unsound, aliases = record
        marks = Marks()
        marks.position.frombytes(position)
        marks.span.frombytes(span)
        if unsound:
            marks.unsound = unsound
        if aliases:
            marks.aliases = {node: self._targets[number] for node, number in aliases}
        return value, marks

    def _length(self, block: int) -> int:
        end = self._firsts[block + 1] if block + 1 < len(self._firsts) else self._count - len(self._filling)
        return end - self._firsts[block]

    def _write(self) -> None:
        self._watch()
        data = marshal.dumps(self._filling)
        self._firsts.append(self._count - len(self._filling))
        self._filling, self._nodes = [], 0
        self._bytes += len(data)
        self._offsets.append(self._bytes)
        if self._file is None:
            self._blocks.append(data)
            if self._bytes > _MAX_BYTES_IN_MEMORY:
                self._file = self._opened()
                _write_all(self._file, b"".join(self._blocks))
                self._blocks = []
        else:
            _write_all(self._file, data)

    def _opened(self) -> int:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def _read(self, block: int) -> list[_Record]:
        self._watch()
        start, end = self._offsets[block], self._offsets[block + 1]
        data = self._blocks[block] if self._file is None else os.pread(self._file, end - start, start)
        records: list[_Record] = marshal.loads(data)  # noqa: S302 - written above, in a file that nobody else can open
        return records


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all of it: a write may be short without an error."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
