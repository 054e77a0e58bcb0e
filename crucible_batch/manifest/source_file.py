"""A manifest's file: read once, in pieces, with its digest; looked at again only where a line of it is to be shown."""

from __future__ import annotations

import codecs
import hashlib
import marshal
import os
import stat
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from crucible_batch.errors import ManifestError, Place, Problem
from crucible_batch.manifest.source_map import Node, SourceMap, StreamedList

_MARK = codecs.BOM_UTF8
_PIECE = 64 * 1024
# What is shown of a line, or looked at in it for advice.
_MAX_LINE = 64 * 1024


class Source:
    """Gives the bytes of a file, checked to be UTF-8, without a byte order mark. ``sha256`` is of all that was read.

    ``read`` raises ``ManifestError`` where the file can't be read, isn't UTF-8 or has more than ``max_bytes``.
    """

    def __init__(self, path: Path, file: BinaryIO, max_bytes: int) -> None:
        self._path = path
        self._file = file
        self._max_bytes = max_bytes
        self._size = 0
        self._digest = hashlib.sha256()
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @classmethod
    @contextmanager
    def opened(cls, path: Path, max_bytes: int) -> Iterator[Source]:
        """Open a manifest; its size is looked at before anything is read. Raises ``ManifestError``."""
        try:
            with open(path, "rb", opener=_open) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise whole_file(path, "the manifest is no regular file")
                if status.st_size > max_bytes:
                    raise _too_large(path, status.st_size, max_bytes)
                yield cls(path, file, max_bytes)
        except OSError as error:
            raise _unreadable(path, error) from None
        except ValueError:  # a NUL in the path
            raise whole_file(path, "the manifest can't be read: its path holds a NUL character") from None

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, no more than ``size``; none at the end."""
        piece = self._file.read(size)
        is_first, self._size = not self._size, self._size + len(piece)
        if self._size > self._max_bytes:
            raise _too_large(self._path, self._size, self._max_bytes)
        self._digest.update(piece)
        try:
            self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError:
            raise self._not_utf8() from None
        if is_first and piece.startswith(_MARK):
            return piece.removeprefix(_MARK) or self.read(size)
        return piece

    def finish(self) -> None:
        """Read what is left, for the digest's sake."""
        while self.read(_PIECE):
            pass

    def line(self, number: int) -> str:
        """Return a line, counted from 0, as far as it may be looked at; an empty one where there is none."""
        for at, line in self._lines():
            if at == number:
                return line.decode("utf-8-sig" if at == 0 else "utf-8", "ignore").removesuffix("\n")
        return ""

    def find(self, character: str) -> tuple[int, int]:
        """Return line and column, from 1, of the first such character; of the beginning where there is none."""
        wanted = character.encode("utf-8", "surrogatepass")
        for at, line in self._lines():
            if wanted in line:
                before = line[: line.index(wanted)].removeprefix(_MARK if at == 0 else b"")
                return at + 1, len(before.decode("utf-8", "replace")) + 1
        return 1, 1

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines with their numbers from 0, a long one in several pieces."""
        self._file.seek(0)
        number = 0
        while line := self._file.readline(_MAX_LINE):
            yield number, line
            number += line.endswith(b"\n")

    def _not_utf8(self) -> ManifestError:
        message, hint = "the manifest is not UTF-8", "save the file as UTF-8"
        return ManifestError([Problem(Place(self._path, *self._bad_byte()), "", message, hint=hint)])

    def _bad_byte(self) -> tuple[int, int]:
        """Return line and column of the first byte that is no UTF-8."""
        decoder, line, column = codecs.getincrementaldecoder("utf-8-sig")(), 1, 1
        self._file.seek(0)
        while True:
            piece = self._file.read(_PIECE)
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                text = error.object[: error.start].decode("utf-8-sig" if line == column == 1 else "utf-8")
                piece = b""
            line += text.count("\n")
            column = len(text) - text.rfind("\n") if "\n" in text else column + len(text)
            if not piece:
                return line, column


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # else opening a pipe would wait for somebody to write to it


def whole_file(path: Path, message: str, hint: str | None = None) -> ManifestError:
    return ManifestError([Problem(Place(path), "", message, hint=hint)])


def _unreadable(path: Path, error: OSError) -> ManifestError:
    return whole_file(path, f"the manifest can't be read: {(error.strerror or str(error)).lower()}")


def _too_large(path: Path, size: int, max_bytes: int) -> ManifestError:
    message = f"the manifest has {size:,} bytes, and {max_bytes:,} are allowed"
    hint = "keep rows in a .csv or .jsonl file and use `foreach`, or allow more by --max-manifest-size"
    return whole_file(path, message, hint)


# Value, positions, spans, unsound nodes, and the aliases as pairs: a node, and which of the known targets it has.
_Record: TypeAlias = tuple[Any, bytes, bytes, list[int], list[tuple[int, int]]]

_BLOCK_ITEMS = 64
_BLOCK_NODES = 4096
_MAX_BYTES_IN_MEMORY = 1024 * 1024


class Spool(StreamedList):
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

    def add(self, value: Any, marks: SourceMap) -> None:
        """Take the next item. Neither it nor its marks may change from now on."""
        aliases = [(node, self._number(target)) for node, target in marks.aliases.items()] if marks.aliases else []
        self._filling.append((value, marks.position.tobytes(), marks.span.tobytes(), marks.unsound, aliases))
        self._nodes += len(marks.span)
        self._count += 1
        if len(self._filling) >= _BLOCK_ITEMS or self._nodes >= _BLOCK_NODES:
            self._write()

    def item(self, index: int) -> tuple[Any, SourceMap]:
        """Return one item. It costs as much as reading its whole block."""
        for block, first in enumerate(self._firsts):
            if index < first + self._length(block):
                return self._made(self._read(block)[index - first])
        return self._made(self._filling[index - (self._count - len(self._filling))])

    def __iter__(self) -> Iterator[tuple[Any, SourceMap]]:
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

    def _made(self, record: _Record) -> tuple[Any, SourceMap]:
        value, position, span, unsound, aliases = record
        marks = SourceMap()
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
