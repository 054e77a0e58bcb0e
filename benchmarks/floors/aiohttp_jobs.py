"""``aiohttp_jobs.py URL JOBS IN_FLIGHT FOLDER [synced]``: submit, look every 50 ms, download.

With ``synced`` it does in a thread what none can go without who must not lose a picture that is
paid for: its digest, its bytes and its name on the disk before anything says that it is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp

HEADERS = {"Authorization": "Bearer moltazine_benchmark_key_of_the_usual_length"}


def write_synced(path: Path, content: bytes) -> None:
    hashlib.sha256(content).hexdigest()
    with path.with_suffix(".part").open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.with_suffix(".part").rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def work(
    session: aiohttp.ClientSession,
    url: str,
    numbers: Iterator[int],
    folder: Path,
    *,
    is_synced: bool,
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
            if is_synced:
                await asyncio.to_thread(
                    write_synced, folder / f"{number}.png", await response.read()
                )
                continue
            with (folder / f"{number}.png").open("wb") as file:
                async for chunk in response.content.iter_chunked(256 * 1024):
                    file.write(chunk)


async def main(url: str, jobs: int, in_flight: int, folder: Path, *, is_synced: bool) -> None:
    numbers = iter(range(jobs))
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work(session, url, numbers, folder, is_synced=is_synced))


if __name__ == "__main__":
    asyncio.run(
        main(
            sys.argv[1],
            int(sys.argv[2]),
            int(sys.argv[3]),
            Path(sys.argv[4]),
            is_synced=sys.argv[5:] == ["synced"],
        )
    )
