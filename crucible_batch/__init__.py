"""crucible-batch: manifest-driven image batches on the Crucible gateway, with the spend capped and proven.

    from crucible_batch import run

    result = await run("manifest.yaml", budget=25)

Names that can be imported from here are stable; the stub beside this file has its types. Names are loaded when they are
first used, so that the command line starts without an HTTP stack.
"""

from crucible_batch.lazy_imports import lazily

__version__ = "0.1.0"

_NAMES, __getattr__, __dir__ = lazily(
    __name__,
    {
        "crucible_batch.gateway": (
            "CrucibleClient",
            "RetryPolicy",
        ),
        "crucible_batch.errors": (
            "CrucibleBatchError",
            "ExitCode",
            "GatewayError",
            "KeyRefusedError",
            "ManifestError",
            "NotAGatewayError",
            "StalePlanError",
            "UserError",
            "ConsentError",
            "BudgetAccountError",
            "EarlierRunError",
            "NotificationError",
            "DeadlineError",
            "JournalError",
            "ObjectStoreError",
            "OtherAccountError",
            "ReportError",
            "RunBusyError",
            "RunDirectoryError",
            "RunPrunedError",
            "ShardsOutstandingError",
            "ShardsUnknownError",
            "ControlError",
            "SpendLimitError",
            "NothingToDivideError",
            "SavedPlanError",
        ),
        "crucible_batch.api": (
            "ManifestKeywords",
            "Observer",
            "PlanSummary",
            "AuditResult",
            "Cleaning",
            "ListedRun",
            "MergeResult",
            "RunKeywords",
            "RunList",
            "RunResult",
            "Verification",
            "Message",
            "RunBegan",
            "JobAdvanced",
            "JobsAdded",
            "AssetAdvanced",
            "Retrying",
            "Receiving",
            "TakenUp",
            "GatewayUnreachable",
            "GatewayBack",
            "Throttled",
            "Stopping",
            "Controlled",
            "RunEnded",
            "check_ledger",
            "check_outputs",
            "delete_assets",
            "connect",
            "list_runs",
            "merge",
            "pick",
            "PicksFile",
            "plan",
            "read_status",
            "run",
            "validate",
        ),
    },
)
__all__ = ["__version__", *_NAMES]  # noqa: PLE0604 - strings, all of them
