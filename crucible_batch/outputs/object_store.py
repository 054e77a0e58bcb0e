"""Outputs in an object store.

They are received and checked in a local directory, then created under their names. Which output is
where is in the journal. Outputs are never listed, and an object is requested only if a name is
taken, an output is moved, or someone asks for its bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar, TypeVar

from crucible_batch.core.events import Saved
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.identity import Json
from crucible_batch.core.job import Job
from crucible_batch.core.output_path import may_hold_output, relocated_path
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.errors import ObjectStoreError
from crucible_batch.outputs.errors import MOVE_IT, DamagedUploadError, OutputError, taken
from crucible_batch.outputs.object_port import ObjectInfo, ObjectPort
from crucible_batch.outputs.output_check import FileState
from crucible_batch.outputs.safe_fs import Folder
from crucible_batch.outputs.sidecars import Sidecars
from crucible_batch.outputs.store import MAX_BYTES, MAX_PIXELS, FindPath, OutputStore
from crucible_batch.outputs.temp_file import TempFile

NOT_STORED = "OUTPUT_NOT_STORED"
_AT_ONCE = 16
"""Outputs that are sent at the same time. Each is in memory meanwhile."""

_T = TypeVar("_T")


class ObjectOutputStore(OutputStore):
    """The outputs of a run in an object store; ``directory`` holds temporary files only.

    An output that the store doesn't accept is an ``OutputError``, and ``shortage`` then prevents
    further purchases until the store accepts one again. ``has`` trusts the journal.
    """

    _names_when_complete: ClassVar[bool] = False

    has_reports: ClassVar[bool] = True
    """Whether the run's report and receipts are kept beside the outputs."""

    def __init__(
        self,
        directory: Path,
        objects: ObjectPort,
        *,
        max_bytes: int = MAX_BYTES,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__(directory, max_bytes=max_bytes, max_pixels=max_pixels)
        self.objects = objects
        self.url = objects.url
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._free: dict[str, ObjectInfo] = {}
        """The objects that the next output at their keys replaces."""
        self._failure: ObjectStoreError | None = None

    def sidecars(self) -> Sidecars:
        return NoSidecars(self.directory)

    def shortage(self) -> ErrorInfo | None:
        failure = self._failure
        if failure is None:
            return super().shortage()
        return ErrorInfo(failure.code, failure.message, failure.hint)

    def has(self, path: str, byte_size: int | None = None) -> bool:
        """Return True: a request for each output would cost more than the run.

        ``state`` asks the store.
        """
        return True

    async def is_true(self, saved: Saved) -> bool:
        """Return whether the store has an object of the saved size and digest.

        The digest is that in the object's metadata, if it has one. Raises ``ObjectStoreError``.
        """
        if not may_hold_output(saved.path):
            return False
        info = await self.objects.info(saved.path)
        if info is None or info.byte_size != saved.byte_size:
            return False
        if info.sha256 is None:
            return await self.objects.digest(saved.path) == saved.sha256
        return info.sha256 == saved.sha256

    async def state(self, saved: Saved) -> FileState:
        """Read the object at a path and compare it with the saved digest.

        Raises ``ObjectStoreError``.
        """
        if not may_hold_output(saved.path):
            return FileState.MISPLACED
        digest = await self.objects.digest(saved.path)
        if digest is None:
            return FileState.MISSING
        if digest != saved.sha256:
            return FileState.DAMAGED
        return FileState.OK

    def open(self, path: str) -> BinaryIO:
        """Read an output. Blocking. Raises ``OSError`` if there is none or it can't be read."""
        if not may_hold_output(path):
            raise FileNotFoundError(self.objects.address(path))
        try:
            content = asyncio.run(self.objects.read(path))
        except ObjectStoreError as error:
            raise OSError(error.message) from error
        if content is None:
            raise FileNotFoundError(self.objects.address(path))
        return io.BytesIO(content)

    async def add_name(self, path: str, other: str, digest: str) -> None:
        """Copy an output to a second name. May be called twice.

        Raises ``OutputError`` if it has other bytes, another object has that name, or the store
        fails.
        """
        content = await self._asked(self.objects.read(path))
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            raise OutputError(
                "OUTPUT_EXISTS", f"{path} was changed while it was moved; {MOVE_IT}", final=True
            )
        await self._create_copy(other, content, digest)

    async def remove_name(self, path: str, other: str, digest: str) -> None:
        """Delete an output that ``other`` has a copy of.

        Raises ``OutputError`` if either has other bytes, or the store fails.
        """
        await self._check_copies(path, other, digest)
        await self._asked(self.objects.delete(path))

    async def free_name(self, path: str, other: str, digest: str) -> None:
        """Have the next output at ``path`` replace this one, which ``other`` has a copy of.

        It isn't deleted: a request to delete it may be performed long after it was sent, by a
        process that was killed meanwhile, and would then delete the output of another one. An
        object is replaced only while it is the one that was seen here. Raises as ``remove_name``
        does.
        """
        seen = await self._asked(self.objects.info(path))
        await self._check_copies(path, other, digest)
        if seen is not None:
            self._free[path] = seen

    async def _check_copies(self, path: str, other: str, digest: str) -> None:
        for each in (other, path):
            if await self._asked(self.objects.digest(each)) != digest:
                raise OutputError(
                    "OUTPUT_EXISTS",
                    f"{each} was changed while it was moved; run the same command again",
                    final=True,
                )

    async def _publish(
        self, part: TempFile, path: PurePosixPath, digest: str, accepted_digest: str = ""
    ) -> str:
        key = path.as_posix()
        async with self._turns:
            content = await asyncio.to_thread(_content, part)
            if await self._created(key, content) or await self._replaced(key, content):
                return digest
            # Also after a put request whose answer was lost: then these are the same bytes.
            present = await self._asked(self.objects.digest(key)) or ""
        if present not in {digest, accepted_digest} - {""}:
            raise taken(key, "object")
        return present

    async def _put_back(self, part: TempFile, path: PurePosixPath, digest: str) -> str | None:
        async with self._turns:
            content = await asyncio.to_thread(_content, part)
            return await self._put_back_content(path.as_posix(), content, digest)

    async def _put_back_content(self, key: str, content: bytes, digest: str) -> str | None:
        if await self._created(key, content):
            return None
        info = await self._asked(self.objects.info(key))
        other = await self._asked(self.objects.read(key))
        if info is None or other is None:
            raise _changed(key)
        named = hashlib.sha256(other).hexdigest()
        if named == digest:
            return None
        aside = f"{key}.damaged-{named[:8]}"
        await self._create_copy(aside, other, named)
        if not await self._asked(self.objects.replace(key, content, info)):
            raise _changed(key)
        return aside

    async def _create_copy(self, key: str, content: bytes, digest: str) -> None:
        if await self._created(key, content) or await self._replaced(key, content):
            return
        if await self._asked(self.objects.digest(key)) != digest:
            raise taken(key, "object")

    async def _created(self, key: str, content: bytes) -> bool:
        """Create an object; False if the name is taken.

        Raises ``OutputError`` if the store fails.
        """
        created = await self._asked(self.objects.create(key, content))
        self._failure = None
        return created

    async def _replaced(self, key: str, content: bytes) -> bool:
        """Replace an output whose name is free; False if there is none, or it was changed."""
        free = self._free.pop(key, None)
        return free is not None and await self._asked(self.objects.replace(key, content, free))

    async def _asked(self, request: Awaitable[_T]) -> _T:
        """Make a request for an output.

        If it fails, so would the next output: then nothing more is bought.
        """
        try:
            return await request
        except DamagedUploadError as error:
            raise OutputError(NOT_STORED, error.message) from None
        except ObjectStoreError as error:
            self._failure = error
            raise OutputError(NOT_STORED, error.message, final=True) from None


class ShardOutputStore(ObjectOutputStore):
    """The outputs of a shard, beside those of the other shards.

    A shard doesn't have the journals of the others. An output whose place another run's output has
    is saved aside. The report there is that of the run that the shard is merged into.
    """

    has_reports: ClassVar[bool] = False

    async def _name(
        self,
        part: TempFile,
        path: PurePosixPath,
        digest: str,
        find_path: FindPath,
        accepted_digest: str = "",
    ) -> tuple[PurePosixPath, str]:
        async def aside(key: str, sha256: str) -> str | None:
            found = await find_path(key, sha256)
            if found is not None:
                return found
            info = await self._asked(self.objects.info(key))
            if info is None or not info.is_ours:
                return None
            return relocated_path(key, sha256)

        return await super()._name(part, path, digest, aside, accepted_digest)


class NoSidecars(Sidecars):
    """The sidecars of outputs in an object store, where none are written.

    The report there has the same content, and each sidecar would be another request.
    """

    def write(self, output: str, content: Mapping[str, Json], folder: Folder | None = None) -> None:
        pass

    def move(self, output: str, to: str) -> None:
        pass

    def complete(self, planned: PlannedJob, job: Job, terms: RunTerms) -> None:
        pass


def _content(part: TempFile) -> bytes:
    with part.read(None) as file:
        return file.read()


def _changed(key: str) -> OutputError:
    return OutputError("OUTPUT_EXISTS", f"{key} was changed meanwhile; run the same command again")
