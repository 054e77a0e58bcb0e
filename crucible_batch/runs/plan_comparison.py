"""The comparison of a plan with the directory's last plan: jobs that are new, changed, done or
gone, and groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.plan_diff import (
    ChangeCause,
    ChangeKind,
    ComparedJob,
    EarlierPlan,
    OutputPaths,
    diff_jobs,
)
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.plan_rows import retries
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.run_journal import directory_outputs_url

MOST_NAMES = 3
"""The maximum number of names in a group."""

MOST_ROWS = 5
"""The maximum number of rows for jobs of one mark other than new and done.

If there are more, no row is kept.
"""

_PLAIN = {ChangeKind.NEW, ChangeKind.DONE}
_SETTLED = {ChangeKind.DONE, ChangeKind.FAILED}


@dataclass(slots=True)
class PlanGroup:
    """Jobs of one workflow that a run would treat alike.

    ``names`` are the first ``MOST_NAMES``, ``credits`` the amount paid for all of them so far,
    ``fields`` the names of the changed fields.
    """

    mark: ChangeKind
    workflow_id: str
    count: int
    names: tuple[str, ...]
    credits: Credits
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """A plan compared with the directory's last plan and the jobs that were run from it.

    If ``is_whole``, ``rows`` has every job. Otherwise it leaves out new and done jobs, and all jobs
    of a mark that has more than ``MOST_ROWS``. ``failed_codes`` are the error codes of the failed
    jobs, ``paid_codes`` those of jobs that are paid for and are collected again.
    """

    counts: Mapping[ChangeKind, int] = field(default_factory=dict)
    groups: tuple[PlanGroup, ...] = ()
    rows: tuple[ComparedJob, ...] = ()
    is_whole: bool = False
    failed_codes: frozenset[str] = frozenset()
    paid_codes: frozenset[str] = frozenset()

    @property
    def is_settled(self) -> bool:
        """Whether each job is done or failed, and no job is gone, so that a run would change
        nothing."""
        return not any(count for kind, count in self.counts.items() if kind not in _SETTLED)


class _Comparer:
    """A collector that builds a comparison from a stream of compared jobs."""

    def __init__(self, *, all_rows: bool) -> None:
        self._all_rows = all_rows
        self._rows: list[ComparedJob] = []
        self._marks: Counter[ChangeKind] = Counter()
        self._groups: dict[tuple[ChangeKind, str], PlanGroup] = {}
        self._codes: dict[ChangeCause, set[str]] = {}

    def take(self, row: ComparedJob) -> None:
        """Count a row, and keep it if it will be shown."""
        mark, changes = row.reason.mark, row.reason.changes
        key = (mark, row.workflow_id)
        group = self._groups.setdefault(key, PlanGroup(*key, 0, (), ZERO))
        group.count += 1
        group.names = (*group.names, row.name)[:MOST_NAMES]
        group.credits += row.reason.credits
        group.fields = tuple(dict.fromkeys((*group.fields, *(change.field for change in changes))))
        self._marks[mark] += 1
        if row.reason.code is not None:
            self._codes.setdefault(row.reason.why, set()).add(row.reason.code)
        if self._all_rows or self._is_single(mark):
            self._rows.append(row)

    def _is_single(self, mark: ChangeKind) -> bool:
        return mark not in _PLAIN and self._marks[mark] <= MOST_ROWS

    def comparison(self) -> Comparison:
        """Return the comparison, grouped in the order of the marks."""
        order = list(ChangeKind)
        groups = tuple(sorted(self._groups.values(), key=lambda group: order.index(group.mark)))
        rows = tuple(
            row for row in self._rows if self._all_rows or self._is_single(row.reason.mark)
        )
        failed, paid = (
            self._codes_of(ChangeCause.FAILED),
            self._codes_of(ChangeCause.UNAVAILABLE, ChangeCause.VANISHED),
        )
        return Comparison(self._marks, groups, rows, self._all_rows, failed, paid)

    def _codes_of(self, *causes: ChangeCause) -> frozenset[str]:
        return frozenset().union(*(self._codes.get(cause, ()) for cause in causes))


def compare(
    jobs: Iterable[tuple[PlannedJob, Job]],
    draft: PlanFile,
    journal: Journal | None,
    *,
    rule: RetryRule,
    choice: JobFilter,
    directory: Path,
    all_rows: bool,
) -> Comparison:
    """Compare the chosen ``jobs`` of a draft, in their present state, with the directory's last
    plan and files.

    ``all_rows`` keeps the row of each job.
    """
    comparer = _Comparer(all_rows=all_rows)
    store = None  # objects are only read to verify them
    if directory_outputs_url(directory) is None:
        store = OutputStore(directory)

    def earlier(planned: PlannedJob) -> EarlierPlan:
        if journal is None:
            return EarlierPlan(planned, Job(planned.identity))
        return EarlierPlan(planned, journal.job(planned, rule))

    def to_fetch(job: Job) -> OutputPaths:
        if job.phase is not Phase.SUCCEEDED or store is None:
            return OutputPaths()
        wrong = [
            each.path for each in job.outputs.values() if not store.has(each.path, each.byte_size)
        ]
        resized = tuple(path for path in wrong if store.has(path))
        return OutputPaths(tuple(path for path in wrong if path not in resized), resized)

    # A blocked job is in the plan for the report only: the next run decides about it again.
    dropped = {}
    if journal is not None:
        dropped = {
            each.name: each
            for each in journal.plan()
            if each.obstacle is None and choice.takes(each.name) and not draft.holds(each.identity)
        }
    for row in diff_jobs(
        jobs, dropped, earlier=earlier, to_fetch=to_fetch, retries=partial(retries, choice)
    ):
        comparer.take(row)
    return comparer.comparison()
