"""The ``cluster`` commands: a cluster as text and JSON, and what draining its workers or a run of it leaves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from crucible_batch.api import (
    Credits,
    PausedRun,
    QueuedShard,
    RunRow,
    ShardState,
    WorkerRow,
    clean,
    cluster_status,
    drain_run,
    drain_workers,
    format_credits,
    is_stale,
)
from crucible_batch.api.cluster.administration import ALIVE, STALLED, shard_state, worker_state
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import Json, fact, say
from crucible_batch.cli.units import format_duration, grouped
from crucible_batch.errors import UserError

SHOWN = 20
SHARD_STATES = (
    ShardState.WAITING,
    ShardState.RUNNING,
    STALLED,
    ShardState.ENDED,
    ShardState.MERGED,
    ShardState.WITHDRAWN,
)


def show_cluster(output: CommandOutput, dsn: str | None, metrics_textfile: Path | None) -> None:
    """Show a cluster's runs that have not ended, their running shards, and the workers."""
    view = asyncio.run(cluster_status(dsn, metrics_textfile=metrics_textfile))
    found, out = view.status, output.out
    names = {worker.worker: worker.name for worker in found.workers}
    runs = {row.run.run: row for row in found.runs}
    output.data = {
        "database": view.shown,
        "level": found.level,
        "queue_age_s": found.queue_age_s,
        "runs": [_run_json(row, found.paused.get(row.run.run)) for row in found.runs],
        "shards": [_shard_json(row, names) for row in found.shards],
        "workers": [_worker_json(row) for row in found.workers],
    }
    waiting = sum(row.state is ShardState.WAITING for row in found.shards)
    open_runs = {row.key.run for row in found.shards}
    queue = "no shard waits" if found.queue_age_s is None else f"{grouped(waiting, 'shard')} waiting"
    say(out, (clean(view.shown, 300), "strong"))
    oldest = "" if found.queue_age_s is None else f", the oldest for {_age(found.queue_age_s)}"
    is_stuck = waiting and all(worker_state(worker) != ALIVE for worker in found.workers)
    fact(out, "queue", f"{queue}{oldest}", ("; no worker is alive to take them" if is_stuck else "", "warn"))
    active = [row for row in found.runs if row.ended_age_s is None or row.run.run in open_runs]
    for row in active[:SHOWN]:
        _show_run(output, row, [shard for shard in found.shards if shard.key.run == row.run.run])
        if (paused := found.paused.get(row.run.run)) is not None:
            by = f"by {clean(paused.source.by, 80)} for {_age(paused.age_s)}; nothing new is bought"
            fact(output.out, "paused", (by, "warn"))
    running = [row for row in found.shards if row.state is ShardState.RUNNING]
    plans = Counter((row.key.run, row.key.plan_digest) for row in found.shards)
    for shard in running[:SHOWN]:
        _show_shard(output, shard, runs[shard.key.run], names, plans[shard.key.run, shard.key.plan_digest])
    for worker in found.workers[:SHOWN]:
        _show_worker(output, worker)
    if not found.workers:
        fact(out, "workers", "no worker was seen within a day")
    if max(len(active), len(running), len(found.workers)) > SHOWN:
        say(out, ("  … and more; --json has them all", "quiet"))


def drain_and_show(output: CommandOutput, names: Sequence[str], dsn: str | None) -> None:
    asked = asyncio.run(drain_workers(names, dsn))
    output.data = {"workers": [_worker_json(row) for row in asked]}
    if output.quiet:
        return
    for row in asked:
        has = f"ends after {grouped(row.shards, 'shard')}" if row.shards else "has no shard"
        say(output.out, ("✓ ", "good"), (clean(row.name), "strong"), f" takes no further shards; it {has}")
    if not asked:
        say(output.out, "no worker is registered")


def drain_run_and_show(output: CommandOutput, name: str, workers: Sequence[str], dsn: str | None) -> None:
    if workers:
        raise UserError(
            "--run and names of workers can't be used together", hint="drain the run first, and then the workers"
        )
    drained = asyncio.run(drain_run(name, dsn))
    run, shards = drained.run, drained.shards
    output.data = {
        "run": run.run.run,
        "manifest": run.run.manifest,
        "location": run.run.location,
        "withdrawn": shards.withdrawn,
        "ended": shards.ended,
        "running": shards.running,
    }
    if output.quiet:
        return
    out = output.out
    say(out, ("✓ ", "good"), (clean(run.run.manifest), "strong"), f" ({clean(run.run.run_id)}) starts no further shard")
    returned = f", {shards.ended} ended that a worker had returned" if shards.ended else ""
    fact(out, "shards", f"{shards.withdrawn} withdrawn{returned}")
    if shards.running:
        fact(out, "running", f"{shards.running}, finished first; if a worker returns one, give this command again")
    if run.ended_age_s is not None:
        fact(out, "then", "give the run's own command again: it merges the shards that were started")


def _show_run(output: CommandOutput, row: RunRow, shards: Sequence[QueuedShard]) -> None:
    out, name = output.out, f"{clean(row.run.manifest)} ({clean(row.run.run_id)})"
    fact(out, "run", (name, "strong"), (f"   {clean(row.run.location, 4000)}", "quiet"))
    fact(out, "", f"{_credits(row, shards)}")
    states = Counter(map(shard_state, shards))
    parts = ", ".join(f"{states[state]} {state}" for state in SHARD_STATES if states[state])
    jobs = sum(shard.jobs for shard in shards)
    succeeded, failed = (sum(getattr(shard.figures, word) for shard in shards) for word in ("succeeded", "failed"))
    ended = f"   {succeeded} of {grouped(jobs, 'job')} succeeded{f', {failed} failed' if failed else ''}"
    fact(out, "", f"{grouped(len(shards), 'shard')}: {parts}{ended}" if shards else "no shards yet")
    fact(out, "", *_coordinator(row))


