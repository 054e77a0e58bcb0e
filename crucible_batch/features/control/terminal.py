"""The ``ctl`` command: gives a command to a run that is active, and shows its answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import say
from crucible_batch.core.redaction import clean
from crucible_batch.features.control.part import control
from crucible_batch.runs.run_journal import local_directory


def control_and_show(output: CommandOutput, run: Path, words: Sequence[str]) -> None:
    """Give a command to a run. Raises as ``control``."""
    directory = local_directory(run)
    taken = control(directory, words)
    output.data = {"run_dir": str(directory), "message": taken.message, **taken.data}
    if not output.quiet:
        say(output.out, ("✓ ", "good"), clean(taken.message, 1000))
