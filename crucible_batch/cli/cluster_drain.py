"""``cluster drain --run``: one run is ended early."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from crucible_batch.api import clean, drain_run
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.terminal import fact, say
from crucible_batch.errors import UserError


def drain_run_and_show(answer: CommandOutput, name: str, workers: Sequence[str], dsn: str | None) -> None:
    """End a run early, and show how many of its shards are not started any more, and how many still run."""
    if workers:
        raise UserError(
            "--run and names of workers can't be used together", hint="drain the run first, and then the workers"
        )
    drained = asyncio.run(drain_run(name, dsn))
    run, shards = drained.run, drained.shards
    answer.data = {
        "run": run.run.run,
        "manifest": run.run.manifest,
        "location": run.run.location,
        "withdrawn": shards.withdrawn,
        "ended": shards.ended,
        "running": shards.running,
    }
    if answer.quiet:
        return
    out = answer.out
    say(out, ("✓ ", "good"), (clean(run.run.manifest), "strong"), f" ({clean(run.run.run_id)}) starts no further shard")
    returned = f", {shards.ended} ended that a worker had returned" if shards.ended else ""
    fact(out, "shards", f"{shards.withdrawn} withdrawn{returned}")
    if shards.running:
        fact(out, "running", f"{shards.running}, finished first; if a worker returns one, give this command again")
    if run.ended_age_s is not None:
        fact(out, "then", "give the run's own command again: it merges the shards that were started")
