"""Deletes rejected outputs: takes of jobs that were asked for again, in runs of any age.

Each is noted in the journal before its file is deleted, so that it is not missing. What counts, and
a take that is not rejected, is kept. If a rejection is taken back later, the output is downloaded
again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from crucible_batch.core.events import Saved
from crucible_batch.core.output_path import is_planned_path
from crucible_batch.errors import CrucibleBatchError, RunBusyError
from crucible_batch.journal import Journal, is_locked, lock_run_directory
from crucible_batch.outputs import delete_output, size_of_output
from crucible_batch.report.html import PAGE_FILE
from crucible_batch.runs.generations import generations_of, note_deleted
from crucible_batch.runs.reporting import write_report_again
from crucible_batch.runs.run_journal import journal_outputs_url, reopened
from crucible_batch.runs.run_list import RunDirectories


@dataclass(frozen=True, slots=True)
class RejectedOutputs:
    """The rejected outputs of a run directory: their number, and their bytes on disk.

    ``deleted`` are the bytes that were deleted, None before. ``kept`` are files with other bytes
    than were saved. ``is_busy``: a run is active, or began meanwhile.
    """

    run_dir: Path
    count: int
    byte_size: int
    deleted: int | None = None
    kept: tuple[str, ...] = ()
    is_busy: bool = False
    error: CrucibleBatchError | OSError | None = None


def find_rejected(directory: Path) -> list[RejectedOutputs]:
    """Return the rejected outputs of the runs at and up to two levels below a directory.

    Runs without any are left out, and so are those in object stores.
    """
    found = []
    for run_dir in RunDirectories.below(directory).paths:
        try:
            each = _survey(run_dir)
        except CrucibleBatchError as error:
            each = RejectedOutputs(run_dir, 0, 0, error=error)
        if each.count or each.error is not None:
            found.append(each)
    return found


def _survey(run_dir: Path) -> RejectedOutputs:
    with Journal.read(run_dir) as journal:
        outputs = list(_rejected(journal))
    size = sum(size_of_output(run_dir, saved.path, saved.byte_size) for _, saved in outputs)
    return RejectedOutputs(run_dir, len(outputs), size, is_busy=is_locked(run_dir))


def _rejected(journal: Journal) -> Iterator[tuple[str, Saved]]:
    """Yield identity and output of each take that is rejected, and not deleted."""
    if not journal.is_created() or journal_outputs_url(journal) is not None:
        return
    if not journal.has_generations():
        return
    generations = generations_of(journal)
    for planned in journal.plan():
        found = generations(planned)
        known = journal.known(planned.identity)
        takes = [(one, saved) for one, job in found.others for saved in job.outputs.values()]
        used = set[str]()
        if known is not None:
            used = {saved.path for saved in known[1].outputs.values()}
        used |= {
            saved.path for one, saved in takes if found.current.get(saved.index) == one.generation
        }
        for one, saved in takes:
            is_rejected = (saved.index, one.generation) in found.rejected
            # A journal may have been edited: another path may be another program's file.
            is_ours = is_planned_path(one.output, saved.index, saved.sha256, saved.path)
            if is_rejected and is_ours and saved.path not in used:
                yield one.identity, saved


def delete_rejected(found: RejectedOutputs) -> RejectedOutputs:
    """Delete the rejected outputs of a run directory, under its lock, and write its report again.

    An error ends it early, and is in the result.
    """
    deleted, kept = 0, list[str]()
    try:
        with lock_run_directory(found.run_dir):
            with reopened(found.run_dir, now=time.time()) as journal:
                outputs = list(_rejected(journal))
                with journal.transaction():
                    for identity, saved in outputs:
                        note_deleted(journal, identity, saved, now=time.time())
            for _, saved in outputs:
                result = delete_output(found.run_dir, saved.path, saved.sha256)
                deleted += result.byte_size
                if result.kept is not None:
                    kept.append(result.kept)
            html = (found.run_dir / PAGE_FILE).is_file()
            write_report_again(found.run_dir, html=html)
    except RunBusyError:
        return replace(found, is_busy=True)
    except (CrucibleBatchError, OSError) as error:
        return replace(found, deleted=deleted, kept=tuple(kept), error=error)
    return replace(found, count=len(outputs), deleted=deleted, kept=tuple(kept))
