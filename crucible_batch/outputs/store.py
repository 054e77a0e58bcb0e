"""Saving of outputs to disk.

They are streamed to a temporary file beside the target, checked, synced, and only then named. After
a power cut, a name belongs to a complete file or doesn't exist: the bytes are synced before the
name is created, and the directory after it. An existing file is never replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.core.events import Saved, Sent
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.output_path import may_hold_output, output_path
from crucible_batch.core.provenance import Metadata
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs.disk_space import space_shortage
from crucible_batch.outputs.embedding import NotEmbeddableError, plan_embedding, spliced
from crucible_batch.outputs.errors import MOVE_IT, OutputError, ResultsError, misplaced, too_large
from crucible_batch.outputs.image_check import NoPictureError, Picture, examine
from crucible_batch.outputs.output_check import FileState, check_output
from crucible_batch.outputs.publish import add_name, link_into_place, put_back, remove_name
from crucible_batch.outputs.publish import publish as _publish
from crucible_batch.outputs.safe_fs import Folder, folder_of, folder_of_output, open_output
from crucible_batch.outputs.sidecars import Sidecars
from crucible_batch.outputs.temp_file import TempFile, temporary_files

_HOP_BYTES = 256 * 1024
"""Bytes hashed and written in one call to a thread; for fewer bytes the call costs more than the
work itself."""

MAX_BYTES = 256 * 1024 * 1024
MAX_PIXELS = 100_000_000

FindPath = Callable[[str, str], Awaitable[str | None]]
"""Called with an output's path and digest if the path is taken.

