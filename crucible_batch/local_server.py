"""An HTTP server beside other work in one event loop: its socket, and Uvicorn without signal handlers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from crucible_batch.errors import UserError


def bind(host: str, port: int, option: str) -> socket.socket:
    """Return a listening socket; ``port`` 0 chooses a free one. ``option`` is that of the address.

    Raises ``UserError`` if the address is not available.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        # ``create_server`` adds the address to ``strerror``; a name that is unknown has a negative number.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror
        raise UserError(
            f"port {port} of {host} is not available: {reason}", hint=f"choose another {option}; 0 chooses a free port"
        ) from None


class LocalServer(uvicorn.Server):
    """Uvicorn's server with an event that is set once it listens. ``should_exit`` ends it, and no signal does."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,  # an open browser connection must not keep the process alive
            )
        )
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()
