"""Outputs to disk: streamed beside the target, checked, synced, and only then given their name.

After a power cut a name stands for a whole file or for none: the bytes are synced before the name is made, and the
directory after it. A name is never taken from a file that stands there already.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from crucible_batch.domain.events import Saved, Sent
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.output_path import may_hold_output, output_path
from crucible_batch.outputs.disk_space import DiskSpace
from crucible_batch.outputs.embedding import NotEmbeddableError, plan_embedding, spliced
from crucible_batch.outputs.errors import MOVE_IT, OutputError, ResultsError
from crucible_batch.outputs.image_check import NoPictureError, Picture, examine
from crucible_batch.outputs.output_check import FileState, check_output
from crucible_batch.outputs.publish import link_into_place, put_back
from crucible_batch.outputs.publish import publish as _publish
from crucible_batch.outputs.safe_fs import Folder, folder_of, folder_of_output
from crucible_batch.outputs.temp_file import TEMPORARY_PREFIX, TempFile, temporary_files

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


Note: TypeAlias = Callable[[SavedFile, Folder | None], None]


async def _nowhere(_path: str, _sha256: str) -> None:
    return None


def _unnoted(_file: SavedFile, _folder: Folder | None) -> None:
    return None


class OutputStore:
    """The outputs of one run directory. No link is followed below it."""

    def __init__(self, directory: Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._room = DiskSpace(directory)
        self._left_as_they_came: set[str] = set()

    def shortage(self) -> ErrorInfo | None:
        """Say why nothing more should be bought: the disk has no room to save it. None: it has."""
        return self._room.shortage()

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
        note: Note = _unnoted,
    ) -> SavedFile:
        """Save one output under the name that ``pattern``, ``index`` and its true type make.

        ``token`` names the temporary file, the same on every try. ``length`` is the declared length in bytes; without
        one the whole picture is decoded, since counting can't show a cut. ``embed`` is a text for the picture's
        metadata; a picture that can't take it is saved as it came, and so is one that stands there as it came. ``way``
        is asked once, where the name is taken. ``note`` is called in a thread once the file has its name, with its
        folder where that is open. Raises ``OutputError`` where the bytes are not what was promised or the name stays
        taken, ``ResultsError`` where the disk fails. Either way no file is left.
        """
        if length is not None and length > self._max_bytes:
            raise _too_large(self._max_bytes)
        if not may_hold_output(output_path(pattern, index, ".png").as_posix()):
            raise _no_place(pattern)
        name = f"{TEMPORARY_PREFIX}{token}-{index}"
        with self._part(output_path(pattern, index, "").parent / name) as part:
            rest = await self._stream(part, body, self._max_bytes)
            land = partial(_land, part, rest, length, pattern=pattern, index=index, max_pixels=self._max_pixels)
            # In one hop to a thread with the last bytes: for most pictures the only one that there is.
            landed = await asyncio.to_thread(land, note=note if embed is None else None)
            if embed is not None:
                file = await self._save_with(embed, landed, part, way)
            elif landed.taken is not None:
                file = landed.as_file(await self._elsewhere(landed.taken, landed, part, way))
            else:
                return landed.as_file(landed.path)
            await asyncio.to_thread(note, file, None)
            return file

    async def _save_with(self, text: str, landed: _Landed, part: TempFile, way: Way) -> SavedFile:
        """Save what came with ``text`` embedded, or as it came where that is better."""
        sent, picture = landed.sent, landed.picture
        with self._part(part.path.with_name(f"{part.path.name}-embedded")) as embedded:
            made = await self._embed(part, embedded, landed.path, picture, text)
            if made is None:
                path, _ = await self._name(part, landed.path, sent.sha256, way)
                return SavedFile(path, sent.sha256, sent.byte_size, picture)
            path, stands = await self._name(embedded, landed.path, made.sha256, way, sent.sha256)
            if stands == sent.sha256:
                return SavedFile(path, sent.sha256, sent.byte_size, picture)
            return SavedFile(path, made.sha256, made.byte_size, picture, sent)

    async def _elsewhere(self, taken: OutputError, landed: _Landed, part: TempFile, way: Way) -> PurePosixPath:
        """Give the file another name where there is a way to one, since that which it was to have is taken."""
        elsewhere = await way(landed.path.as_posix(), landed.sent.sha256)
        if elsewhere is None:
            raise taken
        path = PurePosixPath(elsewhere)
        await asyncio.to_thread(_publish, part.path, self.directory, path, landed.sent.sha256, "")
        return path

    async def _name(
        self, part: TempFile, path: PurePosixPath, digest: str, way: Way, or_else: str = ""
    ) -> tuple[PurePosixPath, str]:
        """Return the path that the file got, and the digest of what stands there now."""
        try:
            return path, await asyncio.to_thread(_publish, part.path, self.directory, path, digest, or_else)
        except OutputError:
            elsewhere = await way(path.as_posix(), digest)
            if elsewhere is None:
                raise
        path = PurePosixPath(elsewhere)
        return path, await asyncio.to_thread(_publish, part.path, self.directory, path, digest, or_else)

    async def _embed(
        self, part: TempFile, embedded: TempFile, path: PurePosixPath, picture: Picture, text: str
    ) -> Sent | None:
        """Write the picture with ``text`` in it; None where it is better left as it came, which is noted."""
        try:
            await asyncio.to_thread(_copy_with, text, part, picture.mime_type, embedded)
        except NotEmbeddableError as error:
            reason = str(error)
            if reason not in self._left_as_they_came:  # once each: it may be true of every output
                self._left_as_they_came.add(reason)
                logger.warning("nothing was embedded in %s: %s", path, reason)
            return None
        return embedded.written

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
        if not may_hold_output(path):
            raise _no_place(path)
        parent = PurePosixPath(path).parent
        name = f"{TEMPORARY_PREFIX}{token}"
        with self._part(parent / name) as part, self._part(parent / f"{name}-embedded") as embedded:
            # What was saved once is taken again, whatever the limit was then.
            rest = await self._stream(part, body, max(self._max_bytes, byte_size or 0))
            await asyncio.to_thread(part.write, rest)
            came = part.written
            if came.sha256 != (sha256 if sent is None else sent.sha256):
                raise OutputError("OUTPUT_CHANGED", "the gateway now sends other bytes than were saved")
            good = part
            if sent is not None:
                picture = await asyncio.to_thread(_examined, part, whole=False)
                made = await self._embed(part, embedded, PurePosixPath(path), picture, embed)
                if made is None or made.sha256 != sha256:
                    raise OutputError("OUTPUT_CHANGED", "what is embedded now is other than it was", final=True)
                good = embedded
            return await asyncio.to_thread(put_back, good.path, self.directory, PurePosixPath(path), sha256)

    async def _stream(self, part: TempFile, body: AsyncIterator[bytes], max_bytes: int) -> bytes:
        """Write what comes but for its last bytes, which are returned: they go the way of what is done next."""
        size, waiting, pending = 0, 0, list[bytes]()
        async for chunk in body:
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            pending.append(chunk)
            waiting += len(chunk)
            if waiting >= _HOP_BYTES:
                block, waiting, pending = b"".join(pending), 0, []
                await asyncio.to_thread(part.write, block)
        return b"".join(pending)

    def has(self, path: str) -> bool:
        """Whether something stands at a path that an output was saved under. Its bytes are not read."""
        with contextlib.suppress(OSError), folder_of_output(self.directory, path) as folder:
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
            with contextlib.suppress(OSError), folder_of(self.directory, leftover) as folder:
                folder.unlink(leftover.name)
                count += 1
        return count

    @contextlib.contextmanager
    def _part(self, path: PurePosixPath) -> Iterator[TempFile]:
        """Have a temporary file's errors become ours, and no such file be left."""
        part = TempFile(self.directory, path)
        try:
            yield part
        except OSError as error:
            if error.errno == errno.ELOOP:
                message = f"a link stands on the way to {path.parent}, and none is followed; {MOVE_IT}"
                raise OutputError("OUTPUT_EXISTS", message, final=True) from error
            raise ResultsError(
                f"{self.directory / path.parent} can't be written: {error.strerror}",
                hint="see to the disk and run the same command again: nothing is paid twice",
            ) from error
        finally:
            part.close()
            # A directory that failed may fail here too, and must not hide why; the next run's sweep comes by anyway.
            with contextlib.suppress(OSError):
                part.remove()

    def leftovers(self) -> Iterator[PurePosixPath]:
        """Yield the temporary files, relative to the directory: what a killed run left, or one is writing now."""
        return temporary_files(self.directory)


