"""A worker for tests, without an engine: it claims shards, waits for a file that permits the end, and reports.

Each line of its log is an event: ``claimed NUMBER EPOCH``, ``report NUMBER EPOCH ANSWER``, ``lost NUMBER EPOCH``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

from crucible_batch.cluster import ClusterAddress, ShardFigures, ShardKey
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.cluster.queue import ShardQueue, keep_rescuing

RENEW_S = RESCUE_S = 0.2


def work(dsn: str, name: str, log: Path, gate: Path, lease_s: float) -> None:
    """Work until SIGTERM, in a process of its own. The lease is renewed whatever ``lease_s`` is."""
    logging.basicConfig(level=logging.INFO)
    asyncio.run(_work(dsn, name, log, gate, lease_s))


async def _work(dsn: str, name: str, log: Path, gate: Path, lease_s: float) -> None:
    def note(*words: object) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(" ".join(map(str, words)) + "\n")

    address = ClusterAddress.parse(dsn)
    database = await ClusterDatabase.opened(address, create=True, lease_s=lease_s)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def handle(key: ShardKey) -> None:
        claimed = await database.claim_shard(key, name)
        note(claimed.answer, key.number, claimed.epoch)
        if claimed.answer != "claimed":
            return
        figures = ShardFigures(claimed.allowance - 1, succeeded=1)
        while not gate.exists():
            if not (await database.renew_shard(key, claimed.epoch, figures)).counts:
                note("lost", key.number, claimed.epoch)
                break
            await asyncio.sleep(RENEW_S)
        answer = await database.report_shard(key, claimed.epoch, "succeeded", figures)
        note("report", key.number, claimed.epoch, answer)

    async with ShardQueue(address, lease_s=lease_s) as queue, asyncio.TaskGroup() as group:
        rescuing = group.create_task(keep_rescuing(database, queue, interval_s=RESCUE_S))
        note("ready", os.getpid())
        await queue.serve(handle, stop, name=name)
        rescuing.cancel()
    await database.close()
    note("ended")
