"""The Python API and composition root: everything that the command line can do, for programs.

Coroutines, typed, silent: progress goes to an observer, failures are exceptions of ``crucible_batch.errors``, and what
became of each job is in the result. Settings (key, base URL) come from the environment unless they are given.
"""

from crucible_batch.api.connecting import connect
from crucible_batch.api.inspecting import Status, read_status, write_report_again
from crucible_batch.api.planning import PlanSummary, PriceLine, plan, validate
from crucible_batch.api.running import RunResult, run

__all__ = [
    "PlanSummary",
    "PriceLine",
    "RunResult",
    "Status",
    "connect",
    "plan",
    "read_status",
    "run",
    "validate",
    "write_report_again",
]
