"""Outputs to disk: streamed beside the target, checked, synced, and only then given their name.

After a power cut a name stands for a whole file or for none: the bytes are synced before the name is made, and the
directory after it. A name is never taken from a file that stands there already.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from crucible_batch.core.events import Saved, Sent
from crucible_batch.core.output_path import output_path
from crucible_batch.results.beneath import folder_of
from crucible_batch.results.checking import FileState, check_output
from crucible_batch.results.embedding import NotEmbeddableError, plan_embedding, spliced
from crucible_batch.results.naming import publish as _publish
from crucible_batch.results.naming import put_back
from crucible_batch.results.picture import NoPictureError, Picture, examine
from crucible_batch.results.trouble import MOVE_IT, OutputError, ResultsError

TEMPORARY_PREFIX = ".crucible-part-"
_HOP_BYTES = 256 * 1024
"""Bytes hashed and written in one hop to a thread; smaller hops cost more than the work itself."""

MAX_BYTES = 256 * 1024 * 1024
MAX_PIXELS = 100_000_000

Way: TypeAlias = Callable[[str, str], Awaitable[str | None]]
"""Where an output with a digest goes when its path is taken: the same, once that is free; another; None: nowhere."""

logger = logging.getLogger(__name__)


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
    """The outputs of one run directory. No link is followed below it."""

    def __init__(self, directory: Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
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
        if length is not None and length > self._max_bytes:
            raise _too_large(self._max_bytes)
        parent = output_path(pattern, index, "").parent
        name = f"{TEMPORARY_PREFIX}{token}-{index}"
        with self._temporary(parent / name) as temporary, self._temporary(parent / f"{name}-embedded") as embedded:
            sent = await self._stream(temporary, body, self._max_bytes)
            if length is not None and sent.byte_size != length:
                raise OutputError("OUTPUT_TRUNCATED", f"{sent.byte_size} of {length} bytes came")
            picture = await self._examine(temporary, whole=length is None)
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
        self, temporary: PurePosixPath, path: PurePosixPath, digest: str, way: Way, or_else: str = ""
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
        self, temporary: PurePosixPath, embedded: PurePosixPath, path: PurePosixPath, picture: Picture, text: str
    ) -> Sent | None:
        """Write the picture with ``text`` in it; None where it is better left as it came, which is noted."""
        part = _Part(self.directory, embedded)
        try:
            size = await asyncio.to_thread(_copy_with, text, self.directory, temporary, picture.mime_type, part)
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
        byte_size: int | None = None,
        sent: Sent | None = None,
        embed: str = "",
    ) -> str | None:
        """Put an output back where it was saved once, if the bytes that come are the ones that were saved.

        ``byte_size`` is how many came then, if that is known, and ``sent`` what came, where ``embed`` was embedded in
        it: it is embedded again. Other bytes that stand there are kept: the file
        becomes ``NAME.damaged-`` with 8 hex of its digest, once the good bytes stand beside it, and that path is
        returned. Raises ``OutputError`` where other bytes come, or something else than a file stands there, and
        ``ResultsError``.
        """
        parent = PurePosixPath(path).parent
        name = f"{TEMPORARY_PREFIX}{token}"
        with self._temporary(parent / name) as temporary, self._temporary(parent / f"{name}-embedded") as embedded:
            # What was saved once is taken again, whatever the limit was then.
            came = await self._stream(temporary, body, max(self._max_bytes, byte_size or 0))
            if came.sha256 != (sha256 if sent is None else sent.sha256):
                raise OutputError("OUTPUT_CHANGED", "the gateway now sends other bytes than were saved")
            good = temporary
            if sent is not None:
                picture = await asyncio.to_thread(_examined, self.directory, temporary, whole=False)
                made = await self._embed(temporary, embedded, PurePosixPath(path), picture, embed)
                if made is None or made.sha256 != sha256:
                    raise OutputError("OUTPUT_CHANGED", "what is embedded now is other than it was", final=True)
                good = embedded
            return await asyncio.to_thread(put_back, good, self.directory, PurePosixPath(path), sha256)

    async def _examine(self, temporary: PurePosixPath, *, whole: bool) -> Picture:
        """Read what the picture is; its header first, since a few bytes can promise pixels without end."""
        picture = await asyncio.to_thread(_examined, self.directory, temporary, whole=False)
        if picture.width * picture.height > self._max_pixels:
            size = f"{picture.width:,} x {picture.height:,}"
            message = f"{size} pixels, and {self._max_pixels:,} are allowed"
            raise OutputError("OUTPUT_TOO_MANY_PIXELS", message, definite=True)
        return await asyncio.to_thread(_examined, self.directory, temporary, whole=True) if whole else picture

    async def _stream(self, temporary: PurePosixPath, body: AsyncIterator[bytes], max_bytes: int) -> Sent:
        size = 0
        part = _Part(self.directory, temporary)
        try:
            pending = bytearray()
            async for chunk in body:
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(max_bytes)
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
        with contextlib.suppress(OSError), folder_of(self.directory, path) as folder:
            found = folder.stat(PurePosixPath(path).name)
            return found is not None and stat.S_ISREG(found.st_mode)
        return False

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

    @contextlib.contextmanager
    def _temporary(self, path: PurePosixPath) -> Iterator[PurePosixPath]:
        """Have a temporary file's errors become ours, and no such file be left."""
        try:
            yield path
        except OSError as error:
            if error.errno == errno.ELOOP:
                message = f"a link stands on the way to {path.parent}, and none is followed; {MOVE_IT}"
                raise OutputError("OUTPUT_EXISTS", message, final=True) from error
            raise ResultsError(
                f"{self.directory / path.parent} can't be written: {error.strerror}",
                hint="see to the disk and run the same command again: nothing is paid twice",
            ) from error
        finally:
            # A directory that failed may fail here too, and must not hide why; the next run's sweep comes by anyway.
            with contextlib.suppress(OSError), folder_of(self.directory, path) as folder:
                folder.unlink(path.name)

    def leftovers(self) -> Iterator[Path]:
        """Yield the temporary files: what a killed run left, or one that is going on is writing."""
        for leftover in self.directory.rglob(f"{TEMPORARY_PREFIX}*"):
            if leftover.is_file() or leftover.is_symlink():  # a directory of that name is not ours
                yield leftover


