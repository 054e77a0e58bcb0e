"""``looks.py URL REQUESTS IN_FLIGHT``: look at one job so often; prints the CPU seconds of a
request.
"""

from __future__ import annotations

import asyncio
import sys
import time

from crucible_batch.gateway import open_gateway


async def main(url: str, requests: int, in_flight: int) -> None:
    async with open_gateway(url, "moltazine_benchmark_key_of_the_usual_length") as gateway:
        job_id = (await gateway.submit("zimage-base", {}, key="looks")).job_id

        async def work(times: int) -> None:
            for _ in range(times):
                await gateway.job(job_id)

        async def all_of(times: int) -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(work(times))

        await all_of(2)  # the connections are made
        began = time.process_time()
        await all_of(requests // in_flight)
        print((time.process_time() - began) / (requests // in_flight * in_flight))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
