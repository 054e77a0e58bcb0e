"""The Python API and composition root: everything that the command line can do, for programs.

Coroutines, typed, silent: progress goes to an observer, failures are exceptions of ``crucible_batch.errors``, and what
became of each job is in the result. Settings (key, base URL) come from the environment unless they are given.
"""

from crucible_batch.api.auditing import AuditResult, audit
from crucible_batch.api.cleaning import AssetFate, Cleaning, clean_assets
from crucible_batch.api.comparing import Comparison, PlanGroup
from crucible_batch.api.connecting import connect, current_settings
from crucible_batch.api.describing import live_manifest_schema
from crucible_batch.api.inspecting import Status, read_status, write_report_again
from crucible_batch.api.planning import PlanSummary, PriceLine, plan, validate
from crucible_batch.api.progress import AtWork, Progress
from crucible_batch.api.running import RunResult, run
from crucible_batch.api.verifying import Difference, Verification, verify
from crucible_batch.api.watching import Sight, Watch
from crucible_batch.core.answers import LedgerEntry
from crucible_batch.core.audit import Audit, total
from crucible_batch.core.cleaning import Reason
from crucible_batch.core.credits import Credits, format_credits, parse_credits
from crucible_batch.core.difference import Change, Compared, Mark, Why
from crucible_batch.core.ending import Outcome
from crucible_batch.core.finding import Figures, Finding, Verdict
from crucible_batch.core.job import Phase
from crucible_batch.core.prices import Certainty
from crucible_batch.core.progress import (
    AssetAdvanced,
    Balance,
    JobAdvanced,
    Message,
    Observer,
    Receiving,
    Retrying,
    RunBegan,
    RunEnded,
    Stopping,
    TakenUp,
    Throttled,
)
from crucible_batch.gateway import CrucibleClient
from crucible_batch.gateway.address import parse_api_base, shown
from crucible_batch.gateway.metadata import read_details, read_expected_s, read_fields
from crucible_batch.gateway.text import clean
from crucible_batch.manifest import manifest_schema
from crucible_batch.plans import plan_schema
from crucible_batch.results import MAX_BYTES, MAX_PIXELS, FileState

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "AssetAdvanced",
    "AssetFate",
    "AtWork",
    "Audit",
    "AuditResult",
    "Balance",
    "Certainty",
    "Change",
    "Cleaning",
    "Compared",
    "Comparison",
    "Credits",
    "CrucibleClient",
    "Difference",
    "Figures",
    "FileState",
    "Finding",
    "JobAdvanced",
    "LedgerEntry",
    "Mark",
    "Message",
    "Observer",
    "Outcome",
    "Phase",
    "PlanGroup",
    "PlanSummary",
    "PriceLine",
    "Progress",
    "Reason",
    "Receiving",
    "Retrying",
    "RunBegan",
    "RunEnded",
    "RunResult",
    "Sight",
    "Status",
    "Stopping",
    "TakenUp",
    "Throttled",
    "Verdict",
    "Verification",
    "Watch",
    "Why",
    "audit",
    "clean",
    "clean_assets",
    "connect",
    "current_settings",
    "format_credits",
    "live_manifest_schema",
    "manifest_schema",
    "parse_api_base",
    "parse_credits",
    "plan",
    "plan_schema",
    "read_details",
    "read_expected_s",
    "read_fields",
    "read_status",
    "run",
    "shown",
    "total",
    "validate",
    "verify",
    "write_report_again",
]
