"""The journal: the durable past of one run directory, and the plan that it works on."""

from crucible_batch.journal.lock import is_locked, lock_run_directory
from crucible_batch.journal.plan_file import PlanFile
from crucible_batch.journal.store import Binding, Journal, RunRecord, journals_beside

__all__ = ["Binding", "Journal", "PlanFile", "RunRecord", "is_locked", "journals_beside", "lock_run_directory"]
