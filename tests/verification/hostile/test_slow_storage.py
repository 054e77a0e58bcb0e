"""A storage that is slower than the gateway: what is bought waits for nothing that is bought after
it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.verification.hostile.conftest import MANIFEST
from tests.verification.hostile.gateway import HostileGateway, Reply, http, serving


async def test_nothing_is_bought_past_downloads_that_wait(run, tmp_path: Path) -> None:
    """Paid pictures may expire at the gateway: no more of them wait than there are slots."""
    go_on = asyncio.Event()
    bought_meanwhile: list[int] = []

    async def wait(reply: Reply, writer: asyncio.StreamWriter) -> None:
        if not go_on.is_set():
            await asyncio.sleep(0.2)  # long enough for any number of submits on this machine
            bought_meanwhile.append(len(gateway.jobs))
            go_on.set()
        writer.write(http(reply.status, reply.body))

    more = "jobs:\n  - {name: more, prompt: a fox, repeat: 12}\n"
    manifest = MANIFEST.replace("jobs:\n", more).replace("credits: 10", "credits: 100")
    (tmp_path / "m.yaml").write_text(manifest)
    gateway = HostileGateway("download", wait)
    async with serving(gateway):
        result = await run(gateway, concurrency=3)
    assert result.ok
    assert len(gateway.jobs) == 13
    assert 1 <= bought_meanwhile[0] <= 3
