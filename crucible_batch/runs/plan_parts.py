"""What takes part in a plan without planning knowing it: notes, the budget of a period, prices that
were paid before.

moment       what is true then
refuse       the manifest is read; nothing else was, and nothing is locked
lock         nobody has refused; the run directory was not read
notes        the manifest is read; its directory may be that of an earlier run
saved        the jobs are known; the plan is to be saved
job notes    the jobs are known, and no part has saved the plan
budget       the summary is about to be made; a budget replaces that of the terms
amended      the summary is made
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.core.credits import Credits
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import PlanFile
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.saved_plans import PlanBasis
from crucible_batch.settings import Settings


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """A plan whose manifest was read. ``directory`` is that of its run, which may not exist.

    It is to be saved to ``save_to``, if that is given; ``force``: another file there may be
    overwritten.
    """

    request: RunRequest
    basis: PlanBasis
    settings: Settings
    directory: Path
    save_to: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class DraftedPlan:
    """A plan whose jobs are in ``draft``, with the notes so far.

    Without an API key there is no gateway.
    """

    read: ReadPlan
    draft: PlanFile
    gateway: HttpGateway | None
    notes: tuple[str, ...]


class PlanPart:
    """Takes part in one plan: a new object for each. Each method does nothing unless a part
    overrides it.
    """

    def refuse(self, plan: ReadPlan) -> None:
        """Raise to refuse the plan."""

    def lock(self, stack: AsyncExitStack, plan: ReadPlan) -> None:
        """Lock the run directory until ``stack`` is closed, if the part is going to change it."""

    def notes(self, plan: ReadPlan) -> Iterable[str]:
        """Return what the user should know about the manifest and the run directory."""
        return ()

    async def saved(
        self, stack: AsyncExitStack, plan: DraftedPlan, save_to: Path
    ) -> PlanSummary | None:
        """Save the plan in the way of the part, and return its summary; None: it is saved as any
        other.
        """
        return None

    def job_notes(self, plan: ReadPlan, draft: PlanFile) -> Iterable[str]:
        """Return what the user should know about the jobs."""
        return ()

    def budget(self, plan: ReadPlan) -> Credits | None:
        """Return the budget that a run would get now; None: that of its terms. At most one part has
        one.
        """
        return None

    def amended(self, summary: PlanSummary, settings: Settings) -> PlanSummary:
        """Return the summary with what the part knows."""
        return summary


class PlanParts:
    """The parts of one plan, asked together."""

    def __init__(self, parts: Sequence[PlanPart] = ()) -> None:
        self._parts = tuple(parts)

    def refuse(self, plan: ReadPlan) -> None:
        for part in self._parts:
            part.refuse(plan)

    def lock(self, stack: AsyncExitStack, plan: ReadPlan) -> None:
        for part in self._parts:
            part.lock(stack, plan)

    def notes(self, plan: ReadPlan) -> Iterator[str]:
        for part in self._parts:
            yield from part.notes(plan)

    async def saved(
        self, stack: AsyncExitStack, plan: DraftedPlan, save_to: Path
    ) -> PlanSummary | None:
        """Let the first part that has a way of its own save the plan."""
        for part in self._parts:
            summary = await part.saved(stack, plan, save_to)
            if summary is not None:
                return summary
        return None

    def job_notes(self, plan: ReadPlan, draft: PlanFile) -> Iterator[str]:
        for part in self._parts:
            yield from part.job_notes(plan, draft)

    def budget(self, plan: ReadPlan) -> Credits | None:
        budgets = [part.budget(plan) for part in self._parts]
        found = [budget for budget in budgets if budget is not None]
        assert len(found) <= 1
        return found[0] if found else None

    def amended(self, summary: PlanSummary, settings: Settings) -> PlanSummary:
        for part in self._parts:
            summary = part.amended(summary, settings)
        return summary
