"""Saved plans: ``plan.json`` written and read row by row, bound by a digest of its own lines."""

from crucible_batch.plans.codec import PLAN_VERSION, plan_schema
from crucible_batch.plans.command import DEFAULT_MAX_JOBS, plan_command
from crucible_batch.plans.reading import SavedPlan, is_saved_plan, read_saved_plan
from crucible_batch.plans.writing import check_plan_target, write_saved_plan

__all__ = [
    "DEFAULT_MAX_JOBS",
    "PLAN_VERSION",
    "SavedPlan",
    "check_plan_target",
    "is_saved_plan",
    "plan_command",
    "plan_schema",
    "read_saved_plan",
    "write_saved_plan",
]