def _credits(row: RunRow, shards: Sequence[QueuedShard]) -> str:
    """Return how the budget is used. What shards have spent is part of what is set aside, until they are merged."""
    open_shards = [shard.figures for shard in shards if shard.state not in (ShardState.MERGED, ShardState.WITHDRAWN)]
    committed = sum((figures.spent + figures.held for figures in open_shards), Credits(0))
    used, aside = format_credits(row.run.used + committed), format_credits(max(Credits(0), row.set_aside - committed))
    budget, left = format_credits(row.run.budget), format_credits(row.left)
    return f"{budget} credits: {used} spent or held, {aside} more set aside for shards, {left} left"


def _coordinator(row: RunRow) -> tuple[str | tuple[str, str], ...]:
    """Return when the run began, and whether its coordinator follows it."""
    begun = f"begun {_age(row.age_s)} ago"
    if row.ended_age_s is not None:
        ended = f"; its coordinator ended {_age(row.ended_age_s)} ago, and the same command continues it"
        return (begun, (ended, "warn"))
    if row.renewed_age_s is not None and is_stale(0.0, row.renewed_age_s):
        return (begun, (f"; its coordinator is silent for {_age(row.renewed_age_s)}", "warn"))
    return (begun,)


def _show_shard(output: CommandOutput, row: QueuedShard, run: RunRow, names: Mapping[str, str], shards: int) -> None:
    figures, worker = row.figures, row.worker or ""
    done = figures.succeeded + figures.failed
    taken = f", taken over {grouped(row.epoch - 1, 'time')}" if row.epoch > 1 else ""
    fact(
        output.out,
        "shard",
        f"{row.key.number} of {shards}, {clean(run.run.manifest)} {row.key.plan_digest[:8]}",
        (f"   {clean(names.get(worker, worker))} since {_age(row.claimed_age_s)}{taken}", "quiet"),
        f"   {done} of {grouped(row.jobs, 'job')}, {format_credits(figures.spent)} of {format_credits(row.allowance)}"
        " credits",
        (f"   stalled for {_age(row.renewed_age_s)}" if shard_state(row) == STALLED else "", "warn"),
    )


def _show_worker(output: CommandOutput, row: WorkerRow) -> None:
    silent = is_stale(0.0, row.seen_age_s)
    parts = [grouped(row.shards, "shard"), f"release {clean(row.release)}", f"started {_age(row.age_s)} ago"]
    if row.draining_age_s is not None:
        parts.append(f"draining since {_age(row.draining_age_s)}")
    fact(
        output.out,
        "worker",
        (clean(row.name), "strong"),
        (f"   {', '.join(parts)}", "quiet"),
        (f"   silent for {_age(row.seen_age_s)}" if silent else "", "warn"),
    )


def _run_json(row: RunRow, paused: PausedRun | None) -> dict[str, Json]:
    pause: Json = None
    if paused is not None:
        pause = {"by": clean(paused.source.by, 300), "via": clean(paused.source.via, 20), "age_s": paused.age_s}
    return {
        "run": row.run.run,
        "manifest": row.run.manifest,
        "run_id": row.run.run_id,
        "gateway": row.run.gateway,
        "location": row.run.location,
        "budget": format_credits(row.run.budget),
        "used": format_credits(row.run.used),
        "set_aside": format_credits(row.set_aside),
        "left": format_credits(row.left),
        "epoch": row.epoch,
        "age_s": row.age_s,
        "renewed_age_s": row.renewed_age_s,
        "ended_age_s": row.ended_age_s,
        "paused": pause,
    }


def _shard_json(row: QueuedShard, names: Mapping[str, str]) -> dict[str, Json]:
    figures = row.figures
    return {
        "run": row.key.run,
        "plan_digest": row.key.plan_digest,
        "number": row.key.number,
        "state": row.state.value,
        "stalled": shard_state(row) == STALLED,
        "epoch": row.epoch,
        "worker": None if row.worker is None else names.get(row.worker, row.worker),
        "allowance": format_credits(row.allowance),
        "spent": format_credits(figures.spent),
        "held": format_credits(figures.held),
        "ending": row.ending,
        "jobs": row.jobs,
        "admitted": row.admitted,
        "succeeded": figures.succeeded,
        "failed": figures.failed,
        "blocked": figures.blocked,
        "pending": figures.pending,
        "unknown": figures.unknown,
        "waiting_age_s": row.waiting_age_s,
        "claimed_age_s": row.claimed_age_s,
        "renewed_age_s": row.renewed_age_s,
        "ended_age_s": row.ended_age_s,
    }


def _worker_json(row: WorkerRow) -> dict[str, Json]:
    return {
        "name": row.name,
        "worker": row.worker,
        "release": row.release,
        "shards": row.shards,
        "age_s": row.age_s,
        "seen_age_s": row.seen_age_s,
        "draining_age_s": row.draining_age_s,
    }


def _age(seconds: float | None) -> str:
    return "?" if seconds is None else format_duration(max(0.0, seconds), whole=True)
