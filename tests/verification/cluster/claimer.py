"""A worker for tests, without an engine: it claims shards, waits for a file that permits the end, and reports.

    python -m tests.verification.cluster.claimer DSN NAME LOG GATE

Each line of LOG is an event: ``claimed NUMBER EPOCH``, ``report NUMBER EPOCH ANSWER``, ``lost NUMBER EPOCH``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from crucible_batch.cluster import ClusterAddress, ShardFigures, ShardKey
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.cluster.queue import ShardQueue, keep_rescuing

LEASE_S, RENEW_S, RESCUE_S = 2.0, 0.4, 0.5


async def main(dsn: str, name: str, log: Path, gate: Path) -> None:
    def note(*words: object) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(" ".join(map(str, words)) + "\n")

    address = ClusterAddress.parse(dsn)
    database = await ClusterDatabase.opened(address, create=True, lease_s=LEASE_S)
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

    async with ShardQueue(address, lease_s=LEASE_S) as queue, asyncio.TaskGroup() as group:
        rescuing = group.create_task(keep_rescuing(database, queue, interval_s=RESCUE_S))
        note("ready", os.getpid())
        await queue.serve(handle, stop, name=name)
        rescuing.cancel()
    await database.close()
    note("ended")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    dsn, name, log, gate = sys.argv[1:]
    asyncio.run(main(dsn, name, Path(log), Path(gate)))
