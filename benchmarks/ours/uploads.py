"""``uploads.py URL COUNT AT_ONCE BYTES``: for each image an intent, its bytes, and a look at the
asset.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

from crucible_batch.core.gateway_types import AssetSpec
from crucible_batch.gateway import HttpGateway, open_gateway


async def work(gateway: HttpGateway, content: bytes, numbers: Iterator[int]) -> None:
    for number in numbers:
        spec = AssetSpec(
            sha256="0" * 64, mime_type="image/png", byte_size=len(content), filename=f"{number}.png"
        )
        intent = await gateway.create_asset(spec, nonce=str(number))
        await gateway.upload(intent, spec, content)
        await gateway.asset(intent.asset_id)


async def main(url: str, count: int, at_once: int, content: bytes) -> None:
    numbers = iter(range(count))
    async with (
        open_gateway(url, "moltazine_benchmark_key_of_the_usual_length") as gateway,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(at_once):
            group.create_task(work(gateway, content, numbers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes(int(sys.argv[4]))))
