"""A saved plan followed: everything is derived anew, and if anything moved, nothing is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

from crucible_batch.api.asked import Asked
from crucible_batch.api.saving import Grounds
from crucible_batch.api.standing import journal_of, plan_rows
from crucible_batch.core.authorship import Beginning, author_of, own_stretches
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.moved import (
    JobNow,
    moved_files,
    moved_gateway,
    moved_jobs,
    moved_manifest,
    moved_prices,
    moved_terms,
    moved_workflows,
)
from crucible_batch.core.prices import PriceBook, Quote, Shape
from crucible_batch.errors import ManifestError, Move, StalePlanError
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.plans import SavedPlan

MAX_MOVES = 100
"""So many are named; the rest is counted."""


class Following:
    """Holds a saved plan against the grounds as they are now. Where there is no plan, it has nothing to say."""

    def __init__(self, asked: Asked, grounds: Grounds) -> None:
        self._asked = asked
        self._grounds = grounds

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Make the jobs in here: what is wrong with them now follows from what moved, and is said together with it."""
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
        """Compare the jobs too, by the directory's journal as it is now. Raises ``StalePlanError`` if anything moved.

        The caller holds the directory's lock, or there is no directory yet.
        """
        plan = self._asked.plan
        if plan is None:
            return
        with journal_of(directory) as journal:
            moves = chain(
                self._moved_grounds(plan),
                moved_files(plan.head.manifest.files, self._grounds.files.found),
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
        yield from moved_gateway(head.gateway, grounds.gateway)
        yield from moved_manifest(head.manifest, grounds.manifest_at(head.manifest.path))
        yield from moved_terms(head.terms, grounds.held_to)
        yield from moved_workflows(head.workflows, grounds.lists)

    def _moved_in_journal(self, plan: SavedPlan, draft: PlanFile, journal: Journal | None) -> Iterator[Move]:
        runs = [] if journal is None else journal.runs()
        own = own_stretches([Beginning(run.terms.plan_digest, run.begins_after) for run in runs], plan.digest)
        prices = self._prices_of_others(journal, own)
        classes = [price.price_class for price in plan.head.prices]
        quotes: dict[str, Quote] = {price_class: prices.quote(Shape(price_class)) for price_class in classes}
        yield from moved_prices(plan.head.prices, quotes)
        yield from moved_jobs(plan.rows(), self._jobs_now(plan, draft, journal, own))

    def _prices_of_others(self, journal: Journal | None, own: tuple[range, ...]) -> PriceBook:
        """Learn the prices anew, from what other runs than the plan's own bought."""
        prices, own_prices = PriceBook.of(self._grounds.terms), PriceBook()
        ledger = Ledger(prices)
        for number, subject, event in journal.numbered_events() if journal is not None else ():
            is_own = any(number in stretch for stretch in own)
            ledger.prices = own_prices if is_own else prices
            ledger.apply(subject, event)
        return prices

    def _jobs_now(
        self, plan: SavedPlan, draft: PlanFile, journal: Journal | None, own: tuple[range, ...]
    ) -> Iterator[JobNow]:
        grounds = self._grounds
        base = grounds.source.directory
        for row in plan_rows(draft, journal, grounds.terms, self._asked.choice, base=base, prices=PriceBook()):
            numbers = [] if journal is None else journal.numbers_of(row.identity, after=plan.head.events)
            yield JobNow(row, author_of(numbers, own))
