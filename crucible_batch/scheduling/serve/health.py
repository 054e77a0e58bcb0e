"""The health endpoint of a scheduler: its status as JSON, for probes and people."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from crucible_batch.local_server import LocalServer, bind


def health_app(status: Callable[[], Mapping[str, Any]]) -> Starlette:
    """Return an application that answers ``GET /health`` with 200 if the status is ``ok``, and otherwise with 503."""

    async def health(_request: Request) -> JSONResponse:
        content = status()
        return JSONResponse(content, status_code=200 if content["status"] == "ok" else 503)

    return Starlette(routes=[Route("/health", health)])


@asynccontextmanager
async def serving_health(address: tuple[str, int], status: Callable[[], Mapping[str, Any]]) -> AsyncIterator[str]:
    """Serve the endpoint during the block, and give its URL. Raises ``UserError`` if the address is not available."""
    with contextlib.closing(bind(*address, "--health")) as listening:
        server = LocalServer(health_app(status))
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening]))
            host, port = listening.getsockname()[:2]
            try:
                yield f"http://{f'[{host}]' if ':' in host else host}:{port}/health"
            finally:
                server.should_exit = True
