"""Verification of a run's outputs against its journal, and repair of missing or damaged ones.

Also outputs that the gateway lists but that were never saved: a list may have grown after it was
last read.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, starmap
from pathlib import Path
from typing import TypeVar

import httpx
from msgspec import structs

from crucible_batch.core.events import Listed, Missed, Saved, Unavailable
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase, evolve
from crucible_batch.core.output_list import merge_output_lists
from crucible_batch.core.output_path import is_planned_path, relocated_path
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.ports import Gateway
from crucible_batch.engine import SystemClock
from crucible_batch.engine.downloads import Downloader
from crucible_batch.engine.shutdown import error_info
from crucible_batch.errors import CrucibleBatchError, ExitCode, GatewayError
from crucible_batch.journal import Journal, is_locked
from crucible_batch.outputs import FileState, OutputStore, check_output, output_path
from crucible_batch.runs.concurrent_work import for_each
from crucible_batch.runs.connecting import current_settings
from crucible_batch.runs.directory import LockedRun, locked, open_for_repair
from crucible_batch.runs.generations import DeletedTakes
from crucible_batch.runs.kept_files import KeptFile, kept_files
from crucible_batch.runs.object_runs import claim_prefix, store_of
from crucible_batch.runs.published_report import publish_report
from crucible_batch.runs.reporting import write_report_of
from crucible_batch.runs.run_journal import (
    forget_pruning,
    jobs_with_past,
    local_directory,
    newest_run,
    refuse_if_pruned,
    reopened,
)
from crucible_batch.runs.run_log import bring_newest, forget_lost_log
from crucible_batch.settings import Settings

_T = TypeVar("_T")
_AT_ONCE = 4
"""The number of files hashed or downloaded at the same time.

It keeps a disk busy but leaves capacity for others.
"""
_JOBS_AT_ONCE = 8
"""The number of concurrent requests.

A run directory may have as many jobs as the gateway accepts requests a minute.
"""
_BATCH = 64
_MISPLACED = {
    FileState.DAMAGED: ErrorInfo(
        "OUTPUT_MISPLACED",
        "the plan has another path for it;"
        " the file at this path may be another one and is not replaced",
        "move that file away, then check again",
    ),
    FileState.MISSING: ErrorInfo(
        "OUTPUT_MISPLACED",
        "the plan has another path for it, so it is not written to this one",
        "run the manifest with its job: the output is saved at the planned path, at no cost",
    ),
}
_UNTOUCHED = {
    FileState.MISPLACED: (
        "OUTPUT_MISPLACED",
        "outputs are not allowed at this path: the journal was edited or is damaged",
    ),
    FileState.REPLACED: ("OUTPUT_REPLACED", "a link or a directory is at this path or above it"),
    FileState.UNREADABLE: ("OUTPUT_UNREADABLE", "it can't be read"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """An output whose file on disk is not as recorded in the journal.

    ``retired`` is true if its job is no longer in the manifest. ``fixed`` is true if the file was
    restored; ``kept`` is then the new path of the file that was there before, if any. ``error`` is
    the reason if it could not be fixed.
    """

    name: str
    retired: bool
    index: int
    path: str
    state: FileState
    fixed: bool = False
    kept: str | None = None
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification.

    ``counts`` is the number of outputs by state before any fix, and of the ``made`` files that were
    made from them. ``retired`` is how many outputs are of retired jobs. ``leftovers`` are temporary
    files that no run is using; ``fix`` removes them. ``failure`` is the error that ended the fixing
    early.
    """

    run_dir: Path
    running: bool
    counts: Mapping[FileState, int]
    retired: int
    byte_size: int
    differences: tuple[Difference, ...]
    leftovers: tuple[str, ...]
    failure: CrucibleBatchError | None = None
    made: int = 0

    @property
    def checked(self) -> int:
        return sum(self.counts.values())

    @property
    def exit_code(self) -> ExitCode:
        if all(difference.fixed for difference in self.differences):
            return ExitCode.OK
        if self.failure is not None:
            return self.failure.exit_code
        return ExitCode.DIFFERENCE


