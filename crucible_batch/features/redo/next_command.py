"""What comes after a run whose rejected jobs were bought again as often as is permitted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crucible_batch.features.redo.rule import FIXED_SEED, REDO_LIMIT, SAME_OUTPUT
from crucible_batch.report import ReportHead
from crucible_batch.runs.next_step import FailureGroup, FirstStep


def next_command(_run_dir: str | Path, _head: ReportHead, _command: str) -> str | None:
    """Return None: a run that is complete needs nothing."""
    return None


def first_step(blocked: Mapping[str, FailureGroup], _run_dir: Path | None) -> FirstStep | None:
    """Return what makes other pictures. ``blocked`` has the blocked jobs by code."""
    if blocked.keys() & {SAME_OUTPUT, FIXED_SEED}:
        return FirstStep("change the prompt or the seed of the rejected jobs", is_command=False)
    if REDO_LIMIT in blocked:
        return FirstStep("change the rejected jobs, or raise redo.max", is_command=False)
    return None
