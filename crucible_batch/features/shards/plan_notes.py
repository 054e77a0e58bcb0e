"""What a plan notes about shards of its run directory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from crucible_batch.errors import UserError
from crucible_batch.runs.outstanding_shards import refuse_if_divided
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan


class ShardNotesPart(PlanPart):
    """Notes shards that are not merged yet, unless the plan is that of shards."""

    def notes(self, plan: ReadPlan) -> Iterable[str]:
        request = plan.request
        is_divided = request.plan is not None and bool(request.plan.head.shards)
        return () if is_divided or request.shards is not None else shard_notes(plan.directory)


def shard_notes(directory: Path) -> Iterator[str]:
    """Yield what a plan notes about shards of its directory that are not merged yet."""
    try:
        refuse_if_divided(directory)
    except UserError as error:
        yield f"run is refused: {error.message}; {error.hint}"
