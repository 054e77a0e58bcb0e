"""What the shards of a run directory have to do with its plan, and the plan that is divided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from crucible_batch.core.sharding import PlannedShard
from crucible_batch.errors import UserError
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.journal import lock_run_directory
from crucible_batch.runs.outstanding_shards import refuse_if_divided
from crucible_batch.runs.plan_parts import DraftedPlan, PlanPart, ReadPlan
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.settings import Settings


class ShardsPart(PlanPart):
    """Divides a plan if that is asked for.

    Otherwise notes the shards of its directory that are not merged yet.
    """

    _shards: tuple[PlannedShard, ...] = ()

    def refuse(self, plan: ReadPlan) -> None:
        if _is_to_be_divided(plan):
            # For such plans only.
            from crucible_batch.features.shards.divided_plan import check_sharding  # noqa: PLC0415

            check_sharding(plan.request, plan.basis.source, plan.basis.terms, plan.save_to)

    def lock(self, stack: AsyncExitStack, plan: ReadPlan) -> None:
        # A new directory is locked once the plan can be divided: a refused plan leaves nothing
        # behind.
        if _is_to_be_divided(plan) and plan.directory.exists():
            stack.enter_context(lock_run_directory(plan.directory))

    def notes(self, plan: ReadPlan) -> Iterable[str]:
        if plan.request.plan is not None:
            self._shards = plan.request.plan.head.shards
        if self._shards or _is_to_be_divided(plan):
            return ()
        return shard_notes(plan.directory)

    async def saved(
        self, stack: AsyncExitStack, plan: DraftedPlan, save_to: Path
    ) -> PlanSummary | None:
        if not _is_to_be_divided(plan.read):
            return None
        # For such plans only.
        from crucible_batch.features.shards.planning import plan_shards  # noqa: PLC0415

        return await plan_shards(stack, plan, save_to)

    def amended(self, summary: PlanSummary, settings: Settings) -> PlanSummary:
        return replace(summary, shards=self._shards)


def _is_to_be_divided(plan: ReadPlan) -> bool:
    return plan.request.of(DivisionOptions).shards is not None


def shard_notes(directory: Path) -> Iterator[str]:
    """Yield what a plan notes about shards of its directory that are not merged yet."""
    try:
        refuse_if_divided(directory)
    except UserError as error:
        yield f"run is refused: {error.message}; {error.hint}"
