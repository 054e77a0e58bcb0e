"""A run that ends while a submit is on its way, so that the next one finds it in doubt."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import httpx
import pytest


async def leave_in_doubt(
    bench: Any, tampered: Any, manifest: Path, *, answered: int, arrives: bool
) -> None:
    """End a run at the submit after ``answered`` others.

    It never arrives, or its answer is lost (``arrives``).
    """
    submits = itertools.count()

    async def hang(request: httpx.Request, send: Any) -> httpx.Response:
        if request.url.path.endswith("/generate") and next(submits) >= answered:
            if arrives:
                await send()
            asyncio.get_running_loop().call_later(0.02, task.cancel)
            await asyncio.sleep(5)
        answer: httpx.Response = await send()
        return answer

    task = asyncio.ensure_future(bench.run(manifest, transport=tampered(hang)))
    with pytest.raises(asyncio.CancelledError):
        await task