@dataclass(frozen=True, slots=True)
class _Landed:
    """What came, whole. ``taken`` says why it doesn't have the name ``path``, where it was to get it."""

    sent: Sent
    picture: Picture
    path: PurePosixPath
    taken: OutputError | None = None

    def as_file(self, path: PurePosixPath) -> SavedFile:
        """Return it as it stands at ``path``, as it came."""
        return SavedFile(path, self.sent.sha256, self.sent.byte_size, self.picture)


def _land(
    part: TempFile,
    rest: bytes,
    length: int | None,
    *,
    pattern: str,
    index: int,
    max_pixels: int,
    note: Note | None,
) -> _Landed:
    """Write the last bytes and check the whole. With a ``note`` it is given its name as well, and noted.

    Each call of the system's gives up the interpreter's lock and waits for it again, so there are no more than need be.
    """
    with folder_of(part.directory, part.path, make=True) as folder:
        part.write(rest, folder)
        sent = part.written
        if length is not None and sent.byte_size != length:
            raise OutputError("OUTPUT_TRUNCATED", f"{sent.byte_size} of {length} bytes came")
        held = rest if len(rest) == sent.byte_size else None
        picture = _examined(part, folder, held, whole=length is None, max_pixels=max_pixels)
        landed = _Landed(sent, picture, output_path(pattern, index, picture.ext))
        if note is None:
            return landed
        part.sync()
        part.close()
        try:
            link_into_place(folder, part.path.name, landed.path, sent.sha256)
        except OutputError as error:
            return replace(landed, taken=error)
        part.remove(folder)
        note(landed.as_file(landed.path), folder)
    return landed


