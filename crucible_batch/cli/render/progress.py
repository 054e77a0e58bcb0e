"""A run that is going on, seen from outside: the panel's picture without its frame, once."""

from __future__ import annotations

from rich.console import Console

from crucible_batch.api import Balance, Progress, clean
from crucible_batch.cli.answer import Json, rfc3339
from crucible_batch.cli.display.tally import Tally
from crucible_batch.cli.display.words import LABEL, bar, elapsed, error_parts, output_parts, pace_parts, rows, task_row

WIDEST = 100
_INDENT = 2


def show_progress(console: Console, found: Progress, balance: Balance, now: float) -> None:
    """Print how far the run is, who is at work, and how long the rest may take."""
    tally = Tally.of(found, balance)
    width = min(console.width, WIDEST) - _INDENT
    lines = [bar(tally, width)]
    for at, task in enumerate(tally.oldest(len(found.oldest))):
        label = "oldest" if not at else ""
        lines += rows(label, [task_row(task, now, width - LABEL)], width)
    for label, parts, style in (
        ("outputs", output_parts(tally, now), ""),
        ("pace", [*pace_parts(tally, now), f"{elapsed(now - found.began_at)} so far"], ""),
        ("errors", error_parts(tally), "red"),
    ):
        lines += rows(label, parts, width, style) if parts else []
    for line in lines:
        line.pad_left(_INDENT)
        console.print(line)


def progress_json(found: Progress, balance: Balance, now: float) -> Json:
    """Return the same as JSON; ``left_s`` is null while nobody can know."""
    left = Tally.of(found, balance).left(now)
    return {
        "phases": {phase.value: count for phase, count in found.phases.items()},
        "oldest": [
            {"name": clean(job.name, 300), "phase": job.phase.value, "since": rfc3339(job.since)}
            for job in found.oldest
        ],
        "errors": dict(found.errors),
        "left_s": None if left is None else round(left.likely_s, 1),
        "left_low_s": None if left is None else round(left.low_s, 1),
        "left_high_s": None if left is None or left.high_s is None else round(left.high_s, 1),
    }
