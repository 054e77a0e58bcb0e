"""The journal: the events of one run directory, and the plan of its newest run.

Modules are imported on first use, since planning needs neither the events nor the lock. The stub beside this file has
the types.
"""

from crucible_batch.lazy_imports import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "crucible_batch.journal.binding": ("Binding", "journals_beside"),
        "crucible_batch.journal.lock": (
            "is_locked",
            "lock_results",
            "lock_run_directory",
            "read_holder",
            "refuse_if_locked",
        ),
        "crucible_batch.journal.merged_events": ("MergedEvents",),
        "crucible_batch.journal.plan_file": ("PlanFile",),
        "crucible_batch.journal.shared_rows": (
            "JournalRows",
            "add_rows",
            "copy_gateway_ledger",
            "rows_after",
            "set_journal_aside",
        ),
        "crucible_batch.journal.store": ("Journal", "RunRecord"),
    },
)
