"""crucible-batch: manifest-driven image batches on the Crucible gateway, with the spend capped and proven.

    from crucible_batch import run

    result = await run("manifest.yaml", budget=25)

What can be imported from here is a promise; the stub beside this file has its types. Names are loaded when they are
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
            "StalePlanError",
            "UserError",
            "ConsentError",
            "DeadlineError",
            "JournalError",
            "OtherAccountError",
            "ReportError",
            "RunBusyError",
            "RunDirectoryError",
            "SavedPlanError",
        ),
        "crucible_batch.api": (
            "ManifestKeywords",
            "Observer",
            "PlanSummary",
            "AuditResult",
            "Cleaning",
            "RunKeywords",
            "RunResult",
            "Verification",
            "Message",
            "RunBegan",
            "JobAdvanced",
            "AssetAdvanced",
            "Retrying",
            "Receiving",
            "TakenUp",
            "Throttled",
            "Stopping",
            "RunEnded",
            "audit",
            "clean_assets",
            "connect",
            "plan",
            "read_status",
            "run",
            "validate",
            "verify",
        ),
    },
)
__all__ = ["__version__", *_NAMES]  # noqa: PLE0604 - strings, all of them
