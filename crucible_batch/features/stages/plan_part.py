"""Plans of manifests with stages are not saved."""

from __future__ import annotations

from crucible_batch.errors import UserError
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan


class StagesPart(PlanPart):
    """Refuses to save a plan to which its run may add jobs: what is bought would not be in it."""

    def refuse(self, plan: ReadPlan) -> None:
        if plan.save_to is not None and plan.basis.source.may_grow:
            raise UserError(
                "a plan of a manifest with `from` can't be saved: its run adds jobs that are not"
                " known yet",
                hint="plan without -o, and run the manifest; a budget limits what its stages cost"
                " together",
            )
