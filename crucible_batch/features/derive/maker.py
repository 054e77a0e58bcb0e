"""Makes derived files, and removes those that stand for a picture that doesn't count any more.

A kill at any time leaves no half file, and none that is not noted:

    1. a former file at the path is removed
    2. the new one is noted
    3. it is written to a temporary file, synced, and gets its name if that is free

The next run makes what is missing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TypeVar

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.core.events import Saved
from crucible_batch.core.plan import PlannedJob
from crucible_batch.features.derive.encoder import Encoded, NotDerivableError, encode
from crucible_batch.features.derive.note import NotedFiles
from crucible_batch.features.derive.rule import DerivedFile, DerivedForm, is_current, sent_digest
from crucible_batch.outputs import FileState, OutputError, OutputStore, check_output, delete_output
from crucible_batch.outputs.output_properties import every_property
from crucible_batch.outputs.publish import link_into_place, put_back
from crucible_batch.outputs.safe_fs import Folder, folder_of_output
from crucible_batch.outputs.temp_file import TempFile

_BLOCK_BYTES = 1024 * 1024

_FAILURES = (NotDerivableError, OutputError, OSError)

T = TypeVar("T")
InThread = Callable[[Callable[[], T]], Awaitable[T]]


async def in_any_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def _never(*_of: object) -> bool:
    return False


class FileMaker:
    """The derived files of one run directory, whose lock is held."""

    def __init__(
        self,
        noted: NotedFiles,
        store: OutputStore,
        in_thread: InThread[Encoded] = in_any_thread,
        wants: Callable[[str, DerivedFile], bool] = _never,
    ) -> None:
        """``in_thread`` does what takes a processor. ``wants`` returns whether a file of the job
        with an identity is to be at its path."""
        self._wants = wants
        self._noted = noted
        self._store = store
        self._in_thread = in_thread

    def is_made(self, known: DerivedFile, saved: Saved, form: DerivedForm) -> bool:
        """Whether a form of an output is there. The file's bytes are not read."""
        return is_current(known, saved, form) and self._store.has(known.path, known.byte_size)

    async def make(
        self, planned: PlannedJob, saved: Saved, path: str, form: DerivedForm
    ) -> DerivedFile | None:
        """Make a form of an output, unless it is there. Returns what is noted of it if it was made,
        or could not be: then with the reason. Raises ``JournalError``.
        """
        before = self._noted.at(path)
        known = dict(before).get(planned.identity)
        if known is not None and self.is_made(known, saved, form):
            return None
        wanted = DerivedFile(saved.index, sent_digest(saved), path, form)
        if known is not None and (known.error or known.sent != wanted.sent):
            known = None
        try:
            for identity, other in before:
                if identity != planned.identity and self._wants(identity, other):
                    raise _shared(path)
                if other != known:
                    await self.remove(identity, other)
            made, content = await self._encode(planned, saved, wanted)
            if known is not None:
                await self.remove(planned.identity, known)
            await asyncio.to_thread(self._refuse_other, made)
            await self._noted.keep(planned.identity, made)
            await asyncio.to_thread(self._name, planned, made, content)
        except _FAILURES as error:
            failed = replace(wanted, error=_reason(error))
            if known is None or not self._noted.at(path):
                await self._noted.keep(planned.identity, failed)
            return failed
        return made

    async def make_again(
        self, planned: PlannedJob, saved: Saved, file: DerivedFile
    ) -> tuple[DerivedFile, str | None]:
        """Make a file that is missing or was changed. Raises ``JournalError``.

        Returns what is noted of it, and where the changed file is now.
        """
        try:
            made, content = await self._encode(planned, saved, file)
            await self._noted.keep(planned.identity, made)
            aside = await asyncio.to_thread(self._put_back, planned, made, content)
        except _FAILURES as error:
            return replace(file, error=_reason(error)), None
        return made, aside

    async def _encode(
        self, planned: PlannedJob, saved: Saved, wanted: DerivedFile
    ) -> tuple[DerivedFile, bytes]:
        """Return what is going to be noted of a file, and its content."""
        encoded = await self._in_thread(partial(self._encoded, planned, saved, wanted))
        made = replace(
            wanted,
            sha256=encoded.sha256,
            byte_size=len(encoded.content),
            width=encoded.width,
            height=encoded.height,
        )
        return made, encoded.content

    async def remove(self, identity: str, file: DerivedFile) -> bool:
        """Remove a file if it is as noted, and forget it. Returns whether it was removed.

        Raises ``JournalError``, and ``OSError`` if the disk fails.
        """
        deleted = 0
        if file.may_be_ours:
            result = await asyncio.to_thread(
                delete_output, self._store.directory, file.path, file.sha256
            )
            deleted = result.byte_size
        await self._noted.forget(identity, file)
        return deleted > 0

    def _encoded(self, planned: PlannedJob, saved: Saved, wanted: DerivedFile) -> Encoded:
        if wanted.path == saved.path:
            raise NotDerivableError(
                f"the output itself is {saved.path}; give the form another path"
            )
        with self._store.open(saved.path) as file:
            digest = sha256()
            for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
                digest.update(block)
            if digest.hexdigest() != saved.sha256:
                raise NotDerivableError("its file was changed after it was saved")
            file.seek(0)
            return encode(file, wanted.form, every_property(planned))

    def _refuse_other(self, file: DerivedFile) -> None:
        """Raise ``OutputError`` if another file is at the path."""
        state = check_output(self._store.directory, file.path, file.sha256, file.byte_size)
        if state not in {FileState.OK, FileState.MISSING}:
            raise _taken(file.path)

    def _name(self, planned: PlannedJob, file: DerivedFile, content: bytes) -> None:
        path = PurePosixPath(file.path)
        with self._written(planned, path, content) as (folder, temporary):
            try:
                link_into_place(folder, temporary.name, path, file.sha256)
            except OutputError as error:
                raise _taken(file.path) from error

    def _put_back(self, planned: PlannedJob, file: DerivedFile, content: bytes) -> str | None:
        path = PurePosixPath(file.path)
        with self._written(planned, path, content) as (_, temporary):
            return put_back(temporary, self._store.directory, path, file.sha256)

    @contextmanager
    def _written(
        self, planned: PlannedJob, path: PurePosixPath, content: bytes
    ) -> Iterator[tuple[Folder, PurePosixPath]]:
        """Provide a synced temporary file in the folder of a path."""
        name = f"{TEMPORARY_PREFIX}{planned.identity[:16]}-{sha256(bytes(path)).hexdigest()[:16]}"
        with folder_of_output(self._store.directory, path, make=True) as folder:
            part = TempFile(self._store.directory, path.with_name(name))
            try:
                part.write(content, folder)
                part.sync()
                part.close()
                yield folder, part.path
            finally:
                part.close()
                part.remove(folder)


def _shared(path: str) -> OutputError:
    return OutputError(
        "OUTPUT_EXISTS",
        f"{path} is also derived from another job; give the form a path that keeps them apart, such"
        " as web/{name}-{index}{ext}",
    )


def _taken(path: str) -> OutputError:
    return OutputError(
        "OUTPUT_EXISTS",
        f"{path} is a file that was not derived by this run; move it away, or give the form"
        " another path",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OutputError):
        return error.message
    if isinstance(error, OSError):
        return f"a file can't be read or written: {os.strerror(error.errno or 0)}"
    return str(error)
