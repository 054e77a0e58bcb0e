"""A cluster as text and JSON, and the workers that were asked to drain."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from crucible_batch.api import (
    QueuedShard,
    RunRow,
    ShardState,
    WorkerRow,
    clean,
    cluster_status,
    drain_workers,
    format_credits,
    is_stale,
)
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.terminal import Json, fact, say
from crucible_batch.cli.units import format_duration

SHOWN = 20


def show_cluster(answer: CommandOutput, dsn: str | None) -> None:
    """Show a cluster's runs that have not ended, their running shards, and the workers."""
    view = asyncio.run(cluster_status(dsn))
    found, out = view.status, answer.out
    names = {worker.worker: worker.name for worker in found.workers}
    runs = {row.run.run: row for row in found.runs}
    answer.data = {
        "database": view.shown,
        "level": found.level,
        "queue_age_s": found.queue_age_s,
        "runs": [_run_json(row) for row in found.runs],
        "shards": [_shard_json(row, names) for row in found.shards],
        "workers": [_worker_json(row) for row in found.workers],
    }
    waiting = sum(row.state is ShardState.WAITING for row in found.shards)
    queue = "no shard waits" if found.queue_age_s is None else f"{_count(waiting, 'shard')} waiting"
    say(out, (clean(view.shown, 300), "strong"))
    oldest = "" if found.queue_age_s is None else f", the oldest for {_age(found.queue_age_s)}"
    fact(out, "queue", f"{queue}{oldest}")
    active = [row for row in found.runs if row.ended_age_s is None]
    for row in active[:SHOWN]:
        _show_run(answer, row, [shard for shard in found.shards if shard.key.run == row.run.run])
    running = [row for row in found.shards if row.state is ShardState.RUNNING]
    for shard in running[:SHOWN]:
        _show_shard(answer, shard, runs[shard.key.run], names)
    for worker in found.workers[:SHOWN]:
        _show_worker(answer, worker)
    if not found.workers:
        fact(out, "workers", "no worker was seen within a day")
    if max(len(active), len(running), len(found.workers)) > SHOWN:
        say(out, ("  … and more; --json has them all", "quiet"))


def drain_and_show(answer: CommandOutput, names: Sequence[str], dsn: str | None) -> None:
    """Ask workers to drain, and show how many shards each of them still has."""
    asked = asyncio.run(drain_workers(names, dsn))
    answer.data = {"workers": [_worker_json(row) for row in asked]}
    if answer.quiet:
        return
    for row in asked:
        has = f"ends after {_count(row.shards, 'shard')}" if row.shards else "has no shard"
        say(answer.out, ("✓ ", "good"), (clean(row.name), "strong"), f" takes no further shards; it {has}")
    if not asked:
        say(answer.out, "no worker is registered")


def _show_run(answer: CommandOutput, row: RunRow, shards: Sequence[QueuedShard]) -> None:
    name = f"{clean(row.run.manifest)} ({clean(row.run.run_id)})"
    fact(answer.out, "run", (name, "strong"), (f"   {clean(row.run.location, 4000)}", "quiet"))
    used, aside, left = map(format_credits, (row.run.used, row.set_aside, row.left))
    budget = format_credits(row.run.budget)
    fact(answer.out, "", f"{budget} credits: {used} used, {aside} set aside for shards, {left} left")
    states = Counter(shard.state for shard in shards)
    parts = ", ".join(f"{states[state]} {state.value}" for state in ShardState if states[state])
    words = f"{_count(len(shards), 'shard')}: {parts}" if shards else "no shards yet"
    is_silent = row.renewed_age_s is not None and is_stale(0.0, row.renewed_age_s)
    note = f"   its coordinator is silent for {_age(row.renewed_age_s)}" if is_silent else ""
    fact(answer.out, "", words, (note, "warn"))


def _show_shard(answer: CommandOutput, row: QueuedShard, run: RunRow, names: Mapping[str, str]) -> None:
    figures, worker = row.figures, row.worker or ""
    done = figures.succeeded + figures.failed
    what = f"{clean(run.run.manifest)} {row.key.plan_digest[:8]} {row.key.number}"
    stalled = _is_stalled(row)
    fact(
        answer.out,
        "shard",
        what,
        (f"   {clean(names.get(worker, worker))} since {_age(row.claimed_age_s)}, epoch {row.epoch}", "quiet"),
        f"   {done} of {_count(row.jobs, 'job')}, {format_credits(figures.spent)} of {format_credits(row.allowance)}"
        " credits",
        (f"   stalled for {_age(row.renewed_age_s)}" if stalled else "", "warn"),
    )


def _show_worker(answer: CommandOutput, row: WorkerRow) -> None:
    silent = is_stale(0.0, row.seen_age_s)
    parts = [_count(row.shards, "shard"), f"release {clean(row.release)}", f"started {_age(row.age_s)} ago"]
    if row.draining_age_s is not None:
        parts.append(f"draining since {_age(row.draining_age_s)}")
    fact(
        answer.out,
        "worker",
        (clean(row.name), "strong"),
        (f"   {', '.join(parts)}", "quiet"),
        (f"   silent for {_age(row.seen_age_s)}" if silent else "", "warn"),
    )


def _is_stalled(row: QueuedShard) -> bool:
    return row.state is ShardState.RUNNING and row.renewed_age_s is not None and is_stale(0.0, row.renewed_age_s)


def _run_json(row: RunRow) -> dict[str, Json]:
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
    }


def _shard_json(row: QueuedShard, names: Mapping[str, str]) -> dict[str, Json]:
    figures = row.figures
    return {
        "run": row.key.run,
        "plan_digest": row.key.plan_digest,
        "number": row.key.number,
        "state": row.state.value,
        "stalled": _is_stalled(row),
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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
