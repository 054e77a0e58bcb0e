"""The endpoints of a scheduler: its status as JSON, for probes and people.

path       answers 503 if                           for
/health    it is stuck or stopping                  probes that restart it
/ready     so does /health, or any manifest         monitoring: a restart corrects no manifest, and would stop the
           is invalid                               runs of the valid ones
"""

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
    """Return an application that answers ``GET /health`` and ``GET /ready`` with the status, and 200 or 503."""

    async def health(_request: Request) -> JSONResponse:
        content = status()
        return JSONResponse(content, status_code=200 if content["status"] == "ok" else 503)

    async def ready(_request: Request) -> JSONResponse:
        content = status()
        return JSONResponse(content, status_code=200 if content["status"] == "ok" and not content["problems"] else 503)

    return Starlette(routes=[Route("/health", health), Route("/ready", ready)])


@asynccontextmanager
async def serving_health(address: tuple[str, int], status: Callable[[], Mapping[str, Any]]) -> AsyncIterator[str]:
    """Serve the endpoints during the block, and give the URL of ``/health``.

    Raises ``UserError`` if the address is not available.
    """
    with contextlib.closing(bind(*address, "--health")) as listening:
        server = LocalServer(health_app(status))
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening]))
            host, port = listening.getsockname()[:2]
            try:
                yield f"http://{f'[{host}]' if ':' in host else host}:{port}/health"
            finally:
                server.should_exit = True
