"""The journal: the durable past of one run directory, and the plan that it works on.

Loaded as it is used: a plan alone takes neither the events nor the lock. The stub beside this file has the types.
"""

from crucible_batch.lazy_imports import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "crucible_batch.journal.lock": ("is_locked", "lock_run_directory"),
        "crucible_batch.journal.plan_file": ("PlanFile",),
        "crucible_batch.journal.store": ("Binding", "Journal", "RunRecord", "journals_beside"),
    },
)
