"""The cap of a server on all of its runs.

Credits are set aside in the locked run directory, and settled by its journal.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.prices import PriceBook
from crucible_batch.errors import ConsentError, CrucibleBatchError, SpendLimitError, UserError
from crucible_batch.features.agents.spend_cap import JournalFigures, SpendCap, figures_of
from crucible_batch.journal import Journal
from crucible_batch.manifest import Manifest
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.parts import BudgetGrant, OpenedRun, RunPart
from crucible_batch.runs.request import RunRequest

logger = logging.getLogger(__name__)

_MARK = "spend cap mark"


class SpendCapPart(RunPart):
    """The cap of a server, as a part of one of its runs.

    It sees the budget of the run's terms, not a grant.
    """

    def __init__(self, cap: SpendCap) -> None:
        self._cap = cap

    def check(self, run: RunContext) -> None:
        check_cap(self._cap, run.request, run.manifest, run.terms, run.directory)

    @asynccontextmanager
    async def begin(self, run: OpenedRun) -> AsyncIterator[BudgetGrant | None]:
        with capped(self._cap, run.journal, run.context.terms, run.context.directory):
            yield None


def check_cap(
    cap: SpendCap, request: RunRequest, manifest: Manifest, terms: RunTerms, directory: Path
) -> None:
    """Refuse a run that the cap does not admit, before its directory is created or locked.

    Raises ``UserError`` for a shard, whose credits were set aside by another process;
    ``ConsentError`` without a budget; and ``SpendLimitError`` for one beyond the cap.
    """
    if request.is_of_divided_plan:
        raise UserError(
            "a server with a cap runs no shards", hint="run the shard from the command line"
        )
    if terms.budget is None:
        raise ConsentError(
            "no budget is set", hint="give a budget, or set budget.credits in the manifest"
        )
    if manifest.header.budget.period is not None and request.budget is None:
        raise ConsentError(
            f"the manifest's budget is that of a {manifest.header.budget.period},"
            " over several runs",
            hint="give this run a budget of its own",
        )
    figures = JournalFigures("", 0, ZERO)
    if Journal.exists(directory):
        with Journal.read(directory) as journal:
            figures = _figures(cap, journal, terms)
    if not cap.admits(_name(directory), figures, terms.budget):
        raise _refusal(cap, directory, figures, terms.budget)


@contextmanager
def capped(cap: SpendCap, journal: Journal, terms: RunTerms, directory: Path) -> Iterator[None]:
    """Set credits aside for a run, and settle them when it has ended, in whichever way.

    The caller holds the lock of the directory, and nothing was bought yet. Raises
    ``SpendLimitError``.
    """
    assert terms.budget is not None  # check_cap
    figures, mark = _figures(cap, journal, terms), secrets.token_hex(16)
    if not cap.set_aside_for(_name(directory), figures, terms.budget, mark):
        raise _refusal(cap, directory, figures, terms.budget)
    journal.note(_MARK, mark)
    try:
        yield
    finally:
        try:
            figures, mark = _figures(cap, journal, terms), secrets.token_hex(16)
            cap.settle(_name(directory), figures, mark)
            journal.note(_MARK, mark)  # a copy that was made during the run lacks it
        except (CrucibleBatchError, OSError, sqlite3.Error) as error:
            logger.warning("what this run did not spend stays set aside for it: %s", error)


def _figures(cap: SpendCap, journal: Journal, terms: RunTerms) -> JournalFigures:
    mark = journal.noted(_MARK) or ""
    after = cap.first_use(_name(journal.path.parent.parent), mark, journal.last_number())
    return figures_of(mark, journal.numbered_events(), PriceBook.of(terms), after=after)


def _name(directory: Path) -> str:
    return os.path.realpath(directory)


def _refusal(
    cap: SpendCap, directory: Path, figures: JournalFigures, budget: Credits
) -> SpendLimitError:
    available = cap.available(_name(directory), figures)
    more = format_credits(budget - figures.certain)
    hint = f"give a budget of at most {format_credits(available)}"
    if figures.certain:
        certain = format_credits(figures.certain)
        hint += f", which includes the {certain} spent in this run directory before"
    return SpendLimitError(
        f"with a budget of {format_credits(budget)} this run may spend {more} credits; of the"
        f" {format_credits(cap.allowance.limit)} credits that this server may spend,"
        f" {format_credits(available - figures.certain)} are left; nothing was spent",
        hint=f"{hint}; or ask the user to start the server with a higher --allow-spend",
    )
