"""``aiohttp_uploads.py URL COUNT AT_ONCE BYTES``: the same three requests an image, by a bare
aiohttp script.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from io import BytesIO

import aiohttp

HEADERS = {"Authorization": "Bearer moltazine_benchmark_key_of_the_usual_length"}


async def work(
    session: aiohttp.ClientSession, url: str, content: bytes, numbers: Iterator[int]
) -> None:
    for number in numbers:
        wanted = {"mime_type": "image/png", "byte_size": len(content), "filename": f"{number}.png"}
        async with session.post(f"{url}/api/v1/assets", json=wanted, headers=HEADERS) as response:
            asset = (await response.json())["data"]
        # A stream, since aiohttp warns of megabytes that are given at once.
        async with session.put(
            asset["upload_url"], data=BytesIO(content), headers={"Content-Type": "image/png"}
        ):
            pass
        async with session.get(
            f"{url}/api/v1/assets/{asset['asset_id']}", headers=HEADERS
        ) as response:
            assert (await response.json())["data"]["status"] == "ready"


async def main(url: str, count: int, at_once: int, content: bytes) -> None:
    numbers = iter(range(count))
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work(session, url, content, numbers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes(int(sys.argv[4]))))
