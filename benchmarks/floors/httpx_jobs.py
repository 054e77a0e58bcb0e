"""``httpx_jobs.py URL JOBS IN_FLIGHT FOLDER``: the same with httpx as it comes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

HEADERS = {"Authorization": "Bearer moltazine_benchmark_key_of_the_usual_length"}


async def work(client: httpx.AsyncClient, url: str, numbers: Iterator[int], folder: Path) -> None:
    for number in numbers:
        wanted = {
            "workflow_id": "zimage-base",
            "params": {"prompt.text": f"lighthouse {number}"},
            "idempotency_key": f"httpx-{folder.name}-{number}",
        }
        response = await client.post(f"{url}/api/v1/generate", json=wanted, headers=HEADERS)
        job_id = response.json()["data"]["job_id"]
        while True:
            await asyncio.sleep(0.05)
            job = (await client.get(f"{url}/api/v1/jobs/{job_id}", headers=HEADERS)).json()["data"]
            if job["status"] == "succeeded":
                break
        async with client.stream("GET", job["outputs"][0]["url"]) as response:
            with (folder / f"{number}.png").open("wb") as file:
                async for chunk in response.aiter_bytes():
                    file.write(chunk)


async def main(url: str, jobs: int, in_flight: int, folder: Path) -> None:
    numbers = iter(range(jobs))
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with (
        httpx.AsyncClient(limits=limits, timeout=None) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(in_flight):
            group.create_task(work(client, url, numbers, folder))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
