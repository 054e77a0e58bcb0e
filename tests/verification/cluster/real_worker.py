"""A real worker with short leases, so that tests needn't wait for those of production.

    python -m tests.verification.cluster.real_worker

The database and the gateway are those of the environment. Its log is on stderr.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal

from crucible_batch.api.cluster_worker import WorkerPace, run_worker
from crucible_batch.cluster import ClusterAddress

PACE = WorkerPace(lease_s=4.0, renew_s=0.5, rescue_s=0.5)


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_worker(ClusterAddress.resolve(None, os.environ), stop, pace=PACE)
    logging.getLogger("crucible_batch").info("ended in good order")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
