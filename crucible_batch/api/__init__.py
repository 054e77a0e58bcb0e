"""The Python API and composition root: everything that the command line can do, for programs.

The functions are typed, mostly coroutines, and print nothing: progress goes to an observer, failures are exceptions of
``crucible_batch.errors``, and the outcome of each job is in the result. Settings (key, base URL) come from the
environment unless they are given.

Names are loaded on first use, so checking a manifest loads neither the engine nor an HTTP stack. The types are in the
stub beside this file.
"""

from crucible_batch.lazy_imports import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "crucible_batch.api.auditing": (
            "AuditResult",
            "audit",
        ),
        "crucible_batch.api.cleaning": (
            "AssetFate",
            "Cleaning",
            "clean_assets",
        ),
        "crucible_batch.api.connecting": (
            "connect",
            "current_settings",
        ),
        "crucible_batch.api.draft": (
            "validate",
            "validate_request",
        ),
        "crucible_batch.api.live_schema": ("live_manifest_schema",),
        "crucible_batch.api.plan_comparison": (
            "Comparison",
            "PlanGroup",
        ),
        "crucible_batch.api.plan_rows": (
            "PriceLine",
            "UPLOADS",
        ),
        "crucible_batch.api.planning": (
            "PlanSummary",
            "plan",
            "plan_request",
        ),
        "crucible_batch.api.request": (
            "JobFilter",
            "ManifestKeywords",
            "RunKeywords",
            "RunRequest",
        ),
        "crucible_batch.api.run_directory": ("try_directory",),
        "crucible_batch.api.running": (
            "RunResult",
            "budget_for_rest",
            "run",
            "run_request",
        ),
        "crucible_batch.api.status": (
            "AtWork",
            "Progress",
            "Status",
            "read_status",
            "write_report_again",
        ),
        "crucible_batch.api.unsaved_outputs": ("UnsavedOutputs",),
        "crucible_batch.api.verifying": (
            "Difference",
            "Verification",
            "verify",
        ),
        "crucible_batch.api.watching": (
            "Snapshot",
            "Watch",
        ),
        "crucible_batch.domain.asset": ("KeepReason",),
        "crucible_batch.domain.audit": (
            "Audit",
            "total",
        ),
        "crucible_batch.domain.audit_claims": (
            "Figures",
            "Finding",
            "Verdict",
        ),
        "crucible_batch.domain.credits": (
            "Credits",
            "format_credits",
            "parse_credits",
        ),
        "crucible_batch.domain.events": (
            "Event",
            "event_name",
        ),
        "crucible_batch.domain.gateway_types": ("LedgerEntry",),
        "crucible_batch.domain.job": ("Phase",),
        "crucible_batch.domain.outcome": ("Outcome",),
        "crucible_batch.domain.plan_diff": (
            "Change",
            "ComparedJob",
            "ChangeKind",
            "ChangeCause",
        ),
        "crucible_batch.domain.prices": (
            "Certainty",
            "SURGE",
        ),
        "crucible_batch.domain.progress": (
            "AssetAdvanced",
            "Balance",
            "JobAdvanced",
            "Message",
            "Observer",
            "Receiving",
            "Retrying",
            "RunBegan",
            "RunEnded",
            "Stopping",
            "TakenUp",
            "Throttled",
        ),
        "crucible_batch.domain.redaction": (
            "Secret",
            "clean",
            "mask_link_secrets",
            "clean_message",
        ),
        "crucible_batch.domain.saved_plan": ("DEFAULT_MAX_MANIFEST_BYTES",),
        "crucible_batch.gateway": ("CrucibleClient",),
        "crucible_batch.gateway.adapter": (
            "read_details",
            "read_expected_s",
            "read_fields",
        ),
        "crucible_batch.gateway.aiohttp_transport": ("new_channel",),
        "crucible_batch.gateway.url_guard": (
            "parse_api_base",
            "shown",
        ),
        "crucible_batch.manifest": ("manifest_schema",),
        "crucible_batch.outputs": (
            "FileState",
            "RenameMethod",
        ),
        "crucible_batch.saved_plan": ("plan_schema",),
    },
)
