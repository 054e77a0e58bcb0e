"""How a run stands, in words for people: of a page that is true now, and not when it was made."""

from __future__ import annotations

from crucible_batch.api import Sight
from crucible_batch.report.html import Advice, advice

KILLED = "killed: the same command goes on"
_STATUS = {
    "succeeded": "all done",
    "partial": "done, some failed",
    "failed": "none succeeded",
    "stopped": "stopped early",
    "blocked": "out of credits",
    "interrupted": "interrupted",
}
_TONES = {"succeeded": "good", "partial": "bad", "failed": "bad"}


def standing(sight: Sight) -> str:
    """Say how it stands."""
    if sight.status.running:
        return "running now"
    return KILLED if sight.killed else _STATUS.get(sight.status.report.status, sight.status.report.status)


def next_step(sight: Sight) -> Advice:
    """Say what to do."""
    said = advice(sight.status.report, sight.status.run_dir)
    if sight.status.running:
        return Advice("It is going on; this page follows it. Ctrl-C in its terminal stops it in good order.")
    if sight.killed:
        return Advice("The run was killed. The same command goes on; what is here is not paid for twice.", said.command)
    return said


def tone_of(sight: Sight) -> str:
    """Say with which colour of the list's styles it is told."""
    if sight.status.running:
        return "live"
    return _TONES.get(sight.status.report.status, "warn")
