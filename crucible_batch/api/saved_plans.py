"""Saved plans: their basis, how they are written, and the check before a run that the basis is still the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

from crucible_batch.api.plan_rows import plan_rows
from crucible_batch.api.plan_summary import PlanSummary
from crucible_batch.api.request import RunRequest
from crucible_batch.api.run_journal import directory_outputs_url, journal_of
from crucible_batch.domain.filled_fields import FilledFields
from crucible_batch.domain.gateway_types import Workflow
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.plan_staleness import (
    CurrentJob,
    RunStart,
    change_author,
    diff_files,
    diff_gateway,
    diff_manifest,
    diff_prices,
    diff_rows,
    diff_terms,
    diff_workflows,
    own_event_numbers,
)
from crucible_batch.domain.prices import PriceBook, Quote, Shape
from crucible_batch.domain.retry_rule import HOPELESS_CODES
from crucible_batch.domain.saved_plan import ManifestFile, PlanHead, PlanOptions, PlanTerms
from crucible_batch.errors import ManifestError, PlanChange, StalePlanError
from crucible_batch.journal import Binding, Journal, PlanFile
from crucible_batch.manifest import Manifest, depends_on_time, time_variables_in
from crucible_batch.object_url import ObjectUrl
from crucible_batch.saved_plan import PLAN_VERSION, SavedPlan, write_saved_plan


@dataclass(frozen=True, slots=True)
class PlanBasis:
    """The inputs of a plan, apart from its jobs. ``workflows``, ``files`` and ``names`` are filled during planning.

    ``files`` are the prompt files and tables that the manifest reads: the path as in the manifest, with the SHA-256.
    ``names`` are the variables that the jobs' templates may use. ``notes`` are about empty cells of tables. ``filled``
    are the parameters that were filled in the directory's former plan.
    """

    source: Manifest
    terms: RunTerms
    gateway: str
    workflows: dict[str, Workflow] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    filled: FilledFields = field(default_factory=dict)

    @property
    def binding(self) -> Binding:
        """What the run directory belongs to."""
        return Binding(self.terms.manifest_name, self.terms.run_id, self.gateway)

    def scheduled_at_of(self, request: RunRequest) -> datetime | None:
        """Return the scheduled time if it was given, or the run id or the jobs depend on it; otherwise None."""
        is_used = depends_on_time(self.source, request.run_id) or request.scheduled_at is not None
        return self.source.scheduled_at if is_used else self.scheduled_at_of_jobs()

    def scheduled_at_of_jobs(self) -> datetime | None:
        """Return the scheduled time if templates of the jobs use it: at another time they would be other jobs."""
        return self.source.scheduled_at if time_variables_in(self.source, self.names) else None

    def note_empty(self, notes: Sequence[str]) -> None:
        self.notes[:] = notes

    def note_file(self, text: str, path: Path) -> None:
        """Record a file that is about to be read. A path that is not a file is ignored: its reader reports it."""
        if text not in self.files and path.is_file():
            with path.open("rb") as file:
                self.files[text] = hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def held_to(self) -> PlanTerms:
        """The terms of the plan, without the error codes that are never retried in any run."""
        terms = self.terms
        never = tuple(sorted(terms.never - HOPELESS_CODES))
        return PlanTerms(
            terms.budget,
            terms.ceiling,
            terms.attempts,
            never,
            terms.upload_ceiling,
            self.source.concurrency,
            self.source.deadline_s,
        )

    @property
    def lists(self) -> dict[str, tuple[str, ...] | None]:
        """Each workflow's parameter names, sorted, since the gateway's order has no meaning; None if it lists none."""
        return {
            workflow_id: None if workflow.fields is None else tuple(sorted(workflow.fields))
            for workflow_id, workflow in sorted(self.workflows.items())
        }

    def manifest_at(self, path: str) -> ManifestFile:
        files = dict(sorted(self.files.items()))
        return ManifestFile(self.source.name, path, self.source.sha256, files)


MAX_CHANGES = 100
"""The maximum number of changes listed in an error; the rest is only counted."""


@dataclass(frozen=True, slots=True)
class PlanStaleness:
    """The comparison of a saved plan with its present basis. Without a saved plan its checks do nothing."""

    request: RunRequest
    basis: PlanBasis

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Report a ``ManifestError`` of the block, which plans the jobs, as ``StalePlanError`` if the basis changed.

        The ``StalePlanError`` lists the changes and the manifest's problems. If nothing changed, the ``ManifestError``
        is raised.
        """
        try:
            yield
        except ManifestError as error:
            plan = self.request.plan
            changes = [] if plan is None else list(self._basis_changes(plan))
            if plan is None or not changes:
                raise
            changes += [PlanChange("manifest", problem.field, str(problem)) for problem in error.problems]
            raise self._stale(plan, iter(changes), error.omitted) from error

    def check(self, draft: PlanFile, directory: Path) -> None:
        """Compare the basis, the files and the jobs, the latter by the directory's present journal.

        The caller holds the directory's lock, or the directory doesn't exist yet. Raises ``StalePlanError`` if anything
        differs.
        """
        plan = self.request.plan
        if plan is None:
            return
        with journal_of(directory) as journal:
            changes = chain(
                self._basis_changes(plan),
                diff_files(plan.head.manifest.files, self.basis.files),
                self._journal_changes(plan, draft, journal),
            )
            self._refuse(plan, changes)

    def check_basis(self) -> None:
        """Compare the basis alone: neither the files nor the jobs. Raises ``StalePlanError`` if anything differs."""
        if (plan := self.request.plan) is not None:
            self._refuse(plan, self._basis_changes(plan))

    def _refuse(self, plan: SavedPlan, changes: Iterator[PlanChange]) -> None:
        """Raise ``StalePlanError`` if there is any change."""
        first = next(changes, None)
        if first is not None:
            raise self._stale(plan, chain([first], changes))

    def _stale(self, plan: SavedPlan, changes: Iterator[PlanChange], omitted: int = 0) -> StalePlanError:
        named = list(islice(changes, MAX_CHANGES))
        omitted += sum(1 for _ in changes)
        return StalePlanError(plan.path, named, omitted=omitted, hint=f"make a new plan: {self.request.remake}")

    def _basis_changes(self, plan: SavedPlan) -> Iterator[PlanChange]:
        head, basis = plan.head, self.basis
        yield from diff_gateway(head.gateway, basis.gateway)
        yield from diff_manifest(head.manifest, basis.manifest_at(head.manifest.path))
        yield from diff_terms(head.terms, basis.held_to)
        yield from diff_workflows(head.workflows, basis.lists)

    def _journal_changes(self, plan: SavedPlan, draft: PlanFile, journal: Journal | None) -> Iterator[PlanChange]:
        runs = [] if journal is None else journal.runs()
        own = own_event_numbers([RunStart(run.terms.plan_digest, run.begins_after) for run in runs], plan.digest)
        prices = self._prices_of_others(journal, own)
        classes = [price.price_class for price in plan.head.prices]
        quotes: dict[str, Quote] = {price_class: prices.quote(Shape(price_class)) for price_class in classes}
        yield from diff_prices(plan.head.prices, quotes)
        yield from diff_rows(plan.rows(), self._jobs_now(plan, draft, journal, own))

    def _prices_of_others(self, journal: Journal | None, own: tuple[range, ...]) -> PriceBook:
        """Return the prices learned from purchases of runs that don't follow this plan."""
        prices, own_prices = PriceBook.of(self.basis.terms), PriceBook()
        ledger = Ledger(prices)
        for number, subject, event in journal.numbered_events() if journal is not None else ():
            is_own = any(number in stretch for stretch in own)
            ledger.prices = own_prices if is_own else prices
            ledger.apply(subject, event)
        return prices

    def _jobs_now(
        self, plan: SavedPlan, draft: PlanFile, journal: Journal | None, own: tuple[range, ...]
    ) -> Iterator[CurrentJob]:
        basis = self.basis
        base = basis.source.directory
        for row in plan_rows(draft, journal, basis.terms, self.request.job_filter, base=base, prices=PriceBook()):
            numbers = [] if journal is None else journal.numbers_of(row.identity, after=plan.head.events)
            yield CurrentJob(row, change_author(numbers, own))


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
