"""The outputs and receipts of shards into the main run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from crucible_batch.api.shards.directories import ShardDirectory, ShardJournalError, shard_errors
from crucible_batch.domain.events import Event, Relocated, Saved
from crucible_batch.domain.job import ALLOWED_PHASES, Job
from crucible_batch.domain.output_path import is_planned_path, relocated_path
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.receipts import receipts_of
from crucible_batch.domain.redaction import clean
from crucible_batch.errors import UserError
from crucible_batch.journal import Journal, MergedEvents
from crucible_batch.outputs import Adoption, OutputError, Receipts, ReceiptsByJob, adopt_output


class OutputAdopter:
    """Brings outputs and receipts of shards into the main run directory. May be repeated: what is there is left alone.

    ``outputs`` counts the outputs that are there then, ``absent`` are the others. ``relocated`` are the events of
    outputs whose place another job's output has. Raises ``UserError`` if the temporary directory is full.
    ``is_stored``: the outputs are in an object store, where shards save them under their final names.
    """

    def __init__(self, journal: Journal, directory: Path, events: MergedEvents, *, now: float, is_stored: bool) -> None:
        self._journal = journal
        self._directory = directory
        self._events = events
        self._now = now
        self._is_stored = is_stored
        self._stack = ExitStack()
        self._receipts = self._stack.enter_context(closing(Receipts(directory)))
        self._known = self._stack.enter_context(closing(ReceiptsByJob(self._receipts.read())))
        self.outputs = 0
        self.absent: list[str] = []
        self.relocated: list[tuple[str, Event]] = []

    def __enter__(self) -> OutputAdopter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def adopt(self, shard: ShardDirectory) -> None:
        """Bring the outputs of a shard whose events were collected, and the receipts of its jobs.

        Raises ``UserError`` if another file is at the path of an output, ``ShardJournalError`` if the shard's journal
        has an output at a path that its job doesn't have, and ``ResultsError`` if the directory can't be written.
        """
        with shard_errors(shard.path), Journal.read(shard.path) as journal:
            for planned, job in journal.started_jobs(shard.terms.rule):
                ours = self._journal.planned_job(planned.identity)
                if ours is not None:
                    self._adopt_job(shard, ours, job)

    def _adopt_job(self, shard: ShardDirectory, planned: PlannedJob, job: Job) -> None:
        moved = dict(self._adopted(shard, planned, job))
        known = self._known.of(job.identity)
        for receipt in receipts_of(job, moved):
            if receipt not in known:
                self._receipts.add(receipt)

    def _adopted(self, shard: ShardDirectory, planned: PlannedJob, job: Job) -> Iterator[tuple[int, str]]:
        """Yield the index and path of each output that is in the main run directory now."""
        for index, saved in sorted(job.outputs.items()):
            # A journal may have been edited: it can only name the file that the plan itself would write.
            if not is_planned_path(planned.output, saved.index, saved.sha256, saved.path):
                raise ShardJournalError(
                    f"the journal in {shard.path} has an output of job {clean(planned.name)} at a path that the job"
                    f" doesn't have: {clean(saved.path, 200)}",
                    hint="it was edited or is damaged: restore it from a backup; nothing was merged",
                )
            path = self._bring(shard, job, saved)
            if path is None:
                self.absent.append(saved.path)
                continue
            self.outputs += 1
            if path != saved.path:
                self.relocated.append((job.identity, Relocated(at=self._now, index=index, path=path)))
            yield index, path

    def _bring(self, shard: ShardDirectory, job: Job, saved: Saved) -> str | None:
        """Return the path at which the output is now; None if the shard's directory doesn't have it."""
        path = saved.path
        if self._is_stored:
            return path
        try:
            found = adopt_output(shard.path, path, self._directory, path, saved.sha256)
        except OutputError:
            if not self._is_place_of_another(job, path) or job.phase not in ALLOWED_PHASES[Relocated]:
                raise self._taken(shard, path) from None
            path = relocated_path(path, saved.sha256)
            try:
                found = adopt_output(shard.path, saved.path, self._directory, path, saved.sha256)
            except OutputError:
                raise self._taken(shard, path) from None
        return None if found is Adoption.ABSENT else path

    def _is_place_of_another(self, job: Job, path: str) -> bool:
        owners = {*self._journal.saved_at(path), *self._events.saved_at(path)}
        return bool(owners - {job.identity})

    def _taken(self, shard: ShardDirectory, path: str) -> UserError:
        return UserError(
            f"{self._directory / path} is another file than the output of shard {shard.found.shard} at that path",
            hint="move it away and run the same command again; nothing was merged yet, and no file was replaced",
        )
