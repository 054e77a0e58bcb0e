"""Outputs to disk: streamed beside the target, checked, synced, and only then given their name.

After a power cut a name stands for a whole file or for none: the bytes are synced before the name is made, and the
directory after it. A name is never taken from a file that stands there already.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from crucible_batch.core.events import Saved, Sent
from crucible_batch.core.output_path import output_path
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.results.checking import FileState, check_output
from crucible_batch.results.embedding import NotEmbeddableError, plan_embedding, spliced
from crucible_batch.results.picture import NoPictureError, Picture, examine

TEMPORARY_PREFIX = ".crucible-part-"
_MOVE_IT = "move it away and run the same command again: the picture is paid for, and fetched for no credits"
_HOP_BYTES = 256 * 1024
"""Bytes hashed and written in one hop to a thread; smaller hops cost more than the work itself."""

Way: TypeAlias = Callable[[str, str], Awaitable[str | None]]
"""Where an output with a digest goes when its path is taken: the same, once that is free; another; None: nowhere."""

logger = logging.getLogger(__name__)


class OutputError(Exception):
    """An output that wasn't saved. ``final`` tells that a fresh link wouldn't help."""

    def __init__(self, code: str, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.final = final


class ResultsError(CrucibleBatchError):
    """The results directory can't be written; what was journalled is intact."""

    code = "RESULTS"


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file that stands on disk, whole and synced; ``path`` is relative to the run directory.

    ``sent`` is what came, where a text was embedded in it.
    """

    path: PurePosixPath
    sha256: str
    byte_size: int
    picture: Picture
    sent: Sent | None = None


async def _nowhere(_path: str, _sha256: str) -> None:
    return None


class OutputStore:
    """The outputs of one run directory."""

    def __init__(self, directory: Path, *, max_bytes: int = 256 * 1024 * 1024) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._left_as_they_came: set[str] = set()

    async def save(
        self,
        pattern: str,
        index: int,
        token: str,
        body: AsyncIterator[bytes],
        length: int | None,
        *,
        embed: str | None = None,
        way: Way = _nowhere,
    ) -> SavedFile:
        """Save one output under the name that ``pattern``, ``index`` and its true type make.

        ``token`` names the temporary file, the same on every try. ``length`` is the declared length in bytes; without
        one the whole picture is decoded, since counting can't show a cut. ``embed`` is a text for the picture's
        metadata; a picture that can't take it is saved as it came, and so is one that stands there as it came. ``way``
        is asked once, where the name is taken. Raises ``OutputError`` where the bytes are not what was promised or the
        name stays taken, ``ResultsError`` where the disk fails. Either way no file is left.
        """
        parent = self.directory / output_path(pattern, index, "").parent
        name = f"{TEMPORARY_PREFIX}{token}-{index}"
        with _temporary(parent / name) as temporary, _temporary(parent / f"{name}-embedded") as embedded:
            await asyncio.to_thread(parent.mkdir, parents=True, exist_ok=True)
            sent = await self._stream(temporary, body)
            if length is not None and sent.byte_size != length:
                raise OutputError("OUTPUT_TRUNCATED", f"{sent.byte_size} of {length} bytes came")
            picture = await asyncio.to_thread(_examine, temporary, whole=length is None)
            path = output_path(pattern, index, picture.ext)
            made = await self._embed(temporary, embedded, path, picture, embed) if embed is not None else None
            if made is None:
                path, _ = await self._name(temporary, path, sent.sha256, way)
                return SavedFile(path, sent.sha256, sent.byte_size, picture)
            path, stands = await self._name(embedded, path, made.sha256, way, sent.sha256)
            if stands == sent.sha256:
                return SavedFile(path, sent.sha256, sent.byte_size, picture)
            return SavedFile(path, made.sha256, made.byte_size, picture, sent)

    async def _name(
        self, temporary: Path, path: PurePosixPath, digest: str, way: Way, or_else: str = ""
    ) -> tuple[PurePosixPath, str]:
        """Return the path that the file got, and the digest of what stands there now."""
        try:
            return path, await asyncio.to_thread(_publish, temporary, self.directory, path, digest, or_else)
        except OutputError:
            elsewhere = await way(path.as_posix(), digest)
            if elsewhere is None:
                raise
        path = PurePosixPath(elsewhere)
        return path, await asyncio.to_thread(_publish, temporary, self.directory, path, digest, or_else)

    async def _embed(
        self, temporary: Path, embedded: Path, path: PurePosixPath, picture: Picture, text: str
    ) -> Sent | None:
        """Write the picture with ``text`` in it; None where it is better left as it came, which is noted."""
        part = _Part(embedded)
        try:
            size = await asyncio.to_thread(_copy_with, text, temporary, picture.mime_type, part)
        except NotEmbeddableError as error:
            reason = str(error)
            if reason not in self._left_as_they_came:  # once each: it may be true of every output
                self._left_as_they_came.add(reason)
                logger.warning("nothing was embedded in %s: %s", path, reason)
            return None
        finally:
            part.close()
        return Sent(part.digest.hexdigest(), size)

    async def restore(
        self,
        path: str,
        sha256: str,
        token: str,
        body: AsyncIterator[bytes],
        *,
        sent: Sent | None = None,
        embed: str = "",
    ) -> str | None:
        """Put an output back where it was saved once, if the bytes that come are the ones that were saved.

        Where ``sent`` is what came then, ``embed`` is embedded again. Other bytes that stand there are kept: the file
        becomes ``NAME.damaged-`` with 8 hex of its digest, once the good bytes stand beside it, and that path is
        returned. Raises ``OutputError`` where other bytes come, or something else than a file stands there, and
        ``ResultsError``.
        """
        target = self.directory / path
        name = f"{TEMPORARY_PREFIX}{token}"
        with (
            _temporary(target.parent / name) as temporary,
            _temporary(target.parent / f"{name}-embedded") as embedded,
        ):
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
            came = await self._stream(temporary, body)
            if came.sha256 != (sha256 if sent is None else sent.sha256):
                raise OutputError("OUTPUT_CHANGED", "the gateway now sends other bytes than were saved")
            good = temporary
            if sent is not None:
                picture = await asyncio.to_thread(_examine, temporary, whole=False)
                made = await self._embed(temporary, embedded, PurePosixPath(path), picture, embed)
                if made is None or made.sha256 != sha256:
                    raise OutputError("OUTPUT_CHANGED", "what is embedded now is other than it was", final=True)
                good = embedded
            return await asyncio.to_thread(_put_back, good, self.directory, PurePosixPath(path), sha256)

    async def _stream(self, temporary: Path, body: AsyncIterator[bytes]) -> Sent:
        size = 0
        part = _Part(temporary)
        try:
            pending = bytearray()
            async for chunk in body:
                size += len(chunk)
                if size > self._max_bytes:
                    raise OutputError("OUTPUT_TOO_LARGE", f"larger than {self._max_bytes} bytes", final=True)
                pending += chunk
                if len(pending) >= _HOP_BYTES:
                    await asyncio.to_thread(part.write, bytes(pending))
                    pending.clear()
            await asyncio.to_thread(part.write, bytes(pending))
        finally:
            part.close()
        return Sent(part.digest.hexdigest(), size)

    def has(self, path: str) -> bool:
        """Whether something stands at a path that an output was saved under. Its bytes are not read."""
        return (self.directory / path).is_file()

    async def is_true(self, saved: Saved) -> bool:
        """Whether the very bytes that were saved still stand there, in a file and not behind a link."""
        state = await asyncio.to_thread(check_output, self.directory, saved.path, saved.sha256, saved.byte_size)
        return state is FileState.OK

    def sweep(self) -> int:
        """Remove what killed runs left behind; returns how many files that were. The caller holds the lock."""
        count = 0
        for leftover in self.leftovers():
            # One that can't be removed is no reason not to run.
            with contextlib.suppress(OSError):
                leftover.unlink()
                count += 1
        return count

    def leftovers(self) -> Iterator[Path]:
        """Yield the temporary files: what a killed run left, or one that is going on is writing."""
        yield from _leftovers(self.directory)


def _leftovers(directory: str | Path) -> Iterator[Path]:
    """Look entry by entry: ``Path.rglob`` lists a folder before it looks, and there may be a million jobs in one."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _leftovers(entry.path)
            elif entry.name.startswith(TEMPORARY_PREFIX) and (entry.is_file() or entry.is_symlink()):
                yield Path(entry.path)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Have a temporary file's errors become ours, and no such file be left."""
    try:
        yield path
    except OSError as error:
        raise ResultsError(
            f"{path.parent} can't be written: {error.strerror}",
            hint="see to the disk and run the same command again: nothing is paid twice",
        ) from error
    finally:
        # A directory that failed may fail here too, and must not hide why; the next run's sweep comes by anyway.
        with contextlib.suppress(OSError):
            path.unlink()


