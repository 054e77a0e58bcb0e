"""The exit codes of commands, and what they mean."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of commands. If several apply, the first of 130/143, 3, 5, 4, 1 is used."""

    OK = 0
    SOME_FAILED = 1
    USER_ERROR = 2
    KEY_REFUSED = 3
    OUT_OF_CREDITS = 4
    STOPPED = 5
    BUSY = 6
    DIFFERENCE = 7
    SIGINT = 130
    SIGTERM = 143

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_TO_RESUME = "run the same command again to resume"
_MEANINGS = {
    ExitCode.OK: "every job succeeded, or there was nothing left to do",
    ExitCode.SOME_FAILED: "the run finished and some jobs failed",
    ExitCode.USER_ERROR: (
        "the command or the manifest is wrong, or a saved plan is stale; nothing was spent"
    ),
    ExitCode.KEY_REFUSED: "no API key, or the gateway refused it",
    ExitCode.OUT_OF_CREDITS: f"stopped by the budget or the account's credits; {_TO_RESUME}",
    ExitCode.STOPPED: (
        f"the gateway was unusable, time ran out, or a job's outcome is unknown; {_TO_RESUME}"
    ),
    ExitCode.BUSY: "another run holds this run directory",
    ExitCode.DIFFERENCE: "check found a difference",
    ExitCode.SIGINT: f"stopped by Ctrl-C; {_TO_RESUME}",
    ExitCode.SIGTERM: f"stopped by SIGTERM; {_TO_RESUME}",
}
