"""The shards of a divided plan as text and JSON, and the commands that run and merge them."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from crucible_batch.cli.terminal import Json, fact
from crucible_batch.core.credits import format_credits
from crucible_batch.core.redaction import clean_path
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.request import RunRequest
from crucible_batch.shell_command import quoted, shell_command

_ROWS_SHOWN = 16
_WIDTH = 9


def show(console: Console, plan: PlanSummary) -> None:
    """Show the shards of a plan, if it is divided."""
    if not plan.shards:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2), header_style="dim")
    for heading in ("shard", "jobs", "admitted", "allowance"):
        table.add_column(heading, justify="right")
    count = len(plan.shards)
    shown = plan.shards
    if count > _ROWS_SHOWN:
        shown = plan.shards[: _ROWS_SHOWN - 1]
    for shard in shown:
        allowance = format_credits(shard.allowance)
        name = f"{shard.number}/{count}"
        table.add_row(name, str(shard.jobs), str(shard.admitted), allowance)
    if count > len(shown):
        table.add_row(f"{count - len(shown)} more")
    console.print(table)
    blocked = sum(shard.jobs - shard.admitted for shard in plan.shards)
    place = clean_path(plan.outputs_at or plan.run_dir)
    words = f"{format_credits(plan.set_aside)} credits are set aside in {place}"
    if blocked:
        words += f"; {blocked:,} jobs are not covered by the allowances"
    fact(console, "aside", words, width=_WIDTH)


def show_next(console: Console, plan: PlanSummary, saved: Path, request: RunRequest) -> bool:
    """Show the commands that run the shards, and the one that merges them.

    Returns false if the plan is not divided.
    """
    count = len(plan.shards)
    if not count:
        return False
    run = f"crucible-batch run {quoted(saved)}"
    for label, command in (
        ("next", f"{run} --shard 1/{count}"),
        ("or all", f"for n in $(seq {count}); do {run} --shard $n/{count}; done"),
        ("then", shell_command("merge", plan.outputs_at or plan.run_dir)),
    ):
        fact(console, label, (command, "command"), width=_WIDTH)
    return True


def as_json(plan: PlanSummary) -> dict[str, Json]:
    """Return the field of a plan in JSON; null if it is not divided."""
    if not plan.shards:
        return {"division": None}
    return {"division": _division(plan)}


def _division(plan: PlanSummary) -> Json:
    return {
        "count": len(plan.shards),
        "set_aside": format_credits(plan.set_aside),
        "shards": [
            {
                "shard": f"{shard.number}/{len(plan.shards)}",
                "jobs": shard.jobs,
                "admitted": shard.admitted,
                "allowance": format_credits(shard.allowance),
            }
            for shard in plan.shards
        ],
    }
