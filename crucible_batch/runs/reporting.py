"""The report of a run directory, by its journal: ``report.json``, ``report.html``, sidecars, and a
copy in a store.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job
from crucible_batch.core.outcome import RunStatus
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.prices import PriceBook
from crucible_batch.core.sharding import OutstandingShards
from crucible_batch.errors import CrucibleBatchError, ExitCode, ReportError, RunDirectoryError
from crucible_batch.features import found
from crucible_batch.journal import Journal
from crucible_batch.outputs import OutputStore, Sidecars
from crucible_batch.report import (
    CountsRow,
    JobRow,
    ReportHead,
    RowFile,
    build_head,
    build_row,
    count_jobs,
    write_report,
)
from crucible_batch.report.html import (
    PAGE_FILE,
    Frame,
    Thumbnails,
    report_assets,
    write_page,
)
from crucible_batch.runs.generations import generations_of
from crucible_batch.runs.next_step import advice_of
from crucible_batch.runs.object_runs import in_thread, store_by
from crucible_batch.runs.published_report import publish_files
from crucible_batch.runs.report_note import note_report
from crucible_batch.runs.request import check_path
from crucible_batch.runs.run_journal import (
    journal_outputs_url,
    ledger_of,
    local_directory,
    location_of,
    newest_run,
)
from crucible_batch.runs.shard_notes import outstanding_shards
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)

# -- its rows and its head


def report_rows(run_dir: Path) -> Iterator[JobRow]:
    """Yield the report's rows from the journal, in manifest order."""
    with Journal.read(run_dir) as journal:
        yield from journal_rows(journal)


def journal_rows(journal: Journal) -> Iterator[JobRow]:
    """Return the report's rows from an open journal, in manifest order."""
    newest, amended = newest_run(journal), row_amender(journal)
    generations = generations_of(journal)
    for planned, job in journal.jobs(newest.terms.rule):
        row = build_row(planned, job, newest.stops, generations(planned))
        yield amended(planned.identity, row)


def row_amender(journal: Journal) -> Callable[[str, JobRow], JobRow]:
    """Return a function that fills the fields of features in the row of a job.

    It takes the job's identity and its row as ``build_row`` makes it.
    """
    amenders = [module.of_rows(journal) for module in found("row_fields")]

    def amended(identity: str, row: JobRow) -> JobRow:
        for amend in amenders:
            row = amend(identity, row)
        return row

    return amended


def row_collector(
    journal: Journal, sidecars: Sidecars | None, terms: RunTerms, rows: RowFile
) -> Callable[[PlannedJob, Job, Mapping[str, ErrorInfo]], None]:
    """Return a function that adds a job's row to ``rows`` and writes its missing sidecars, unless
    that is None."""
    amended, generations = row_amender(journal), generations_of(journal)

    def collect(planned: PlannedJob, job: Job, stops: Mapping[str, ErrorInfo]) -> None:
        if sidecars is not None:
            sidecars.complete(planned, job, terms)
        row = build_row(planned, job, stops, generations(planned))
        rows.add(amended(planned.identity, row))

    return collect


def collect_rows(journal: Journal, directory: Path, rows: RowFile) -> None:
    """Add a row for each job of an open journal, and write missing sidecars."""
    newest = newest_run(journal)
    sidecars = None
    if journal_outputs_url(journal) is None:
        sidecars = Sidecars(directory)
    collect = row_collector(journal, sidecars, newest.terms, rows)
    for planned, job in journal.jobs(newest.terms.rule):
        collect(planned, job, newest.stops)


def head_of(journal: Journal, counts: CountsRow | None = None) -> ReportHead:
    """Return the head of the report. The jobs are counted unless ``counts`` is given."""
    newest = newest_run(journal)
    head = build_head(
        terms=newest.terms,
        ending=newest.ending,
        started_at=journal.runs()[0].started_at,
        finished_at=newest.finished_at,
        ledger=ledger_of(journal, PriceBook.of(newest.terms)),
        counts=counts or count_jobs(journal.jobs(newest.terms.rule), newest.stops),
    )
    noted: dict[str, object] = {}
    for module in found("report_fields"):
        noted |= module.fields(journal)
    shards = outstanding_shards(journal)
    if shards is not None:
        noted |= _while_divided(head, shards)
    return head.model_copy(update=noted)


def _while_divided(head: ReportHead, shards: OutstandingShards) -> dict[str, object]:
    """Return what differs in a head while shards are not merged: they may be spending now."""
    credits = head.credits.model_copy(
        update={"set_aside": shards.set_aside, "held": head.credits.held + shards.set_aside}
    )
    return {
        "credits": credits,
        "status": RunStatus.RUNNING.value,
        "exit_code": None,
        "finished_at": None,
    }


# -- its files