class _Part:
    """A file that threads write to. Closing waits for a write that outlives its cancelled task.

    It would go into another file else: the number of a descriptor that was closed is that of the next to be opened.
    """

    def __init__(self, path: Path) -> None:
        self.digest = hashlib.sha256()
        self._lock = threading.Lock()
        self._is_open = True
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o644)

    def write(self, block: bytes) -> None:
        """Write all of ``block``; nothing once the file is closed."""
        with self._lock:
            if self._is_open:
                self.digest.update(block)
                _write_all(self._descriptor, block)

    def close(self) -> None:
        with self._lock:
            self._is_open = False
            os.close(self._descriptor)


def _write_all(descriptor: int, block: bytes) -> None:
    """A raw write may be short without an error; the next one then tells why."""
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def _copy_with(text: str, source: Path, mime_type: str, part: _Part) -> int:
    """Copy a picture with ``text`` embedded; returns how many bytes that were. Raises ``NotEmbeddableError``."""
    splices = plan_embedding(source, mime_type, text)
    size = 0
    with source.open("rb") as file:
        for block in spliced(file, splices):
            part.write(block)
            size += len(block)
    return size


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _examine(temporary: Path, *, whole: bool) -> Picture:
    try:
        return examine(temporary, whole=whole)
    except NoPictureError as error:
        raise OutputError("OUTPUT_NO_PICTURE", str(error)) from error


