"""The Python API and composition root: everything that the command line can do, for programs.

Coroutines, typed, silent: progress goes to an observer, failures are exceptions of ``crucible_batch.errors``, and what
became of each job is in the result. Settings (key, base URL) come from the environment unless they are given.

What can be imported from here is loaded when it is first used: to check a manifest takes neither the engine nor an HTTP
stack. The stub beside this file has the types.
"""

from crucible_batch.lazily import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "crucible_batch.api.auditing": ("AuditResult", "audit"),
        "crucible_batch.api.cleaning": ("AssetFate", "Cleaning", "clean_assets"),
        "crucible_batch.api.comparing": ("Comparison", "PlanGroup"),
        "crucible_batch.api.connecting": ("connect", "current_settings"),
        "crucible_batch.api.describing": ("live_manifest_schema",),
        "crucible_batch.api.inspecting": ("Status", "read_status", "write_report_again"),
        "crucible_batch.api.planning": ("PlanSummary", "plan"),
        "crucible_batch.api.price_lines": ("UPLOADS", "PriceLine"),
        "crucible_batch.api.progress": ("AtWork", "Progress"),
        "crucible_batch.api.running": ("RunResult", "run"),
        "crucible_batch.api.trying": ("try_directory",),
        "crucible_batch.api.unsaved": ("Unsaved",),
        "crucible_batch.api.validating": ("validate",),
        "crucible_batch.api.verifying": ("Difference", "Verification", "verify"),
        "crucible_batch.api.watching": ("Sight", "Watch"),
        "crucible_batch.core.answers": ("LedgerEntry",),
        "crucible_batch.core.audit": ("Audit", "total"),
        "crucible_batch.core.cleaning": ("Reason",),
        "crucible_batch.core.credits": ("Credits", "format_credits", "parse_credits"),
        "crucible_batch.core.difference": ("Change", "Compared", "Mark", "Why"),
        "crucible_batch.core.ending": ("Outcome",),
        "crucible_batch.core.events": ("Event", "event_name"),
        "crucible_batch.core.finding": ("Figures", "Finding", "Verdict"),
        "crucible_batch.core.job": ("Phase",),
        "crucible_batch.core.prices": ("SURGE", "Certainty"),
        "crucible_batch.core.progress": (
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
        "crucible_batch.core.saved_plan": ("DEFAULT_MAX_MANIFEST_BYTES",),
        "crucible_batch.gateway": ("CrucibleClient",),
        "crucible_batch.gateway.address": ("parse_api_base", "shown"),
        "crucible_batch.gateway.text": ("said",),
        "crucible_batch.gateway.metadata": ("read_details", "read_expected_s", "read_fields"),
        "crucible_batch.core.secrecy": ("Secret", "without_rights"),
        "crucible_batch.core.text": ("clean",),
        "crucible_batch.manifest": ("manifest_schema",),
        "crucible_batch.plans": ("plan_schema",),
        "crucible_batch.results": ("MAX_BYTES", "MAX_PIXELS", "FileState", "Means"),
    },
)
