"""The shards of a divided plan as text and JSON, and the commands that run and merge them."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from crucible_batch.cli.terminal import Json, fact
from crucible_batch.core.credits import ZERO, format_credits
from crucible_batch.core.redaction import clean_path
from crucible_batch.runs.plan_summary import PlanSummary
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
    shown = plan.shards if len(plan.shards) <= _ROWS_SHOWN else plan.shards[: _ROWS_SHOWN - 1]
    for shard in shown:
        table.add_row(
            f"{shard.number}/{len(plan.shards)}",
            str(shard.jobs),
            str(shard.admitted),
            format_credits(shard.allowance),
        )
    if more := len(plan.shards) - len(shown):
        rest = plan.shards[len(shown) :]
        jobs, admitted = sum(shard.jobs for shard in rest), sum(shard.admitted for shard in rest)
        allowance = sum((shard.allowance for shard in rest), ZERO)
        table.add_row(f"{more} more", str(jobs), str(admitted), format_credits(allowance))
    console.print(table)
    blocked = sum(shard.jobs - shard.admitted for shard in plan.shards)
    aside = format_credits(plan.set_aside)
    words = f"; {blocked:,} jobs are not covered by the allowances" if blocked else ""
    place = plan.outputs_at or plan.run_dir
    fact(
        console,
        "aside",
        f"{aside} credits are set aside in {clean_path(place)}{words}",
        width=_WIDTH,
    )


def show_next(console: Console, plan: PlanSummary, saved: Path) -> bool:
    """Show the commands that run the shards, on other machines or one after another, and that merge
    them.

    Returns false if the plan is not divided.
    """
    count = len(plan.shards)
    if not count:
        return False
    fact(
        console,
        "next",
        (shell_command("run", saved, "--shard", f"1/{count}"), "command"),
        width=_WIDTH,
    )
    fact(console, "or all", (loop_command(saved, count), "command"), width=_WIDTH)
    fact(
        console,
        "then",
        (shell_command("merge", plan.outputs_at or plan.run_dir), "command"),
        width=_WIDTH,
    )
    return True


def loop_command(saved: Path, count: int) -> str:
    return (
        f"for n in $(seq {count}); do crucible-batch run {quoted(saved)} --shard $n/{count}; done"
    )


def as_json(plan: PlanSummary) -> dict[str, Json]:
    """Return the field of a plan in JSON; null if it is not divided."""
    return {"division": _division(plan) if plan.shards else None}


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
