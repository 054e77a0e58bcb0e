"""Splices: where bytes go into a file. A file is read block by block, and nothing of it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_PARTS = 100_000
"""Chunks or segments. A picture has dozens; a file of millions of empty ones would keep a thread for minutes."""

_BLOCK_BYTES = 256 * 1024


class NotEmbeddableError(Exception):
    """A file that is left as it is; the message says why."""


@dataclass(frozen=True, slots=True)
class Splice:
    """At byte ``at`` of a file ``skip`` bytes give way to ``insert``."""

    at: int
    insert: bytes
    skip: int = 0


def spliced(file: BinaryIO, splices: Iterable[Splice]) -> Iterator[bytes]:
    """Yield a file with its splices, which come in the order of their places and don't overlap."""
    position = 0
    for splice in splices:
        file.seek(position)
        yield from _blocks(file, splice.at - position)
        yield splice.insert
        position = splice.at + splice.skip
    file.seek(position)
    while block := file.read(_BLOCK_BYTES):
        yield block


def read_at(file: BinaryIO, at: int, count: int) -> bytes:
    """Read exactly ``count`` bytes. Raises ``NotEmbeddableError`` where the file ends before."""
    file.seek(at)
    found = file.read(count)
    if len(found) != count:
        raise NotEmbeddableError("its structure isn't understood: it ends too early")
    return found


def _blocks(file: BinaryIO, count: int) -> Iterator[bytes]:
    while count > 0:
        block = file.read(min(count, _BLOCK_BYTES))
        if not block:
            raise NotEmbeddableError("it became shorter while it was read")
        count -= len(block)
        yield block
