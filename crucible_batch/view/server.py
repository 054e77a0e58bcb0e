"""The viewer's HTTP server, on one port of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from crucible_batch.errors import UserError
from crucible_batch.view.app import create_app
from crucible_batch.view.runs import Runs

_HOST = "127.0.0.1"


def run_viewer(root: Path, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve the runs at and below ``root`` until SIGINT or SIGTERM; ``port`` 0 takes a free one.

    ``on_ready`` is called with the address once it can be opened. Raises ``UserError`` for a port that is taken.
    """
    with contextlib.closing(_bind(port)) as listening:
        asyncio.run(_serve(root, listening, on_ready))


async def _serve(root: Path, listening: socket.socket, on_ready: Callable[[str], None]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    server = _Server(create_app(Runs(root), stopping))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listening]))
        await server.listening.wait()
        on_ready(f"http://{_HOST}:{listening.getsockname()[1]}/")
        await stopping.wait()
        server.should_exit = True


class _Server(uvicorn.Server):
    """Uvicorn's server with an event that is set once it listens, and without signal handlers."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,  # a browser that keeps a connection must not keep the process alive
            )
        )
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def _bind(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port))
    except OSError as error:
        raise UserError(
            f"port {port} can't be had: {os.strerror(error.errno or 0)}", hint="another --port; 0 takes a free one"
        ) from error