class _Part:
    """A file that threads write to. Closing waits for a write that outlives its cancelled task.

    It would go into another file else: the number of a descriptor that was closed is that of the next to be opened.
    """

    def __init__(self, directory: Path, path: PurePosixPath) -> None:
        self.digest = hashlib.sha256()
        self._lock = threading.Lock()
        self._is_open = True
        with folder_of(directory, path, make=True) as folder:
            folder.unlink(path.name)  # a killed run's; it may be a second name of a file that isn't ours by now
            self._descriptor = folder.open(path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

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


def _copy_with(text: str, directory: Path, source: PurePosixPath, mime_type: str, part: _Part) -> int:
    """Copy a picture with ``text`` embedded; returns how many bytes that were. Raises ``NotEmbeddableError``."""
    size = 0
    with folder_of(directory, source) as folder, folder.read(source.name) as file:
        for block in spliced(file, plan_embedding(file, mime_type, text)):
            part.write(block)
            size += len(block)
    return size


def _examined(directory: Path, temporary: PurePosixPath, *, whole: bool) -> Picture:
    try:
        with folder_of(directory, temporary) as folder, folder.read(temporary.name) as file:
            return examine(file, whole=whole)
    except NoPictureError as error:
        raise OutputError("OUTPUT_NO_PICTURE", str(error), definite=error.is_another_type) from error


def _too_large(max_bytes: int) -> OutputError:
    return OutputError("OUTPUT_TOO_LARGE", f"larger than {max_bytes} bytes", definite=True)
