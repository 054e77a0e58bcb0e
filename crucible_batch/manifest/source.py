"""A manifest's file: read once, in pieces, with its digest; looked at again only where a line of it is to be shown."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from crucible_batch.errors import ManifestError, Place, Problem

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