def _put_back(temporary: Path, directory: Path, path: PurePosixPath, digest: str) -> str | None:
    """Sync the file and give it its name. What stood there keeps its bytes under another, which is returned."""
    _sync(temporary, os.O_RDWR)
    target, aside = directory / path, None
    if os.path.lexists(target):
        if target.is_symlink() or not target.is_file():
            raise OutputError("OUTPUT_EXISTS", f"something else than a file stands at {path}; {_MOVE_IT}", final=True)
        other = file_digest(target)
        if other == digest:
            return None
        aside = f"{path}.damaged-{other[:8]}"
        keep_as(directory, path.as_posix(), aside, other)
    temporary.replace(target)
    _sync(target.parent, os.O_RDONLY)
    return aside


def keep_as(directory: Path, path: str, other: str, digest: str) -> None:
    """Give a file of that digest a second name, synced, so that it outlives the loss of its first. May be done again.

    Raises ``OutputError`` where a file with other bytes has that name.
    """
    second = directory / other
    try:
        os.link(directory / path, second, follow_symlinks=False)
    except FileExistsError:
        if second.is_symlink() or not second.is_file() or file_digest(second) != digest:
            raise OutputError("OUTPUT_EXISTS", f"another file stands at {other}; {_MOVE_IT}", final=True) from None
    _sync(second.parent, os.O_RDONLY)


def give_up(directory: Path, path: str, other: str, digest: str) -> None:
    """Take the name ``path`` from a file of that digest, which is kept as ``other``.

    Raises ``OutputError`` where ``path`` is no longer that file: somebody has put another one there meanwhile.
    """
    first = directory / path
    if not first.samefile(directory / other) and file_digest(first) != digest:
        raise OutputError("OUTPUT_EXISTS", f"{path} has changed just now; run the same command again", final=True)
    first.unlink()


def _publish(temporary: Path, directory: Path, path: PurePosixPath, digest: str, or_else: str) -> str:
    """Sync the file, give it its name unless another stands there, and sync the name.

    Returns the digest of what stands there now. That may be ``or_else``, where it stood there before.
    """
    _sync(temporary, os.O_RDWR)
    target, stands = directory / path, digest
    try:
        os.link(temporary, target, follow_symlinks=False)
    except FileExistsError:
        stands = file_digest(target) if target.is_file() and not target.is_symlink() else ""
        if stands not in {digest, or_else} - {""}:
            raise OutputError("OUTPUT_EXISTS", f"another file stands at {path}; {_MOVE_IT}", final=True) from None
    _sync(target.parent, os.O_RDONLY)
    return stands


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
