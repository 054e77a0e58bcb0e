"""Saved plans: how they are written, and the check before a run that terms and jobs are still the
same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import chain, islice, zip_longest
from pathlib import Path

from crucible_batch.core.credits import Credits, format_credits
from crucible_batch.core.filled_fields import FilledFields
from crucible_batch.core.gateway_types import AssetSpec, Workflow
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.core.plan_diff import ChangeKind, change_words, field_changes
from crucible_batch.core.retry_rule import HOPELESS_CODES
from crucible_batch.core.saved_plan import ManifestFile, PlanHead, PlanOptions, PlanRow, PlanTerms
from crucible_batch.errors import PlanChange, StalePlanError
from crucible_batch.journal import Binding, PlanFile
from crucible_batch.manifest import Manifest, depends_on_time, time_variables_in
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.keywords import values_of
from crucible_batch.runs.plan_rows import plan_rows
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.request import JobFilter, RunRequest
from crucible_batch.runs.run_journal import directory_outputs_url, journal_of
from crucible_batch.saved_plan import PLAN_VERSION, SavedPlan, write_saved_plan


@dataclass(frozen=True, slots=True)
class PlanBasis:
    """The inputs of a plan, apart from its jobs. ``workflows`` and ``names`` are filled during
    planning.

    ``names`` are the variables that the jobs' templates may use. ``notes`` are about empty cells of
    tables. ``filled`` are the parameters that were filled in the directory's former plan.
    """

    source: Manifest
    terms: RunTerms
    gateway: str
    workflows: dict[str, Workflow] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    filled: FilledFields = field(default_factory=dict)

    @property
    def binding(self) -> Binding:
        """What the run directory belongs to."""
        return Binding(self.terms.manifest_name, self.terms.run_id, self.gateway)

    def scheduled_at_of(self, request: RunRequest) -> datetime | None:
        """Return the scheduled time if it was given, or the run id or the jobs depend on it;
        otherwise None."""
        is_used = depends_on_time(self.source, request.run_id) or request.scheduled_at is not None
        if not is_used:
            return self.scheduled_at_of_jobs()
        return self.source.scheduled_at

    def scheduled_at_of_jobs(self) -> datetime | None:
        """Return the scheduled time if templates of the jobs use it: at another time they would be
        other jobs.
        """
        if not time_variables_in(self.source, self.names):
            return None
        return self.source.scheduled_at

    def note_empty(self, notes: Sequence[str]) -> None:
        self.notes[:] = notes

    @property
    def held_to(self) -> PlanTerms:
        """The terms of the plan, without the error codes that are never retried in any run."""
        terms = self.terms
        never = tuple(sorted(terms.never - HOPELESS_CODES))
        return PlanTerms(terms.budget, terms.ceiling, terms.attempts, never, terms.upload_ceiling)


MAX_CHANGES = 100
"""The maximum number of changes listed in an error; the rest is only counted."""


def check_plan(request: RunRequest, basis: PlanBasis, draft: PlanFile) -> None:
    """Compare the saved plan that a request follows, if any, with the terms and the jobs of the
    manifest now.

    Raises ``StalePlanError`` if one differs.
    """
    if request.plan is not None:
        _refuse(
            request,
            request.plan,
            chain(
                _changed_terms(request.plan, basis),
                changed_jobs(request.plan, draft, request.job_filter),
            ),
        )


def check_plan_of_shard(request: RunRequest, basis: PlanBasis) -> None:
    """Compare the terms of a divided plan with those of the manifest now. Raises ``StalePlanError``
    if one differs.

    The jobs of a shard are read from the plan and not made again, so the manifest's bytes are
    compared in their place.
    """
    if request.plan is not None:
        _refuse(request, request.plan, changes_of_divided(request.plan, basis))


def changes_of_divided(plan: SavedPlan, basis: PlanBasis) -> Iterator[PlanChange]:
    """Yield how the manifest and its terms differ from those that a plan was divided with."""
    saved = plan.head.manifest
    if saved.sha256 != basis.source.sha256:
        yield PlanChange("term", saved.path, f"{basis.source.path}: content changed")
    yield from _changed_terms(plan, basis)


def _refuse(request: RunRequest, plan: SavedPlan, changes: Iterator[PlanChange]) -> None:
    """Raise ``StalePlanError`` if there is any change."""
    named = list(islice(changes, MAX_CHANGES))
    if named:
        omitted = sum(1 for _ in changes)
        raise StalePlanError(
            plan.path, named, omitted=omitted, hint=f"make a new plan: {request.remake}"
        )


def _changed_terms(plan: SavedPlan, basis: PlanBasis) -> Iterator[PlanChange]:
    saved, now = plan.head, basis.held_to
    terms: list[tuple[str, object, object]] = [
        ("gateway", saved.gateway, basis.gateway),
        ("manifest name", saved.manifest.name, basis.source.name),
        *(
            (each.name, getattr(saved.terms, each.name), getattr(now, each.name))
            for each in fields(PlanTerms)
        ),
    ]
    for name, before, after in terms:
        if before != after:
            yield PlanChange("term", name, f"{name} was {_term(before)}, is now {_term(after)}")


def _term(value: object) -> str:
    match value:
        case Credits():
            return format_credits(value)
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case _:
            return "none" if value is None else str(value)


def changed_jobs(plan: SavedPlan, draft: PlanFile, job_filter: JobFilter) -> Iterator[PlanChange]:
    """Yield the jobs whose identities are not in both, of those that were chosen.

    Both sides are in manifest order, so few are kept in memory.
    """
    saved: dict[str, PlanRow] = {}
    made: dict[str, PlannedJob] = {}
    chosen = (planned for planned in draft.jobs() if job_filter.takes(planned.name))
    for row, planned in zip_longest(plan.rows(), chosen):
        if row is not None:
            saved[row.identity] = row
        if planned is not None:
            made[planned.identity] = planned
        for each in (row, planned):
            if each is not None and each.identity in saved and each.identity in made:
                del saved[each.identity], made[each.identity]
    new = {planned.name: planned for planned in made.values()}
    for row in saved.values():
        found = new.pop(row.name, None)
        if found is None:
            yield PlanChange(ChangeKind.GONE, row.name, "no longer in the manifest")
        else:
            words = "; ".join(map(change_words, field_changes(_job_of(row), found)))
            yield PlanChange(ChangeKind.CHANGED, row.name, words or "its identity has changed")
    for name in new:
        yield PlanChange(ChangeKind.NEW, name, "not in the plan")


def _job_of(row: PlanRow) -> PlannedJob:
    """Return what a row has of its job."""
    images = {
        name: InputImage(AssetSpec(image.sha256, 0, "", ""), Path(image.path))
        for name, image in row.images.items()
    }
    return PlannedJob(
        position=0,
        identity=row.identity,
        name=row.name,
        workflow_id=row.workflow_id,
        params=row.params,
        images=images,
        repeat=row.repeat,
        markers=row.markers,
    )


def save_plan(
    target: Path,
    request: RunRequest,
    basis: PlanBasis,
    draft: PlanFile,
    summary: PlanSummary,
    *,
    force: bool,
) -> str:
    """Write a plan that is not divided, and return its digest.

    Raises as ``write_saved_plan`` does.
    """
    with journal_of(summary.run_dir) as journal:
        head = plan_head(target, request, basis, summary)
        base = basis.source.directory
        rows = plan_rows(
            draft, journal, basis.terms, request.choice, base=base, prices=summary.book
        )
        return write_saved_plan(target, head, rows, force=force)


def plan_head(
    target: Path, request: RunRequest, basis: PlanBasis, summary: PlanSummary
) -> PlanHead:
    """Return the head of a plan that is written to ``target``."""
    source, run_dir = basis.source, summary.run_dir
    url = ObjectUrl.parse(request.out_dir or run_dir) or directory_outputs_url(run_dir)
    base = os.path.dirname(os.path.realpath(target))  # noqa: PTH120 - realpath gives text
    return PlanHead(
        schema_version=PLAN_VERSION,
        manifest=ManifestFile(
            source.name, _relative(source.directory / source.path.name, base), source.sha256
        ),
        gateway=basis.gateway,
        options=PlanOptions(
            **{
                **values_of(request, PlanOptions),
                "run_id": basis.terms.run_id,
                "run_dir": _relative(run_dir, base) if url is None else str(url),
                "scheduled_at": basis.scheduled_at_of(request),
            },
        ),
        terms=basis.held_to,
        workflows=tuple(sorted(basis.workflows)),
        totals=summary.totals,
    )


def _relative(path: Path, base: str) -> str:
    directory = os.path.realpath(path.parent)
    return Path(os.path.relpath(Path(directory, path.name), base)).as_posix()
