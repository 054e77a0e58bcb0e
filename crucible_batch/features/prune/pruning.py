"""Pruning: the outputs of old runs are deleted; their journals, reports and receipts are kept.

The journal is marked before the first file is deleted. A run in a marked directory is refused, so a
directory that was pruned in part never looks like one with outputs to download or jobs to buy.

The directories of merged shards are left alone: each is a run directory of its own, to be deleted
by its user.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from crucible_batch.core.output_path import is_planned_path
from crucible_batch.errors import CrucibleBatchError, RunBusyError, RunDirectoryError
from crucible_batch.features.prune.retention import (
    KeepCause,
    PruneDecision,
    RetentionRules,
    RunFacts,
    decide_pruning,
    protection,
)
from crucible_batch.journal import Journal, RunRecord, is_locked, lock_run_directory
from crucible_batch.outputs import delete_output, delete_page, size_of_output, size_of_page
from crucible_batch.report import REPORT_FILE
from crucible_batch.runs.kept_files import kept_files
from crucible_batch.runs.report_note import last_reported
from crucible_batch.runs.reporting import head_of
from crucible_batch.runs.run_journal import (
    PRUNED,
    changed_at_of,
    jobs_with_past,
    journal_outputs_url,
    newest_run,
    reopened,
)
from crucible_batch.runs.run_list import RunDirectories
from crucible_batch.runs.shard_notes import noted_shard, outstanding_shards
from crucible_batch.shell_command import DEFAULT_DIRECTORY


@dataclass(frozen=True, slots=True)
class PrunableRun:
    """A run directory and the decision on it. After pruning, ``deleted`` has the bytes.

    ``kept`` are files at paths of outputs that have other bytes than were saved, and so were not
    deleted. ``error`` is why the run can't be read, or why its pruning ended early.
    """

    run_dir: Path
    facts: RunFacts
    decision: PruneDecision
    deleted: int | None = None
    kept: tuple[str, ...] = ()
    error: CrucibleBatchError | OSError | None = None


@dataclass(frozen=True, slots=True)
class Pruning:
    """The runs below a directory, oldest first.

    ``is_complete`` is false if not all of it could be searched.
    """

    directory: Path
    runs: tuple[PrunableRun, ...]
    is_complete: bool

    @property
    def going(self) -> list[PrunableRun]:
        return [run for run in self.runs if run.decision.prune is not None]


def plan_pruning(
    directory: str | Path = DEFAULT_DIRECTORY, *, rules: RetentionRules, now: float
) -> Pruning:
    """Decide which runs at and up to two levels below a directory would be pruned. Changes nothing.

    ``now`` is in seconds since the epoch. Links are not followed.
    """
    found = RunDirectories.below(Path(directory))
    surveyed = [_survey(run_dir) for run_dir in found.paths]
    surveyed.sort(key=lambda run: (run.facts.ended_at, str(run.run_dir)))
    decisions = decide_pruning([run.facts for run in surveyed], rules, now=now)
    runs = tuple(
        replace(run, decision=decision) for run, decision in zip(surveyed, decisions, strict=True)
    )
    return Pruning(Path(directory), runs, found.is_complete)


def prune_runs(pruning: Pruning, *, now: float) -> Pruning:
    """Prune the runs that were decided on, oldest first.

    Each is pruned under its lock, and after its state was read again. A run that has changed since
    is kept. An error ends the pruning of that run only.
    """
    runs = list(pruning.runs)
    for position, run in enumerate(runs):
        if run.decision.prune is not None:
            runs[position] = _prune(run, now)
    return replace(pruning, runs=tuple(runs))


def _survey(run_dir: Path) -> PrunableRun:
    try:
        return PrunableRun(run_dir, _facts(run_dir, is_running=is_locked(run_dir)), PruneDecision())
    except CrucibleBatchError as error:
        facts = RunFacts("", "", ended_at=0.0, is_readable=False)
        return PrunableRun(run_dir, facts, PruneDecision(keep=KeepCause.UNREADABLE), error=error)


def _facts(run_dir: Path, *, is_running: bool) -> RunFacts:
    with Journal.read(run_dir) as journal:
        url = journal_outputs_url(journal)
        if url is not None:
            raise RunDirectoryError(
                f"its outputs are at {url}, where prune deletes nothing",
                hint="delete them there; in an object store, a lifecycle rule can do it",
            )
        newest, binding, head = newest_run(journal), journal.binding(), head_of(journal)
        size = sum(
            size_of_output(run_dir, path, byte_size) for path, _, byte_size in _outputs(journal)
        )
        return RunFacts(
            manifest=f"{binding.manifest_name} {binding.gateway}",
            run_id=binding.run_id,
            ended_at=changed_at_of(newest),
            byte_size=size + size_of_page(run_dir),
            exit_code=head.exit_code,
            is_running=is_running,
            has_held=head.credits.held > 0,
            has_unknown=head.counts.unknown > 0,
            has_shards=noted_shard(journal) is not None or outstanding_shards(journal) is not None,
            is_reported=_is_reported(journal, run_dir, newest),
            is_pruned=bool(journal.noted(PRUNED)),
        )


def _outputs(journal: Journal) -> Iterator[tuple[str, str, int]]:
    """Yield path, digest and size of each output with the same path in the journal and the plan,
    and of each file that was made from one.
    """
    for planned, job, _ in jobs_with_past(journal):
        for saved in {**job.missed, **job.outputs}.values():
            # A journal may have been edited: a path that differs from the plan may be another
            # program's file.
            if is_planned_path(planned.output, saved.index, saved.sha256, saved.path):
                yield saved.path, saved.sha256, saved.byte_size
    for file in kept_files(journal):
        yield file.path, file.sha256, file.byte_size


def _is_reported(journal: Journal, run_dir: Path, newest: RunRecord) -> bool:
    """Return whether ``report.json`` was written or up to date at the end of the newest run."""
    try:
        found = os.lstat(run_dir / REPORT_FILE)
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode):
        return False
    if newest.finished_at is not None and found.st_mtime >= newest.finished_at - 1:
        return True
    return last_reported(journal) == journal.last_number()


def _prune(run: PrunableRun, now: float) -> PrunableRun:
    try:
        if run.run_dir.is_symlink():
            raise RunDirectoryError(f"{run.run_dir} is a symbolic link now; nothing was deleted")
        with lock_run_directory(run.run_dir):
            facts = _facts(run.run_dir, is_running=False)
            if (
                replace(facts, byte_size=run.facts.byte_size) != run.facts
                or protection(facts) is not None
            ):
                return replace(
                    run, decision=PruneDecision(keep=protection(facts) or KeepCause.RUNNING)
                )
            return _delete(run, now)
    except RunBusyError:
        return replace(run, decision=PruneDecision(keep=KeepCause.RUNNING))
    except (CrucibleBatchError, OSError) as error:
        return replace(run, error=error)


def _delete(run: PrunableRun, now: float) -> PrunableRun:
    """Mark the journal of a locked directory, then delete the files."""
    with reopened(run.run_dir, now=now) as journal:
        if not journal.noted(PRUNED):
            journal.note(PRUNED, datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d"))
    deleted, kept = 0, list[str]()
    error: OSError | None = None
    with Journal.read(run.run_dir) as journal:
        for path, sha256, _ in _outputs(journal):
            try:
                found = delete_output(run.run_dir, path, sha256)
            except OSError as caught:
                error = error or caught
                continue
            deleted += found.byte_size
            if found.kept is not None:
                kept.append(found.kept)
    try:
        deleted += delete_page(run.run_dir)
    except OSError as caught:
        error = error or caught
    return replace(run, deleted=deleted, kept=tuple(kept), error=error)
