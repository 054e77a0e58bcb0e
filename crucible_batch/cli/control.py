"""The ``ctl`` command: gives a command to a run that is active, and shows its answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucible_batch.api import clean, control
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.terminal import say


def control_and_tell(answer: CommandOutput, run_dir: Path, words: Sequence[str]) -> None:
    """Give a command to the run in ``run_dir``. Raises as ``control`` does."""
    taken = control(run_dir, words)
    answer.data = {"run_dir": str(run_dir), "message": taken.message, **taken.data}
    if not answer.quiet:
        say(answer.out, ("✓ ", "good"), clean(taken.message, 1000))
