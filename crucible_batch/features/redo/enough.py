"""A budget that is enough for what the next run buys again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from crucible_batch.core.budget import raised_budget
from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.job import Job
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.prices import PriceBook, Shape, shape_of
from crucible_batch.features.redo.rejections import Rejections, digest_of, read_rejections
from crucible_batch.journal import Journal
from crucible_batch.report import ReportHead
from crucible_batch.runs.plan_rows import left_to_buy
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.run_journal import ledger_of, local_directory, newest_run
from crucible_batch.shell_command import with_budget


def with_enough_budget(
    command: str, run_dir: str | Path, head: ReportHead, rejects_file: Path
) -> str:
    """Return the command, with a larger budget if its own is too small for what was rejected.

    Without a budget, nothing is added; that of a period is what the period has left.
    """
    budget = head.credits.budget
    if budget is None or head.period is not None:
        return command
    with Journal.read(local_directory(run_dir)) as journal:
        enough = _budget_for_rejected(journal, rejects_file)
    if enough is None or enough <= budget:
        return command
    return with_budget(command, format_credits(enough))


def _budget_for_rejected(journal: Journal, rejects_file: Path) -> Credits | None:
    """Return a budget for the jobs that are left, and for those that are made again."""
    lines = read_rejections(rejects_file, str(rejects_file))
    rejections = Rejections(lines, {planned.name for planned in journal.plan()})
    terms = newest_run(journal).terms
    again, names = Counter[Shape](), set[str]()
    for planned, job in journal.jobs(terms.rule):
        if planned.source_name in names or _is_rejected(planned, job, rejections):
            again[shape_of(planned)] += 1
            names.add(planned.name)
    left, uploads = left_to_buy(journal, terms, JobFilter())
    ledger = ledger_of(journal, PriceBook.of(terms))
    return raised_budget(ledger, again + Counter(left), uploads, terms.budget or ZERO)


def _is_rejected(planned: PlannedJob, job: Job, rejections: Rejections) -> bool:
    return any(
        rejections.rejects(planned.name, saved.index, digest_of(saved))
        for saved in job.outputs.values()
    )
