"""``aiohttp_jobs.py URL JOBS IN_FLIGHT FOLDER``: submit, look every 50 ms, download, and hope that
nothing happens meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp

HEADERS = {"Authorization": "Bearer moltazine_benchmark_key_of_the_usual_length"}


async def work(
    session: aiohttp.ClientSession, url: str, numbers: Iterator[int], folder: Path
) -> None:
    for number in numbers:
        wanted = {
            "workflow_id": "zimage-base",
            "params": {"prompt.text": f"lighthouse {number}"},
            "idempotency_key": f"floor-{folder.name}-{number}",
        }
        async with session.post(f"{url}/api/v1/generate", json=wanted, headers=HEADERS) as response:
            job_id = (await response.json())["data"]["job_id"]
        while True:
            await asyncio.sleep(0.05)
            async with session.get(f"{url}/api/v1/jobs/{job_id}", headers=HEADERS) as response:
                job = (await response.json())["data"]
            if job["status"] == "succeeded":
                break
        async with session.get(job["outputs"][0]["url"]) as response:
            with (folder / f"{number}.png").open("wb") as file:
                async for chunk in response.content.iter_chunked(256 * 1024):
                    file.write(chunk)


async def main(url: str, jobs: int, in_flight: int, folder: Path) -> None:
    numbers = iter(range(jobs))
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work(session, url, numbers, folder))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