Returns the same path once it is free, another path, or None if there is none.
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A complete and synced file on disk; ``path`` is relative to the run directory.

    ``sent`` describes the bytes received, if metadata was then embedded in them.
    """

    path: PurePosixPath
    sha256: str
    byte_size: int
    picture: Picture
    sent: Sent | None = None


Note = Callable[[SavedFile, Folder | None], None]


async def _no_other_path(_path: str, _sha256: str) -> None:
    return None


def _unnoted(_file: SavedFile, _folder: Folder | None) -> None:
    return None


class OutputStore:
    """The outputs of one run directory. No link is followed below it.

    An output is complete before its name exists, and its name is never given to other bytes: a path
    that is taken by the same bytes is accepted, and one that is taken by others is an
    ``OutputError`` with the code ``OUTPUT_EXISTS``. ``ObjectOutputStore`` keeps the same promises,
    and the same tests check both.
    """

    _names_when_complete: ClassVar[bool] = True
    """Whether a file that needs no embedding gets its name in the thread that checks it."""

    url: ObjectUrl | None = None
    """Where the outputs are, if that is an object store."""

    def __init__(
        self, directory: Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._sidecars = Sidecars(directory)
        self._reasons_not_embedded: set[str] = set()

    def sidecars(self) -> Sidecars:
        """Return the writer of sidecars, which reports the first one that it can't write."""
        return self._sidecars

    def shortage(self) -> ErrorInfo | None:
        """Return an error if the disk has no room to save more, otherwise None.

        After an error, nothing more is bought.
        """
        return space_shortage(self.directory)

    async def save(
        self,
        pattern: str,
        index: int,
        token: str,
        body: AsyncIterator[bytes],
        length: int | None,
        *,
        embed: Sequence[Metadata] = (),
        like: str | None = None,
        find_path: FindPath = _no_other_path,
        note: Note = _unnoted,
    ) -> SavedFile:
        """Save one output under the name given by ``pattern``, ``index`` and its true type.

        ``token`` names the temporary file and is the same on every attempt. ``length`` is the
        declared length in bytes; without it all of the picture is decoded, since a cut can't be
        detected by counting. The first of ``embed`` is embedded, or the one that gives the file
        with the digest ``like``; a picture that can't take it is saved unchanged, and one that is
        already there unchanged stays so. ``find_path`` is called once, if the name is taken.
        ``note`` is called in a thread once the file has its name, with its folder if that is open.

        Raises ``OutputError`` if the bytes are not as declared or the name stays taken, and
        ``ResultsError`` if the disk fails. In both cases no file is left.
        """
        if length is not None and length > self._max_bytes:
            raise too_large(self._max_bytes)
        if not may_hold_output(output_path(pattern, index, ".png").as_posix()):
            raise misplaced(pattern)
        name = f"{TEMPORARY_PREFIX}{token}-{index}"
        with self._part(output_path(pattern, index, "").parent / name) as part:
            rest = await self._stream(part, body, self._max_bytes)
            complete = partial(
                _complete,
                part,
                rest,
                length,
                pattern=pattern,
                index=index,
                max_pixels=self._max_pixels,
            )
            # Together with the last bytes in one call to a thread, which is the only call for most
            # pictures.
            is_named = not embed and self._names_when_complete
            done = await asyncio.to_thread(complete, note=note if is_named else None)
            if is_named and done.taken is None:
                return done.as_file(done.path)
            if embed:
                file = await self._save_with(embed, like, done, part, find_path)
            else:
                file = await self._save_unchanged(done, part, find_path)
            await asyncio.to_thread(note, file, None)
            return file

    async def _save_unchanged(
        self, done: _Complete, part: TempFile, find_path: FindPath
    ) -> SavedFile:
        """Name a picture that was not named when it was checked, or could not be."""
        digest = done.sent.sha256
        if done.taken is None:
            path, _ = await self._name(part, done.path, digest, find_path)
        else:
            path, _ = await self._name_elsewhere(done.taken, part, done.path, digest, find_path)
        return done.as_file(path)

    async def _save_with(
        self,
        embed: Sequence[Metadata],
        like: str | None,
        done: _Complete,
        part: TempFile,
        find_path: FindPath,
    ) -> SavedFile:
        """Save the picture with metadata embedded.

        It is saved unchanged if it can't take that, or is already there unchanged.
        """
        sent, picture = done.sent, done.picture
        with self._part(part.path.with_name(f"{part.path.name}-embedded")) as embedded:
            made = await self._embed(part, embedded, done.path, picture, embed=embed, like=like)
            if made is None:
                return await self._save_unchanged(done, part, find_path)
            path, present = await self._name(
                embedded, done.path, made.sha256, find_path, sent.sha256
            )
            if present == sent.sha256:
                return done.as_file(path)
            return SavedFile(path, made.sha256, made.byte_size, picture, sent)

    async def _name(
        self,
        part: TempFile,
        path: PurePosixPath,
        digest: str,
        find_path: FindPath,
        accepted_digest: str = "",
    ) -> tuple[PurePosixPath, str]:
        """Name the file. Returns the path that it got and the digest of the file there now."""
        try:
            return path, await self._publish(part, path, digest, accepted_digest)
        except OutputError as error:
            if error.code != "OUTPUT_EXISTS":
                raise
            return await self._name_elsewhere(
                error, part, path, digest, find_path, accepted_digest=accepted_digest
            )

    async def _name_elsewhere(
        self,
        taken: OutputError,
        part: TempFile,
        path: PurePosixPath,
        digest: str,
        find_path: FindPath,
        *,
        accepted_digest: str = "",
    ) -> tuple[PurePosixPath, str]:
        """Name the file as ``_name`` does, by ``find_path``, since the name ``path`` is taken.

        Raises ``taken`` if there is no other path.
        """
        elsewhere = await find_path(path.as_posix(), digest)
        if elsewhere is None:
            raise taken
        path = PurePosixPath(elsewhere)
        return path, await self._publish(part, path, digest, accepted_digest)

    async def _publish(
        self, part: TempFile, path: PurePosixPath, digest: str, accepted_digest: str = ""
    ) -> str:
        return await asyncio.to_thread(
            _publish, part.path, self.directory, path, digest, accepted_digest
        )

    async def _put_back(self, part: TempFile, path: PurePosixPath, digest: str) -> str | None:
        return await asyncio.to_thread(put_back, part.path, self.directory, path, digest)

    async def _embed(
        self,
        part: TempFile,
        embedded: TempFile,
        path: PurePosixPath,
        picture: Picture,
        *,
        embed: Sequence[Metadata],
        like: str | None,
    ) -> Sent | None:
        """Write the picture with metadata embedded and return what was written.

        If the picture can't take it, logs the reason and returns None.
        """
        try:
            await asyncio.to_thread(_copy_with, embed, like, part, picture.mime_type, embedded)
        except NotEmbeddableError as error:
            reason = str(error)
            # Log each reason once, since it may apply to every output
            if reason not in self._reasons_not_embedded:
                self._reasons_not_embedded.add(reason)
                logger.warning("no metadata was embedded in %s: %s", path, reason)
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
        embed: Sequence[Metadata] = (),
    ) -> str | None:
        """Restore an output at its path, if the bytes received are the ones that were saved.

        ``byte_size`` is the number of bytes received originally, if known. ``sent`` describes those
        bytes if one of ``embed`` was embedded in them; it is then embedded again. A file with other
        bytes at the path is kept: once the good bytes are complete beside it, it is named
        ``NAME.damaged-`` with 8 hex digits of the digest of its first bytes, and that path is
        returned; otherwise None. Raises ``OutputError`` if the bytes received are different or
        something other than a file is at the path, and ``ResultsError`` if the disk fails.
        """
        if not may_hold_output(path):
            raise misplaced(path)
        parent = PurePosixPath(path).parent
        name = f"{TEMPORARY_PREFIX}{token}"
        with self._part(parent / name) as part, self._part(parent / f"{name}-embedded") as embedded:
            # An output that was saved before is accepted again even if it exceeds the current
            # limit.
            rest = await self._stream(part, body, max(self._max_bytes, byte_size or 0))
            await asyncio.to_thread(part.write, rest)
            came = part.written
            expected = sha256
            if sent is not None:
                expected = sent.sha256
            if came.sha256 != expected:
                raise OutputError(
                    "OUTPUT_CHANGED", "the gateway now sends other bytes than were saved"
                )
            good = part
            if sent is not None:
                picture = await asyncio.to_thread(_examined, part, whole=False)
                made = await self._embed(
                    part, embedded, PurePosixPath(path), picture, embed=embed, like=sha256
                )
                if made is None or made.sha256 != sha256:
                    raise OutputError(
                        "OUTPUT_CHANGED",
                        "the metadata to embed differs from what was embedded before",
                        final=True,
                    )
                good = embedded
            return await self._put_back(good, PurePosixPath(path), sha256)

    async def _stream(self, part: TempFile, body: AsyncIterator[bytes], max_bytes: int) -> bytes:
        """Write the body except for its last bytes, and return these.

        They are written together with the next step. Raises ``OutputError`` if the body is larger
        than ``max_bytes``.
        """
        size, waiting, pending = 0, 0, list[bytes]()
        async for chunk in body:
            size += len(chunk)
            if size > max_bytes:
                raise too_large(max_bytes)
            pending.append(chunk)
            waiting += len(chunk)
            if waiting >= _HOP_BYTES:
                block, waiting, pending = b"".join(pending), 0, []
                await asyncio.to_thread(part.write, block)
        return b"".join(pending)

    def has(self, path: str, byte_size: int | None = None) -> bool:
        """Return whether a regular file is at an output's path, of ``byte_size`` if given.

        Its bytes are not read.
        """
        with contextlib.suppress(OSError), folder_of_output(self.directory, path) as folder:
            found = folder.stat(PurePosixPath(path).name)
            if found is None or not stat.S_ISREG(found.st_mode):
                return False
            return byte_size in {None, found.st_size}
        return False

    async def is_true(self, saved: Saved) -> bool:
        """Return whether the saved bytes are still at their path, in a file and not in a link."""
        return await self.state(saved) is FileState.OK

    async def state(self, saved: Saved) -> FileState:
        """Read the output at a path and compare it with the saved size and digest."""
        return await asyncio.to_thread(
            check_output, self.directory, saved.path, saved.sha256, saved.byte_size
        )

    async def add_name(self, path: str, other: str, digest: str) -> None:
        await asyncio.to_thread(add_name, self.directory, path, other, digest)

    async def remove_name(self, path: str, other: str, digest: str) -> None:
        """Remove the first of an output's two names, as ``publish.remove_name`` does."""
        await asyncio.to_thread(remove_name, self.directory, path, other, digest)

    async def free_name(self, path: str, other: str, digest: str) -> None:
        """Make the first of an output's two names free for the next output that is saved there.

        Raises as ``remove_name`` does.
        """
        await self.remove_name(path, other, digest)

    def open(self, path: str) -> BinaryIO:
        """Open an output for reading. Blocking. Raises ``OSError`` if there is none."""
        return open_output(self.directory, path)

    def sweep(self) -> int:
        """Remove temporary files of killed runs and return their number.

        The caller must hold the lock.
        """
        count = 0
        for leftover in self.leftovers():
            # A file that can't be removed doesn't prevent the run.
            with contextlib.suppress(OSError), folder_of(self.directory, leftover) as folder:
                folder.unlink(leftover.name)
                count += 1
        return count

    @contextlib.contextmanager
    def _part(self, path: PurePosixPath) -> Iterator[TempFile]:
        """Provide a temporary file, which is removed afterwards.

        Raises ``OutputError`` if a folder on its path is a link, ``ResultsError`` for any other
        ``OSError``.
        """
        part = TempFile(self.directory, path)
        try:
            yield part
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OutputError(
                    "OUTPUT_EXISTS",
                    f"{path.parent} is or contains a symbolic link, which is not followed; "
                    f"{MOVE_IT}",
                    final=True,
                ) from error
            raise ResultsError(
                f"{self.directory / path.parent} can't be written: {error.strerror}",
                hint="check the disk and run the same command again; nothing is paid for twice",
            ) from error
        finally:
            part.close()
            # This may fail too and must not hide the first error; the next run's sweep removes the
            # file.
            with contextlib.suppress(OSError):
                part.remove()

    def leftovers(self) -> Iterator[PurePosixPath]:
        """Yield the temporary files of killed and current runs, relative to the directory."""
        return temporary_files(self.directory)


