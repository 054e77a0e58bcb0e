"""Saved plans: writing them, and checking before a run that the same plan is still derived."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from crucible_batch.api.plan_rows import journal_of, plan_rows
from crucible_batch.api.request import RunRequest
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
from crucible_batch.domain.saved_plan import ManifestFile, PlanHead, PlannedPrice, PlanOptions, PlanTerms, PlanTotals
from crucible_batch.errors import ManifestError, Move, StalePlanError
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.manifest import Manifest
from crucible_batch.saved_plan import PLAN_VERSION, SavedPlan, write_saved_plan


@dataclass(frozen=True, slots=True)
class TextFiles:
    """The prompt files and tables that a manifest reads: the path as in the manifest, with the SHA-256."""

    found: dict[str, str] = field(default_factory=dict)

    def note(self, text: str, path: Path) -> None:
        """Record a file that is about to be read. A path that is not a file is ignored: its reader reports it."""
        if text not in self.found and path.is_file():
            with path.open("rb") as file:
                self.found[text] = hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class PlanBasis:
    """The inputs of a plan, apart from its jobs. ``workflows`` and ``files`` are filled during planning."""

    source: Manifest
    terms: RunTerms
    gateway: str
    workflows: dict[str, Workflow] = field(default_factory=dict)
    files: TextFiles = field(default_factory=TextFiles)

    @property
    def held_to(self) -> PlanTerms:
        """The terms of the plan, without the error codes that are never retried in any run."""
        terms = self.terms
        never = tuple(sorted(terms.never - HOPELESS_CODES))
        return PlanTerms(terms.budget, terms.ceiling, terms.attempts, never, terms.upload_ceiling)

    @property
    def lists(self) -> dict[str, tuple[str, ...] | None]:
        """Each workflow's parameter names, sorted, since the gateway's order has no meaning; None if it lists none."""
        return {
            workflow_id: None if workflow.fields is None else tuple(sorted(workflow.fields))
            for workflow_id, workflow in sorted(self.workflows.items())
        }

    def manifest_at(self, path: str) -> ManifestFile:
        files = dict(sorted(self.files.found.items()))
        return ManifestFile(self.source.name, path, self.source.sha256, files)


def save_plan(
    target: Path,
    asked: RunRequest,
    grounds: PlanBasis,
    draft: PlanFile,
    *,
    run_dir: Path,
    prices: tuple[PlannedPrice, ...],
    totals: PlanTotals,
    book: PriceBook,
    force: bool,
) -> str:
    """Write the plan and return its digest. ``book`` has the expected prices of its jobs.

    Raises ``UserError`` if it can't be written, or would replace another file without ``force``.
    """
    source = grounds.source
    base = os.path.dirname(os.path.realpath(target))  # noqa: PTH120 - realpath gives text
    with journal_of(run_dir) as journal:
        head = PlanHead(
            schema_version=PLAN_VERSION,
            manifest=grounds.manifest_at(_relative(source.directory / source.path.name, base)),
            gateway=grounds.gateway,
            options=_options(asked, grounds.terms.run_id, _relative(run_dir, base)),
            terms=grounds.held_to,
            workflows=grounds.lists,
            prices=prices,
            totals=totals,
            # Read before the jobs: events that a run adds meanwhile may already be in the states, but none is missed.
            events=0 if journal is None else journal.last_number(),
        )
        rows = plan_rows(draft, journal, grounds.terms, asked.job_filter, base=source.directory, prices=book)
        return write_saved_plan(target, head, rows, force=force)


def _relative(path: Path, base: str) -> str:
    directory = os.path.realpath(path.parent)
    return Path(os.path.relpath(Path(directory, path.name), base)).as_posix()


def _options(asked: RunRequest, run_id: str, run_dir: str) -> PlanOptions:
    return PlanOptions(
        run_id=run_id,
        run_dir=run_dir,
        budget=asked.budget,
        retry_failed=asked.job_filter.retry_failed,
        only=asked.job_filter.only,
        variables=dict(asked.variables),
        allow_outside=asked.allow_outside,
        max_jobs=asked.max_jobs,
        max_manifest_bytes=asked.max_manifest_bytes,
    )


MAX_MOVES = 100
"""The maximum number of differences listed in an error; the rest is only counted."""


class PlanStaleness:
    """The comparison of a saved plan with its present basis. Without a saved plan its checks do nothing."""

    def __init__(self, asked: RunRequest, grounds: PlanBasis) -> None:
        self._asked = asked
        self._grounds = grounds

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Report a ``ManifestError`` of the block, which plans the jobs, as ``StalePlanError`` if the basis changed.

        The ``StalePlanError`` lists the changes and the manifest's problems. If nothing changed, the ``ManifestError``
        is raised.
        """
        try:
            yield
        except ManifestError as error:
            plan = self._asked.plan
            moves = [] if plan is None else list(self._moved_grounds(plan))
            if plan is None or not moves:
                raise
            moves += [Move("manifest", problem.field, str(problem)) for problem in error.problems]
            raise self._stale(plan, iter(moves), error.omitted) from error

    def check(self, draft: PlanFile, directory: Path) -> None:
        """Compare the basis, the files and the jobs, the latter by the directory's present journal.

        The caller holds the directory's lock, or the directory doesn't exist yet. Raises ``StalePlanError`` if anything
        differs.
        """
        plan = self._asked.plan
        if plan is None:
            return
        with journal_of(directory) as journal:
            moves = chain(
                self._moved_grounds(plan),
                diff_files(plan.head.manifest.files, self._grounds.files.found),
                self._moved_in_journal(plan, draft, journal),
            )
            first = next(moves, None)
            if first is not None:
                raise self._stale(plan, chain([first], moves))

    def _stale(self, plan: SavedPlan, moves: Iterator[Move], omitted: int = 0) -> StalePlanError:
        named = list(islice(moves, MAX_MOVES))
        omitted += sum(1 for _ in moves)
        return StalePlanError(plan.path, named, omitted=omitted, hint=f"look at it anew: {self._asked.remake}")

    def _moved_grounds(self, plan: SavedPlan) -> Iterator[Move]:
        head, grounds = plan.head, self._grounds
        yield from diff_gateway(head.gateway, grounds.gateway)
        yield from diff_manifest(head.manifest, grounds.manifest_at(head.manifest.path))
        yield from diff_terms(head.terms, grounds.held_to)
        yield from diff_workflows(head.workflows, grounds.lists)

    def _moved_in_journal(self, plan: SavedPlan, draft: PlanFile, journal: Journal | None) -> Iterator[Move]:
        runs = [] if journal is None else journal.runs()
        own = own_event_numbers([RunStart(run.terms.plan_digest, run.begins_after) for run in runs], plan.digest)
        prices = self._prices_of_others(journal, own)
        classes = [price.price_class for price in plan.head.prices]
        quotes: dict[str, Quote] = {price_class: prices.quote(Shape(price_class)) for price_class in classes}
        yield from diff_prices(plan.head.prices, quotes)
        yield from diff_rows(plan.rows(), self._jobs_now(plan, draft, journal, own))

    def _prices_of_others(self, journal: Journal | None, own: tuple[range, ...]) -> PriceBook:
        """Return the prices learned from purchases of runs that don't follow this plan."""
        prices, own_prices = PriceBook.of(self._grounds.terms), PriceBook()
        ledger = Ledger(prices)
        for number, subject, event in journal.numbered_events() if journal is not None else ():
            is_own = any(number in stretch for stretch in own)
            ledger.prices = own_prices if is_own else prices
            ledger.apply(subject, event)
        return prices

    def _jobs_now(
        self, plan: SavedPlan, draft: PlanFile, journal: Journal | None, own: tuple[range, ...]
    ) -> Iterator[CurrentJob]:
        grounds = self._grounds
        base = grounds.source.directory
        for row in plan_rows(draft, journal, grounds.terms, self._asked.job_filter, base=base, prices=PriceBook()):
            numbers = [] if journal is None else journal.numbers_of(row.identity, after=plan.head.events)
            yield CurrentJob(row, change_author(numbers, own))
