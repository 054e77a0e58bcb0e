"""``downloads.py URL COUNT AT_ONCE FOLDER``: download pictures as a run does: checked, hashed,
synced, then named.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from crucible_batch.gateway import HttpGateway, open_gateway
from crucible_batch.outputs import OutputStore


async def work(gateway: HttpGateway, store: OutputStore, url: str, numbers: Iterator[int]) -> None:
    for number in numbers:
        async with gateway.download(f"{url}/files/{number}.png") as (length, body):
            await store.save("{index}{ext}", number, str(number), body, length)


async def main(url: str, count: int, at_once: int, folder: Path) -> None:
    numbers = iter(range(count))
    async with (
        open_gateway(url, "moltazine_benchmark_key_of_the_usual_length") as gateway,
        asyncio.TaskGroup() as group,
    ):
        store = OutputStore(folder)
        for _ in range(at_once):
            group.create_task(work(gateway, store, url, numbers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
