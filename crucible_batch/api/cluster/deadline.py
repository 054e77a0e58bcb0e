"""The deadline of a run on a cluster: nothing is bought after it, on any machine.

The coordinator stores it in the database, as a time of the database's clock. A worker learns with a claim how much time
is left, and counts it down from the moment at which the claim was sent.

    a shard at the deadline                      what happens
    runs                                         its run ends, as any run at its deadline; the worker reports it
    waits                                        ended by the coordinator, or by the next worker that claims it
    runs, and its worker is silent for a lease   ended by the coordinator, or by the next worker that claims it
    ended                                        nothing

A shard that is ended in this way keeps its complete allowance until its journal is merged: what its earlier owners have
spent is read there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from crucible_batch.api.cancellation import Deadline
from crucible_batch.cluster import ClaimedShard, QueuedShard, ShardFigures
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.outcome import RunStatus
from crucible_batch.domain.shard_lease import ClaimAnswer, ShardState

_PROMPT_S = 1.0
"""A database that answers within this time counts the same time as the coordinator."""
LATE = RunStatus.STOPPED.value
"""How a shard ended that was not begun before the deadline."""


def unread_figures(claimed: ClaimedShard, known: ShardFigures) -> ShardFigures:
    """Return the figures of a shard that this owner did not run: the complete allowance may be spent, or is held."""
    return replace(known, held=max(known.held, claimed.allowance - known.spent))


async def store_deadline(
    database: ClusterDatabase, run: str, epoch: int, deadline: Deadline, monotonic: Callable[[], float] = time.monotonic
) -> None:
    """Store the deadline of a run, or that there is none. If the database was away meanwhile, less time is left."""
    while True:
        began, left_s = monotonic(), deadline.left_s
        await database.set_deadline(run, epoch, left_s)
        if not left_s or monotonic() - began < _PROMPT_S:
            return


async def end_late(database: ClusterDatabase, rows: Iterable[QueuedShard], worker: str) -> None:
    """End the shards that no worker runs. Only after the deadline. ``worker`` is the id of the coordinator."""
    for row in rows:
        if row.state in (ShardState.WAITING, ShardState.RUNNING):
            claimed = await database.claim_shard(row.key, worker)
            if claimed.answer is ClaimAnswer.CLAIMED:
                await database.report_shard(row.key, claimed.epoch, LATE, unread_figures(claimed, row.figures))
