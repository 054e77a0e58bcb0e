"""Saving a plan: its head and its rows."""

from __future__ import annotations

import os
from pathlib import Path

from crucible_batch.api.plan_rows import journal_of, plan_rows
from crucible_batch.api.plan_summary import PlanSummary
from crucible_batch.api.request import RunRequest
from crucible_batch.api.run_location import directory_outputs_url
from crucible_batch.api.saved_plans import PlanBasis
from crucible_batch.domain.saved_plan import PlanHead, PlanOptions
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.object_url import ObjectUrl
from crucible_batch.saved_plan import PLAN_VERSION, write_saved_plan


def save_plan(
    target: Path, request: RunRequest, basis: PlanBasis, draft: PlanFile, summary: PlanSummary, *, force: bool
) -> str:
    """Write a plan that is not divided, and return its digest. Raises as ``write_saved_plan`` does."""
    with journal_of(summary.run_dir) as journal:
        # Read before the jobs: events that a run adds meanwhile may already be in the states, but none is missed.
        head = plan_head(target, request, basis, summary, journal)
        base = basis.source.directory
        rows = plan_rows(draft, journal, basis.terms, request.choice, base=base, prices=summary.book)
        return write_saved_plan(target, head, rows, force=force)


def plan_head(
    target: Path, request: RunRequest, basis: PlanBasis, summary: PlanSummary, journal: Journal | None
) -> PlanHead:
    """Return the head of a plan that is written to ``target``."""
    source, run_dir = basis.source, summary.run_dir
    url = ObjectUrl.parse(request.out_dir or run_dir) or directory_outputs_url(run_dir)
    base = os.path.dirname(os.path.realpath(target))  # noqa: PTH120 - realpath gives text
    return PlanHead(
        schema_version=PLAN_VERSION,
        manifest=basis.manifest_at(_relative(source.directory / source.path.name, base)),
        gateway=basis.gateway,
        options=PlanOptions(
            run_id=basis.terms.run_id,
            run_dir=_relative(run_dir, base) if url is None else str(url),
            budget=request.budget,
            retry_failed=request.job_filter.retry_failed,
            only=request.job_filter.only,
            variables=dict(request.variables),
            allow_outside=request.allow_outside,
            max_jobs=request.max_jobs,
            max_manifest_bytes=request.max_manifest_bytes,
            scheduled_at=basis.scheduled_at_of(request),
        ),
        terms=basis.held_to,
        workflows=basis.lists,
        prices=summary.prices,
        totals=summary.totals,
        events=0 if journal is None else journal.last_number(),
    )


def _relative(path: Path, base: str) -> str:
    directory = os.path.realpath(path.parent)
    return Path(os.path.relpath(Path(directory, path.name), base)).as_posix()