def _copy_with(text: str, source: TempFile, mime_type: str, part: TempFile) -> None:
    """Copy a picture with ``text`` embedded. Raises ``NotEmbeddableError``."""
    with folder_of(source.directory, source.path) as folder, folder.read(source.path.name) as file:
        for block in spliced(file, plan_embedding(file, mime_type, text)):
            part.write(block)


def _examined(
    part: TempFile,
    folder: Folder | None = None,
    held: bytes | None = None,
    *,
    whole: bool,
    max_pixels: int | None = None,
) -> Picture:
    """Read what the picture is; its header first, since a few bytes can promise pixels without end.

    ``held`` is all that was written, where that is at hand.
    """
    try:
        with BytesIO(held) if held is not None else part.read(folder) as file:
            picture = examine(file, whole=False)
            if max_pixels is not None and picture.width * picture.height > max_pixels:
                size = f"{picture.width:,} x {picture.height:,}"
                message = f"{size} pixels, and {max_pixels:,} are allowed"
                raise OutputError("OUTPUT_TOO_MANY_PIXELS", message, definite=True)
            return examine(file, whole=True) if whole else picture
    except NoPictureError as error:
        raise OutputError("OUTPUT_NO_PICTURE", str(error), definite=error.is_another_type) from error


def _no_place(path: str) -> OutputError:
    return OutputError("OUTPUT_MISPLACED", f"no output may stand at {path}; the journal was edited", final=True)


def _too_large(max_bytes: int) -> OutputError:
    return OutputError("OUTPUT_TOO_LARGE", f"larger than {max_bytes} bytes", definite=True)