async def check_outputs(
    run_dir: str | Path,
    *,
    fix: bool = False,
    on_checked: Callable[[int], None] = lambda _count: None,
    settings: Settings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Verification:
    """Compare the file of every output in the journal with the recorded size and SHA-256, and what
    features have made from it.

    ``run_dir`` may be the URL of an object store; then each object is read completely.

    Without ``fix``, needs no key and no gateway, and may be called during a run. With ``fix``,
    missing and damaged files are downloaded again and saved only if they have the recorded bytes;
    nothing is bought. A damaged file is kept under another name. If there is a key, ``fix`` also
    requests each succeeded job and saves outputs that the gateway lists but that were never saved.
    What was made from outputs is made again.
    A run in an object store that another machine has continued is fixed as that one has left it.
    ``on_checked`` is called from time to time with the number of files checked so far.

    Raises ``RunDirectoryError`` and ``JournalError``; without ``fix`` also ``RunPrunedError`` if
    ``prune`` has deleted the outputs; with ``fix`` also ``RunBusyError``, ``KeyRefusedError`` and
    ``GatewayError``, before any output is changed. A later error is the result's ``failure``.
    Raises ``ObjectStoreError`` if the object store fails.
    """
    directory = local_directory(run_dir)
    store = store_of(directory)
    if not fix:
        refuse_if_pruned(directory)
        with Journal.read(directory) as journal:
            found, _ = await _compare(journal, store, on_checked, running=is_locked(directory))
            found, _ = await _compare_made(journal, store, found)
        return found
    # An older copy would put back what another machine has replaced.
    await bring_newest(directory, SystemClock())
    with locked(directory):
        return await _fixed(directory, store, on_checked, settings or current_settings(), transport)


async def _fixed(
    directory: Path,
    store: OutputStore,
    on_checked: Callable[[int], None],
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None,
) -> Verification:
    """Compare the outputs of a locked directory, and fix what differs."""
    with Journal.read(directory) as journal:
        found, records = await _compare(journal, store, on_checked, running=False)
        found, made = await _compare_made(journal, store, found)
    store.sweep()
    differences, failure = list(map(_difference, records)), None
    if settings.api_key is not None or any(record.is_repairable for record in records):
        async with open_for_repair(directory, settings, transport) as run:
            forget_pruning(run.journal)
            await claim_prefix(store, run.journal.binding(), may_be_empty=True)
            await forget_lost_log(run.journal, store)
            repairer = _Repairer(run, store)
            differences = [*await repairer.repair(records), *await repairer.complete()]
            failure = repairer.failure
            if differences:
                write_report_of(run.journal, directory)
                await publish_report(run.journal, store)
    differences += await _made_again(directory, store, made)
    counts = Counter(found.counts)
    counts.update(
        difference.state for difference in differences if difference.state is FileState.UNSAVED
    )
    return replace(found, counts=counts, differences=tuple(differences), failure=failure)


@dataclass(frozen=True, slots=True)
class _Record:
    """An output that was saved according to the journal, and the state of the file at its path."""

    planned: PlannedJob
    job: Job
    retired: bool
    saved: Saved
    state: FileState = FileState.OK

    @property
    def is_repairable(self) -> bool:
        """Whether the file may be created or replaced.

        Its path must be the planned one, not only the journal's.
        """
        return self.state in _MISPLACED and self.is_planned_path

    @property
    def is_planned_path(self) -> bool:
        saved = self.saved
        return is_planned_path(self.planned.output, saved.index, saved.sha256, saved.path)

    def as_displaced(self) -> _Record:
        """Return this record for an output whose path belongs to another output now.

        It is missing, and is restored to a path of its own.
        """
        aside = structs.replace(self.saved, path=relocated_path(self.saved.path, self.saved.sha256))
        return replace(self, saved=aside, state=FileState.MISSING)


def _recorded(journal: Journal) -> Iterator[_Record]:
    """Yield every output that was ever saved, including those that a later run found missing, and
    without rejected ones that were deleted."""
    deleted = DeletedTakes(journal)
    for planned, job, retired in jobs_with_past(journal):
        for _, saved in sorted({**job.missed, **job.outputs}.items()):
            if not (retired and deleted.has(job.identity, saved)):
                yield _Record(planned, job, retired, saved)


async def _compare(
    journal: Journal, store: OutputStore, on_checked: Callable[[int], None], *, running: bool
) -> tuple[Verification, list[_Record]]:
    counts: Counter[FileState] = Counter()
    differing: list[_Record] = []
    retired = byte_size = 0
    records = _recorded(journal)
    # In batches, so that errors of reading the journal are raised here and not in a task group.
    for batch in _batches(records, _BATCH):
        for record in await _checked(store, batch):
            counts[record.state] += 1
            retired += record.retired
            byte_size += record.saved.byte_size
            if record.state is not FileState.OK:
                differing.append(record)
        on_checked(counts.total())
    leftovers: list[str] = []
    if not running:
        leftovers = sorted(path.as_posix() for path in store.leftovers())
    for position in _displaced(journal, differing):
        counts.update({differing[position].state: -1, FileState.MISSING: 1})
        differing[position] = differing[position].as_displaced()
    found = Verification(
        run_dir=store.directory,
        running=running,
        counts=counts,
        retired=retired,
        byte_size=byte_size,
        differences=tuple(_difference(record) for record in differing),
        leftovers=tuple(leftovers),
    )
    return found, differing


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield the items in lists of at most ``size``; takes no more of them than are asked for."""
    iterator = iter(items)
    batch = list(islice(iterator, size))
    while batch:
        yield batch
        batch = list(islice(iterator, size))


def _displaced(journal: Journal, differing: Sequence[_Record]) -> list[int]:
    """Return the positions of the records whose path is another output's now.

    If an output was deleted, a new job may have saved its own at the free path. That one is not to
    be replaced, also if the plan has changed back since, so that the path is the deleted one's
    again.
    """
    paths = {record.saved.path for record in differing if record.state in _MISPLACED}
    if not paths:
        return []
    is_differing = {_output_of(record) for record in differing}
    owners: dict[str, _Record] = {}

    def rank(record: _Record) -> tuple[bool, bool, float]:
        return _output_of(record) not in is_differing, not record.retired, record.saved.at

    for record in _recorded(journal):
        path = record.saved.path
        if path in paths:
            owners[path] = max(owners.get(path, record), record, key=rank)

    def is_displaced(record: _Record) -> bool:
        return _output_of(owners.get(record.saved.path, record)) != _output_of(record)

    return [
        position
        for position, record in enumerate(differing)
        if record.state in _MISPLACED and is_displaced(record)
    ]


def _output_of(record: _Record) -> tuple[str, int]:
    return record.job.identity, record.saved.index


async def _checked(store: OutputStore, batch: Sequence[_Record]) -> list[_Record]:
    checked = list(batch)

    async def check(position: int) -> None:
        record = batch[position]
        checked[position] = replace(record, state=await store.state(record.saved))

    await for_each(range(len(batch)), check, at_once=_AT_ONCE)
    return checked


def _difference(record: _Record) -> Difference:
    error = None
    if record.state in _UNTOUCHED:
        code, message = _UNTOUCHED[record.state]
        error = ErrorInfo(code, message, "fix it manually, then run check again")
    elif not record.is_planned_path:
        error = _MISPLACED.get(record.state)
    saved = record.saved
    return Difference(
        record.planned.name, record.retired, saved.index, saved.path, record.state, error=error
    )


async def _compare_made(
    journal: Journal, store: OutputStore, found: Verification
) -> tuple[Verification, list[tuple[KeptFile, FileState]]]:
    """Return the verification with the files that were made from outputs, and those that differ."""
    counts, size = Counter(found.counts), found.byte_size
    differing: list[tuple[KeptFile, FileState]] = []
    for file in kept_files(journal):
        state = await asyncio.to_thread(
            check_output, store.directory, file.path, file.sha256, file.byte_size
        )
        counts[state] += 1
        size += file.byte_size
        if state is not FileState.OK:
            differing.append((file, state))
    differences = (*found.differences, *starmap(_difference_of_made, differing))
    made = counts.total() - found.checked
    return replace(
        found, counts=counts, byte_size=size, differences=differences, made=made
    ), differing


def _difference_of_made(file: KeptFile, state: FileState) -> Difference:
    error = None
    if state in _UNTOUCHED:
        code, message = _UNTOUCHED[state]
        error = ErrorInfo(code, message, "fix it manually, then run check again")
    return Difference(file.name, file.retired, file.index, file.path, state, error=error)


async def _made_again(
    directory: Path, store: OutputStore, made: Sequence[tuple[KeptFile, FileState]]
) -> list[Difference]:
    """Make files again, and return a difference for each."""
    differences = [_difference_of_made(file, state) for file, state in made]
    if not made:
        return differences
    with reopened(directory, now=time.time()) as journal:
        for position, (file, state) in enumerate(made):
            if state in _MISPLACED:
                kept, error = await file.make_again(journal, store)
                differences[position] = replace(
                    differences[position], fixed=error is None, kept=kept, error=error
                )
        await journal.drain()
        write_report_of(journal, directory)
    return differences


class _Repairer:
    """Downloads missing and damaged outputs.

    Stops at the first failure of the network, the disk or the journal.
    """

    def __init__(self, run: LockedRun, store: OutputStore) -> None:
        self._run = run
        terms = newest_run(run.journal).terms
        self._fetcher = Downloader(run.gateway, store, run.clock, jitter=random.random, terms=terms)
        self._failures: list[CrucibleBatchError] = []

    @property
    def failure(self) -> CrucibleBatchError | None:
        if not self._failures:
            return None
        return self._failures[0]

    async def repair(self, records: Sequence[_Record]) -> list[Difference]:
        """Restore the outputs and return a difference for each, in the same order."""
        differences = [_difference(record) for record in records]

        async def repair(position: int) -> None:
            differences[position] = await self._try(records[position])

        repairable = (position for position, record in enumerate(records) if record.is_repairable)
        await for_each(repairable, repair, at_once=_AT_ONCE)
        return differences

    async def complete(self) -> list[Difference]:
        """Save listed outputs that were never saved; return a difference for each."""
        differences: list[Difference] = []
        try:
            async for more in unsaved(self._run.gateway, jobs_with_past(self._run.journal)):
                differences += await self._save_more(more)
        except CrucibleBatchError as error:
            self._failures.append(error)
        return differences

    async def _save_more(self, more: UnsavedOutputs) -> list[Difference]:
        planned = more.planned
        append = self._run.journal.append
        listed = Listed(at=self._run.clock.now(), numbers=more.numbers)
        # Recorded first: what can't be downloaded now is left to the next run.
        await append(planned.identity, listed)
        job = evolve(more.job, listed)
        differences = []
        for index in range(more.job.expected or 0, job.expected or 0):
            path = output_path(planned.output, index, "").as_posix()
            difference = Difference(planned.name, more.retired, index, path, FileState.UNSAVED)
            saved = await self._fetcher.fetch(planned, job.current, index, job.number_of(index))
            if isinstance(saved, Saved):
                await append(planned.identity, saved)
                differences.append(replace(difference, path=saved.path, fixed=True))
            else:
                differences.append(replace(difference, error=saved.error))
        return differences

    async def _try(self, record: _Record) -> Difference:
        if not self._failures:
            try:
                return await self._restore(record)
            except CrucibleBatchError as error:
                self._failures.append(error)
        return replace(_difference(record), error=error_info(self._failures[0]))

    async def _restore(self, record: _Record) -> Difference:
        saved, append = record.saved, self._run.journal.append
        number = record.job.number_of(saved.index)
        restored = await self._fetcher.restore(record.planned, record.job.current, saved, number)
        if isinstance(restored, Unavailable):
            return replace(_difference(record), error=restored.error)
        if saved.index in record.job.outputs:
            await append(record.job.identity, Missed(at=self._run.clock.now(), index=saved.index))
        await append(record.job.identity, restored.saved)
        return replace(_difference(record), fixed=True, kept=restored.kept)


# -- outputs that were never saved -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnsavedOutputs:
    """A job with more listed than saved outputs.

    ``numbers`` are the gateway's numbers of all listed outputs. ``missing`` is how many of them
    were not saved.
    """

    planned: PlannedJob
    job: Job
    retired: bool
    numbers: tuple[int, ...]
    missing: int


async def unsaved(
    gateway: Gateway, jobs: Iterable[tuple[PlannedJob, Job, bool]]
) -> AsyncIterator[UnsavedOutputs]:
    """Yield the jobs for which the gateway now lists more outputs.

    Sends one request for each job that has succeeded. ``jobs`` are as from ``jobs_with_past``: the
    third value is true for retired jobs. A job that the gateway no longer knows has no new outputs.
    Raises ``GatewayError`` if a request fails.
    """
    succeeded = (found for found in jobs if found[1].phase is Phase.SUCCEEDED)
    for batch in _batches(succeeded, _JOBS_AT_ONCE):
        answers = await asyncio.gather(
            *(_ask_for_more(gateway, *found) for found in batch), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            if answer is not None:
                yield answer


async def _ask_for_more(
    gateway: Gateway, planned: PlannedJob, job: Job, retired: bool
) -> UnsavedOutputs | None:
    try:
        snapshot = await gateway.job(job.current.job_id or "")
    except GatewayError as error:
        if error.is_not_found:
            return None
        raise
    known = job.expected or 0
    numbers = merge_output_lists(job.numbers, known, snapshot.numbers) or ()
    more = len(numbers) - known
    if more <= 0:
        return None
    return UnsavedOutputs(planned, job, retired, snapshot.numbers, more)
