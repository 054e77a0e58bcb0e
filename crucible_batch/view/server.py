"""The viewer's HTTP server, on one port of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from crucible_batch.local_server import LocalServer, bind
from crucible_batch.option_values import LOOPBACK
from crucible_batch.view.app import create_app
from crucible_batch.view.runs import Runs


def run_viewer(root: Path, port: int, on_ready: Callable[[str], None], *, token: str | None = None) -> None:
    """Serve the runs at and below ``root`` until SIGINT or SIGTERM; ``port`` 0 chooses a free one.

    With ``token``, runs take commands from their pages. ``on_ready`` is called with the address once it can be opened.
    Raises ``UserError`` if the port is in use.
    """
    with contextlib.closing(bind(LOOPBACK, port, "--port")) as listening:
        asyncio.run(_serve(root, listening, on_ready, token))


async def _serve(root: Path, listening: socket.socket, on_ready: Callable[[str], None], token: str | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    server = LocalServer(create_app(Runs(root), stopping, token))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listening]))
        await server.listening.wait()
        on_ready(f"http://{LOOPBACK}:{listening.getsockname()[1]}/")
        await stopping.wait()
        server.should_exit = True
