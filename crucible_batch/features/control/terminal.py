"""The ``ctl`` command: gives a command to a run that is active, and shows its answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import say
from crucible_batch.core.redaction import clean
from crucible_batch.features import found
from crucible_batch.features.control.part import control
from crucible_batch.runs.control_desk import ControlAnswer
from crucible_batch.runs.run_journal import local_directory


def control_and_show(output: CommandOutput, run: Path, words: Sequence[str]) -> None:
    """Give a command to a run, or to its shards wherever they run. Raises as ``control``."""
    taken = _given_elsewhere(run, words)
    if taken is None:
        directory = local_directory(run)
        taken = control(directory, words)
        output.data = {"run_dir": str(directory), "message": taken.message, **taken.data}
    else:
        output.data = {"run": str(run), "message": taken.message, **taken.data}
    if not output.quiet:
        say(output.out, ("✓ ", "good"), clean(taken.message, 1000))


def _given_elsewhere(run: Path, words: Sequence[str]) -> ControlAnswer | None:
    """Give a command to a run that is not one process of this machine; None if it is."""
    for module in found("given_commands"):
        answer: ControlAnswer | None = module.give(run, words)
        if answer is not None:
            return answer
    return None