@dataclass(frozen=True, slots=True)
class _Complete:
    """A complete received file.

    ``taken`` is the error if it was to be named ``path`` but that name is taken.
    """

    sent: Sent
    picture: Picture
    path: PurePosixPath
    taken: OutputError | None = None

    def as_file(self, path: PurePosixPath) -> SavedFile:
        """Return the file as saved unchanged at ``path``."""
        return SavedFile(path, self.sent.sha256, self.sent.byte_size, self.picture)


def _complete(
    part: TempFile,
    rest: bytes,
    length: int | None,
    *,
    pattern: str,
    index: int,
    max_pixels: int,
    note: Note | None,
) -> _Complete:
    """Write the last bytes and check the file. With ``note``, also name the file and call ``note``.

    Each system call releases the interpreter's lock and waits for it again, so calls are kept to a
    minimum.
    """
    with folder_of(part.directory, part.path, make=True) as folder:
        part.write(rest, folder)
        sent = part.written
        if length is not None and sent.byte_size != length:
            raise OutputError(
                "OUTPUT_TRUNCATED", f"{sent.byte_size} of {length} bytes were received"
            )
        held = None
        if len(rest) == sent.byte_size:
            held = rest
        picture = _examined(part, folder, held, whole=length is None, max_pixels=max_pixels)
        done = _Complete(sent, picture, output_path(pattern, index, picture.ext))
        if note is None:
            return done
        part.sync()
        part.close()
        try:
            link_into_place(folder, part.path.name, done.path, sent.sha256)
        except OutputError as error:
            return replace(done, taken=error)
        part.remove(folder)
        note(done.as_file(done.path), folder)
    return done


