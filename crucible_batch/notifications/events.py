"""The event that is notified, by how a run ended. Pure.

    exit code      event
    0              success
    1              partial; failure if no job has succeeded
    4              blocked
    any other      failure: 2, 3, 5, 6, 70, 130, 143

A run that ends before its first job has an exit code as well (2, 3, 5 or 6), and so its end is a failure too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crucible_batch.errors import ExitCode
from crucible_batch.option_values import RunEvent

MESSAGE_TYPES: Final[Mapping[RunEvent, str]] = {
    RunEvent.START: "run.started",
    RunEvent.SUCCESS: "run.succeeded",
    RunEvent.PARTIAL: "run.partial",
    RunEvent.BLOCKED: "run.blocked",
    RunEvent.FAILURE: "run.failed",
}
"""The ``type`` of a message, by its event."""


def event_of(exit_code: int, succeeded: int) -> RunEvent:
    """Return the event of a run's end. ``succeeded`` is the number of jobs that have succeeded, in this run or before.

    The result is never ``START``.
    """
    match exit_code:
        case ExitCode.OK:
            return RunEvent.SUCCESS
        case ExitCode.SOME_FAILED if succeeded > 0:
            return RunEvent.PARTIAL
        case ExitCode.OUT_OF_CREDITS:
            return RunEvent.BLOCKED
        case _:
            return RunEvent.FAILURE
