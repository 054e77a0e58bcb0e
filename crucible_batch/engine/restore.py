"""Going on where the journal is lost, or an old copy of it was put back, and the outputs are not: jobs' stories told
again from their receipts."""

from __future__ import annotations

import asyncio
import pickle
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol

from crucible_batch.core.events import Event, Saved
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.receipt import Receipt, newest_attempts, story
from crucible_batch.core.retry import RetryRule
from crucible_batch.errors import UserError
from crucible_batch.results import OutputStore, Receipts, ReceiptsByJob, aside_path, output_path


class Forgetful(Protocol):
    """A journal that may know less than the receipts do."""

    def receipted(self) -> int:
        """How many receipts its events have led to."""
        ...

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]: ...

    def restore(self, stories: Iterable[tuple[str, Sequence[Event]]]) -> None:
        """Write all of it or nothing: half a restored journal would look like one that knows the rest."""
        ...


async def restore(journal: Forgetful, receipts: Receipts, store: OutputStore) -> int:
    """Write into the journal what it has forgotten of the plan's jobs; returns how many jobs that were.

    A job of which the journal knows an attempt is left as it is. Asks nothing of the gateway. Jobs are taken one by
    one, and what is to be written is kept in a nameless file. Raises ``JournalError``, and ``UserError`` where the
    temporary directory has no room.
    """
    if await asyncio.to_thread(receipts.count) <= journal.receipted():
        return 0
    with (
        closing(await asyncio.to_thread(ReceiptsByJob, receipts.read())) as by_job,
        _Stories.kept() as stories,
    ):
        for planned, job in journal.jobs(RetryRule()):
            is_forgotten = not job.attempts and job.phase is not Phase.UNREADABLE
            known = newest_attempts(by_job.of(planned.identity)) if is_forgotten else {}
            if of_job := known.get(planned.identity):
                true = {saved.index: saved async for saved in _true_outputs(planned, of_job, store)}
                stories.add(planned.identity, story(planned, of_job, true))
        journal.restore(stories)
    return stories.count


class _Stories:
    """Keeps stories in a nameless file until all are told. Raises ``UserError`` where there is no room for it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    @classmethod
    @contextmanager
    def kept(cls) -> Iterator[_Stories]:
        with tempfile.TemporaryFile() as file:
            yield cls(file)

    def add(self, identity: str, events: Sequence[Event]) -> None:
        try:
            pickle.dump((identity, events), self._file)
        except OSError as error:
            raise _no_room(error) from error
        self.count += 1

    def __iter__(self) -> Iterator[tuple[str, Sequence[Event]]]:
        try:
            self._file.seek(0)
        except OSError as error:  # of the last of it, which is written now
            raise _no_room(error) from error
        for _ in range(self.count):
            yield pickle.load(self._file)  # noqa: S301 - written above, in a file that nobody else can open


def _no_room(error: OSError) -> UserError:
    return UserError(
        f"what is to be restored can't be kept in the temporary directory: {error.strerror}",
        hint="make room there, or name another directory in TMPDIR; nothing was spent",
    )


async def _true_outputs(planned: PlannedJob, receipts: Sequence[Receipt], store: OutputStore) -> AsyncIterator[Saved]:
    for receipt in receipts:
        saved = receipt.saved
        if saved is None or not 0 <= saved.index < (receipt.outputs or 0):
            continue
        home = output_path(planned.output, saved.index, PurePosixPath(saved.path).suffix).as_posix()
        # A receipt may have been edited: it can only name the file that the plan itself would write, there or aside.
        if saved.path in {home, aside_path(home, saved.sha256)} and await store.is_true(saved):
            yield saved