def write_report_again(run_dir: str | Path, *, html: bool = True) -> ReportHead:
    """Write ``report.json``, missing sidecars and, if ``html`` is true, ``report.html`` again from
    the journal.

    Raises ``UserError`` if the path isn't valid text, ``RunDirectoryError``, ``JournalError`` and
    ``ReportError``; with outputs in an object store, also ``ObjectStoreError``.
    """
    directory = local_directory(run_dir)
    check_path("the run directory", directory)
    with Journal.read(directory) as journal, RowFile(directory) as rows:
        store = store_by(journal, directory)
        collect_rows(journal, directory, rows)
        head = write_report_of(journal, directory, rows)
        if html:
            write_page_of(journal, directory, head, rows, thumbnails_of(store, journal))
        in_thread(publish_files(store))
    return head


def write_results(journal: Journal, main: Path, *, html: bool) -> tuple[ReportHead, Path | None]:
    """Write the report and the page of a main run directory, with missing sidecars.

    If outputs are in an object store, so is the report. Returns the page's path as ``update_page``.
    Blocking. Raises as ``write_report_of`` does, and ``ObjectStoreError``.
    """
    store = store_by(journal, main)
    with RowFile(main) as rows:
        collect_rows(journal, main, rows)
        head = write_report_of(journal, main, rows)
        thumbnails = thumbnails_of(store, journal) if html else None
        page = update_page(journal, main, head, rows, thumbnails)
    in_thread(publish_files(store))
    return head, page


def write_report_of(
    journal: Journal, directory: Path, rows: RowFile | None = None, head: ReportHead | None = None
) -> ReportHead:
    """Write the report of an open journal and return its head. Raises ``ReportError`` if it can't
    be written.

    If ``rows`` is None, the rows are built and missing sidecars are written. ``head`` is given if
    it was made already.
    """
    if rows is None:
        with RowFile(directory) as made:
            collect_rows(journal, directory, made)
            return write_report_of(journal, directory, made)
    head = head or head_of(journal, rows.counts)
    try:
        write_report(directory, head, rows.lines())
    except OSError as error:
        raise ReportError(
            f"the report can't be written: {error.strerror}",
            hint=f"fix the disk problem, then: {restore_hint(head, directory)}",
        ) from error
    return head


def thumbnails_of(store: OutputStore, journal: Journal) -> Thumbnails:
    """Return the thumbnails for a page, which are made from the outputs in the store."""
    opened = None if store.url is None else store.open
    return Thumbnails(store.directory, journal.planned(), opened)


def write_page_of(
    journal: Journal,
    directory: Path,
    head: ReportHead,
    rows: Iterable[JobRow],
    thumbnails: Thumbnails,
) -> Path:
    """Write the page of an open journal's report and return its path.

    Raises ``RunDirectoryError`` if it can't be written.
    """
    never = newest_run(journal).terms.never
    location = location_of(journal, directory)
    more: dict[str, object] = {**page_commands(location)}
    for module in found("page_fields"):
        more |= module.read(directory)[0]
    frame = Frame(advice_of(journal, head, directory), report_assets(), never=never, more=more)
    try:
        return write_page(directory, location, head, rows, thumbnails, frame=frame)
    except OSError as error:
        raise RunDirectoryError(
            f"{PAGE_FILE} can't be written: {error.strerror}",
            hint=f"fix the disk problem, then: crucible-batch report {directory}",
        ) from error


def page_commands(location: str | Path) -> Mapping[str, str]:
    """Return the commands of features that pages of a run show, by their names."""
    names = [module.COMMAND for module in found("page_commands")]
    return {name: shell_command(name, location) for name in names}


def update_page(
    journal: Journal,
    directory: Path,
    head: ReportHead,
    rows: RowFile,
    thumbnails: Thumbnails | None,
) -> Path | None:
    """Write the page of a report that was just written, and note both; without ``thumbnails``,
    remove an earlier page.

    Returns the page's path; None if it was removed, or couldn't be written, which is logged.
    """
    page = None
    try:
        if thumbnails is None:
            (directory / PAGE_FILE).unlink(missing_ok=True)  # it would be out of date
        else:
            page = write_page_of(journal, directory, head, rows, thumbnails)
    except Exception as error:  # noqa: BLE001 - the jobs are done and reported
        reason = str(error)
        if not isinstance(error, CrucibleBatchError):
            reason = f"{PAGE_FILE} can't be written: {error}"
        logger.warning("%s; to write it: %s", reason, restore_hint(head, directory))
        return None
    with contextlib.suppress(sqlite3.Error):  # the next run then rewrites the report needlessly
        note_report(journal, directory, head, rows, html=page is not None)
    return page


def restore_hint(head: ReportHead, directory: Path) -> str:
    """Return the command that writes a report or page which couldn't be written; another run if
    jobs are left."""
    if head.exit_code in {ExitCode.OK, ExitCode.SOME_FAILED}:
        return f"crucible-batch report {directory}"
    return "run the same command again"
