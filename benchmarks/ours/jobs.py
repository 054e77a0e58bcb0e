"""``jobs.py URL JOBS IN_FLIGHT FOLDER``: the floor's loop by our client and output store, without
engine and journal.

As in a run, a job's list of outputs is read once more after they were saved.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from crucible_batch.core.gateway_types import JobStatus
from crucible_batch.gateway import HttpGateway, open_gateway
from crucible_batch.outputs import OutputStore


async def work(gateway: HttpGateway, store: OutputStore, name: str, numbers: Iterator[int]) -> None:
    for number in numbers:
        params = {"prompt.text": f"lighthouse {number}"}
        job_id = (await gateway.submit("zimage-base", params, key=f"ours-{name}-{number}")).job_id
        while True:
            await asyncio.sleep(0.05)
            job = await gateway.job(job_id)
            if job.status is JobStatus.SUCCEEDED:
                break
        assert job.outputs[0].url is not None
        async with gateway.download(job.outputs[0].url) as (length, body):
            await store.save("{index}{ext}", number, str(number), body, length)
        await gateway.job(job_id)


async def main(url: str, jobs: int, in_flight: int, folder: Path) -> None:
    numbers = iter(range(jobs))
    async with (
        open_gateway(url, "moltazine_benchmark_key_of_the_usual_length") as gateway,
        asyncio.TaskGroup() as group,
    ):
        store = OutputStore(folder)
        for _ in range(in_flight):
            group.create_task(work(gateway, store, folder.name, numbers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
