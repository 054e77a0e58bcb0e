"""What to do next, in a sentence and a command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.core.ending import RunStatus
from crucible_batch.report.models import ReportHead


@dataclass(frozen=True, slots=True)
class Advice:
    """``command`` is None where there is nothing to type."""

    text: str
    command: str | None = None


def retry_command(head: ReportHead, directory: Path) -> str:
    """Return the command that tries the failed jobs again."""
    return f"{same_command(head, directory)} --retry-failed"


def same_command(head: ReportHead, directory: Path) -> str:
    """Return the command that goes on with this run directory."""
    words = ["crucible-batch", "run", head.manifest.path]
    if head.run_id != "default":
        words += ["--run-id", head.run_id]
    if directory.parts[-3:] != ("outputs", head.manifest.name, head.run_id):
        words += ["--out-dir", str(directory)]
    return shlex.join(words)


def advice(head: ReportHead, directory: Path) -> Advice:
    """Say what to do, by how the run ended."""
    again = same_command(head, directory)
    match head.status:
        case RunStatus.SUCCEEDED:
            return Advice("Every picture is here. There is nothing left to do.")
        case RunStatus.PARTIAL | RunStatus.FAILED:
            return Advice("Try the failed ones again; what is here is not paid for twice.", f"{again} --retry-failed")
        case RunStatus.BLOCKED:
            return Advice("Credits ran out. Once there are more, or a higher budget, this goes on.", again)
        case RunStatus.RUNNING:
            return Advice("The run was under way, or was cut short, when this page was made. This goes on:", again)
        case _:
            return Advice("The run stopped early. The same command goes on where it stopped.", again)
