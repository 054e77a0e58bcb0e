"""``safe_jobs.py URL JOBS IN_FLIGHT FOLDER``: submit, look every 50 ms, download, and pay for
nothing twice, whenever it is killed.

The shortest script that keeps the promise of a run: each step is journalled before the next one
begins (SQLite, ``synchronous=FULL``, one transaction for all that wait at the same time), the
picture is opened, its digest, bytes and name are on the disk before its event, and its list of
outputs is read once more after two seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

HEADERS = {"Authorization": "Bearer moltazine_benchmark_key_of_the_usual_length"}


class Journal:
    """Events in SQLite; a call returns once its event is on the disk."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE events"
            " (seq INTEGER PRIMARY KEY, job INTEGER, type TEXT, body TEXT)"
        )
        self._waiting: list[tuple[tuple[int, str, str], asyncio.Future[None]]] = []
        self._wanted = asyncio.Event()

    async def write(self, job: int, event: str, **body: object) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((job, event, json.dumps({"at": time.time(), **body})), done))
        self._wanted.set()
        await done

    async def commit_for_ever(self) -> None:
        while await self._wanted.wait():
            self._wanted.clear()
            batch, self._waiting = self._waiting, []
            await asyncio.to_thread(self._commit, [row for row, _ in batch])
            for _, done in batch:
                done.set_result(None)

    def _commit(self, rows: list[tuple[int, str, str]]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO events (job, type, body) VALUES (?, ?, ?)", rows)
        self._database.execute("COMMIT")


def save(path: Path, content: bytes) -> str:
    """Write a picture so that it survives a power cut, and return its digest."""
    with Image.open(BytesIO(content)) as picture:
        picture.verify()
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
    return hashlib.sha256(content).hexdigest()


async def work(
    session: aiohttp.ClientSession, journal: Journal, numbers: Iterator[int], folder: Path
) -> None:
    async def job_of(job_id: str) -> Any:
        async with session.get(f"/api/v1/jobs/{job_id}", headers=HEADERS) as response:
            return (await response.json())["data"]

    async def look_again(number: int, job_id: str, known: int) -> None:
        await asyncio.sleep(2)
        if len((await job_of(job_id))["outputs"]) != known:
            raise RuntimeError("more outputs")
        await journal.write(number, "listed")

    async with asyncio.TaskGroup() as later:
        for number in numbers:
            key = f"floor-{folder.name}-{number}"
            wanted = {
                "workflow_id": "zimage-base",
                "params": {"prompt.text": f"lighthouse {number}"},
                "idempotency_key": key,
            }
            await journal.write(number, "held", key=key, credits="1")
            async with session.post("/api/v1/generate", json=wanted, headers=HEADERS) as response:
                job = (await response.json())["data"]
            job_id = job["job_id"]
            await journal.write(number, "accepted", job_id=job_id, credits=job["requested_credits"])
            while job["status"] != "succeeded":
                await asyncio.sleep(0.05)
                job = await job_of(job_id)
            outputs = job["outputs"]
            await journal.write(number, "succeeded", outputs=outputs)
            async with session.get(outputs[0]["url"]) as response:
                content = await response.read()
            digest = await asyncio.to_thread(save, folder / f"{number}.png", content)
            await journal.write(number, "saved", digest=digest, size=len(content))
            later.create_task(look_again(number, job_id, len(outputs)))


async def main(url: str, jobs: int, in_flight: int, folder: Path) -> None:
    journal = Journal(folder / "journal.sqlite3")
    committing = asyncio.create_task(journal.commit_for_ever())
    numbers = iter(range(jobs))
    async with aiohttp.ClientSession(url) as session, asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work(session, journal, numbers, folder))
    committing.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
