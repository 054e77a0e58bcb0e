"""The comparison of a plan with the directory's last plan: jobs that are new, changed, done or gone, and groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crucible_batch.api.request import JobFilter
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.job import Job, Phase
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.plan_diff import ChangeKind, ComparedJob, EarlierPlan, diff_jobs
from crucible_batch.domain.retry_rule import RetryRule
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.outputs import OutputStore

MOST_NAMES = 3
"""The maximum number of names in a group."""

MOST_ROWS = 5
"""The maximum number of rows for jobs of one mark other than new and done. If there are more, no row is kept."""

_PLAIN = {ChangeKind.NEW, ChangeKind.DONE}


@dataclass(frozen=True, slots=True)
class PlanGroup:
    """Jobs of one workflow that a run would treat alike.

    ``names`` are the first ``MOST_NAMES``, ``credits`` the amount paid for all of them so far, ``fields`` the names of
    the changed fields.
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

    If ``is_whole``, ``rows`` has every job. Otherwise it leaves out new and done jobs, and all jobs of a mark that has
    more than ``MOST_ROWS``.
    """

    counts: Mapping[ChangeKind, int] = field(default_factory=dict)
    groups: tuple[PlanGroup, ...] = ()
    rows: tuple[ComparedJob, ...] = ()
    is_whole: bool = False


class Comparer:
    """A collector that builds a comparison from a stream of compared jobs."""

    def __init__(self, *, all_rows: bool) -> None:
        self._all_rows = all_rows
        self._rows: list[ComparedJob] = []
        self._marks: Counter[ChangeKind] = Counter()
        self._counts: Counter[tuple[ChangeKind, str]] = Counter()
        self._names: dict[tuple[ChangeKind, str], list[str]] = {}
        self._credits: dict[tuple[ChangeKind, str], Credits] = {}
        self._fields: dict[tuple[ChangeKind, str], dict[str, None]] = {}

    def take(self, row: ComparedJob) -> None:
        """Count a row, and keep it if it will be shown."""
        key = (row.reason.mark, row.workflow_id)
        self._counts[key] += 1
        self._credits[key] = self._credits.get(key, ZERO) + row.reason.credits
        self._fields.setdefault(key, {}).update(dict.fromkeys(change.field for change in row.reason.changes))
        names = self._names.setdefault(key, [])
        if len(names) < MOST_NAMES:
            names.append(row.name)
        self._marks[row.reason.mark] += 1
        if self._all_rows or self._is_single(row.reason.mark):
            self._rows.append(row)

    def _is_single(self, mark: ChangeKind) -> bool:
        return mark not in _PLAIN and self._marks[mark] <= MOST_ROWS

    def comparison(self) -> Comparison:
        """Return the comparison, grouped in the order of the marks."""
        order = list(ChangeKind)
        groups = tuple(
            PlanGroup(*key, count, tuple(self._names[key]), self._credits[key], tuple(self._fields[key]))
            for key, count in sorted(self._counts.items(), key=lambda item: order.index(item[0][0]))
        )
        rows = tuple(row for row in self._rows if self._all_rows or self._is_single(row.reason.mark))
        return Comparison(self._marks, groups, rows, self._all_rows)


def compared(
    jobs: Iterable[tuple[PlannedJob, Job]],
    draft: PlanFile,
    journal: Journal | None,
    *,
    rule: RetryRule,
    choice: JobFilter,
    directory: Path,
) -> Iterator[ComparedJob]:
    """Compare the chosen ``jobs`` of a draft, in their present state, with the directory's last plan and files."""
    store = OutputStore(directory)

    def earlier(planned: PlannedJob) -> EarlierPlan:
        return EarlierPlan(planned, Job(planned.identity) if journal is None else journal.job(planned, rule))

    def missing(job: Job) -> tuple[str, ...]:
        if job.phase is not Phase.SUCCEEDED:
            return ()
        return tuple(saved.path for saved in job.outputs.values() if not store.has(saved.path))

    dropped = {planned.name: planned for planned in _dropped(draft, journal) if choice.takes(planned.name)}
    return diff_jobs(jobs, dropped, earlier=earlier, missing=missing, retry_failed=choice.retry_failed)


def _dropped(draft: PlanFile, journal: Journal | None) -> Iterable[PlannedJob]:
    """Yield the jobs of the directory's last plan that are not in the draft unchanged."""
    for planned in journal.plan() if journal is not None else ():
        if not draft.holds(planned.identity):
            yield planned
