"""The budget of a period, as a part of a run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace

from crucible_batch.core.credits import Credits
from crucible_batch.core.outcome import Ending
from crucible_batch.features.periods.account import BudgetAccount
from crucible_batch.features.periods.note import forget_period
from crucible_batch.features.periods.period_budget import (
    PeriodPreview,
    PeriodRules,
    preview,
    set_aside,
    settled,
)
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.later_jobs import may_add_jobs
from crucible_batch.runs.parts import BudgetGrant, OpenedRun, RunPart
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.settings import Settings


class PeriodPart(RunPart, PlanPart):
    """The budget of a period, as a part of a run.

    An allowance is set aside before the run, and settled by its end.

    A run over the end of a period keeps its allowance, so it may be higher than what the new period
    has left.
    """

    _rules: PeriodRules | None = None
    _preview: PeriodPreview | None = None
    _settle: Callable[[Ending], None] | None = None

    def check(self, run: RunContext) -> None:
        self._rules = PeriodRules.of(run.manifest, run.settings.base_url)
        if self._rules is not None:
            BudgetAccount.create(self._rules.accounts_directory(run.settings), self._rules.terms)

    @asynccontextmanager
    async def begin(self, run: OpenedRun) -> AsyncIterator[BudgetGrant | None]:
        if self._rules is None:
            forget_period(run.journal)
            yield None
            return
        context = run.context
        with ExitStack() as active:
            allowance = await set_aside(
                self._rules,
                run.journal,
                context.terms,
                context.settings,
                context.clock,
                own=context.request.budget,
                choice=context.request.choice,
                after=run.after,
                may_grow=may_add_jobs(context.manifest, context.request, context.directory),
                active=active,
            )
            self._settle = active.enter_context(
                settled(allowance, run.journal, context.terms, context.clock)
            )
            # A budget below what was held for jobs in flight before was not exceeded.
            recorded = max(allowance.budget, allowance.committed)
            yield BudgetGrant(
                allowance.budget, recorded, allowance.granted.budget_name, allowance.granted.explain
            )

    def budget(self, plan: ReadPlan) -> Credits | None:
        basis = plan.basis
        self._preview = preview(
            basis.source, plan.settings, plan.directory, basis.terms, plan.request.budget
        )
        if self._preview is None:
            return None
        return self._preview.budget

    def amended(self, summary: PlanSummary, settings: Settings) -> PlanSummary:
        period = self._preview
        if period is None:
            return summary
        blocked = summary.blocked
        if blocked is not None:
            blocked = period.explain(blocked)
        return replace(summary, period=period.planned, blocked=blocked)

    async def ended(self, ending: Ending) -> None:
        if self._settle is not None:
            self._settle(ending)