def _copy_with(
    embed: Sequence[Metadata], like: str | None, source: TempFile, mime_type: str, part: TempFile
) -> None:
    """Copy a picture with the first of ``embed``, or the one that gives the digest ``like``.

    Raises ``NotEmbeddableError`` if it can't take that.
    """
    with folder_of(source.directory, source.path) as folder, folder.read(source.path.name) as file:
        chosen = embed[0]
        if like is not None and len(embed) > 1:
            chosen = next((each for each in embed if _gives(each, file, mime_type, like)), chosen)
        for block in spliced(file, plan_embedding(file, mime_type, chosen)):
            part.write(block)


def _gives(metadata: Metadata, file: BinaryIO, mime_type: str, sha256: str) -> bool:
    """Whether a picture with this metadata is the one with a digest."""
    digest = hashlib.sha256()
    try:
        for block in spliced(file, plan_embedding(file, mime_type, metadata)):
            digest.update(block)
    except NotEmbeddableError:
        return False
    return digest.hexdigest() == sha256


def _content(
    part: TempFile, folder: Folder | None, held: bytes | None
) -> AbstractContextManager[BinaryIO]:
    """Open the content for reading: in memory if it is ``held`` there, or else the file."""
    if held is not None:
        return BytesIO(held)
    return part.read(folder)


def _examined(
    part: TempFile,
    folder: Folder | None = None,
    held: bytes | None = None,
    *,
    whole: bool,
    max_pixels: int | None = None,
) -> Picture:
    """Return the picture's type and size.

    The header is checked first, since a few bytes can declare a huge picture. ``held`` is the
    complete content if it is in memory.
    """
    try:
        with _content(part, folder, held) as file:
            picture = examine(file, whole=False)
            if max_pixels is not None and picture.width * picture.height > max_pixels:
                size = f"{picture.width:,} x {picture.height:,}"
                message = f"{size} pixels; the limit is {max_pixels:,}"
                raise OutputError("OUTPUT_TOO_MANY_PIXELS", message, definite=True)
            if whole:
                return examine(file, whole=True)
            return picture
    except NoPictureError as error:
        raise OutputError(
            "OUTPUT_NO_PICTURE", str(error), definite=error.is_another_type
        ) from error
