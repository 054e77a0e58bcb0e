"""crucible-batch: manifest-driven image batches on the Crucible gateway, with the spend capped and proven.

    from crucible_batch import run

    result = await run("manifest.yaml", budget=25)

What can be imported from here is a promise; the stub beside this file has its types. Names are loaded when they are
first used, so that the command line starts without an HTTP stack.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "CrucibleClient": "crucible_batch.gateway",
    "RetryPolicy": "crucible_batch.gateway",
    "CrucibleBatchError": "crucible_batch.errors",
    "ExitCode": "crucible_batch.errors",
    "GatewayError": "crucible_batch.errors",
    "KeyRefusedError": "crucible_batch.errors",
    "ManifestError": "crucible_batch.errors",
    "StalePlanError": "crucible_batch.errors",
    "UserError": "crucible_batch.errors",
    "ConsentError": "crucible_batch.errors",
    "JournalError": "crucible_batch.errors",
    "ReportError": "crucible_batch.errors",
    "RunBusyError": "crucible_batch.errors",
    "RunDirectoryError": "crucible_batch.errors",
    "SavedPlanError": "crucible_batch.errors",
    "Observer": "crucible_batch.api",
    "PlanSummary": "crucible_batch.api",
    "AuditResult": "crucible_batch.api",
    "Cleaning": "crucible_batch.api",
    "RunResult": "crucible_batch.api",
    "Verification": "crucible_batch.api",
    "Message": "crucible_batch.api",
    "RunBegan": "crucible_batch.api",
    "JobAdvanced": "crucible_batch.api",
    "AssetAdvanced": "crucible_batch.api",
    "Retrying": "crucible_batch.api",
    "Receiving": "crucible_batch.api",
    "TakenUp": "crucible_batch.api",
    "Throttled": "crucible_batch.api",
    "Stopping": "crucible_batch.api",
    "RunEnded": "crucible_batch.api",
    "audit": "crucible_batch.api",
    "clean_assets": "crucible_batch.api",
    "connect": "crucible_batch.api",
    "plan": "crucible_batch.api",
    "read_status": "crucible_batch.api",
    "run": "crucible_batch.api",
    "validate": "crucible_batch.api",
    "verify": "crucible_batch.api",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - strings, all of them


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
