"""The sandbox on the network: two origins on two ports, in the running event loop or on its own."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from crucible_batch.sandbox.app import create_api
from crucible_batch.sandbox.config import Running, SandboxConfig
from crucible_batch.sandbox.fault_injection import TRANSPORT
from crucible_batch.sandbox.gateway import Gateway
from crucible_batch.sandbox.judge import judge
from crucible_batch.sandbox.storage import create_storage
from crucible_batch.sandbox.store import Store
from crucible_batch.sandbox.verdict import Served, Verdict

_HOST = "127.0.0.1"
_SIGNALLED = 128
"""Plus the number of the signal: the exit code of a process in shells."""


@contextlib.asynccontextmanager
async def serve(
    config: SandboxConfig, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[Running]:
    """Serve until the block is left. Raises OSError for a port or a state file that is taken."""
    async with _serve(config, clock) as (running, _gateway):
        yield running


@contextlib.asynccontextmanager
async def _serve(
    config: SandboxConfig, clock: Callable[[], float]
) -> AsyncIterator[tuple[Running, Gateway]]:
    with (
        contextlib.closing(_bind(config.api_port)) as api_socket,
        contextlib.closing(_bind(config.storage_port)) as storage_socket,
        Store(config.state) as store,
    ):
        gateway = Gateway(config, store, clock)
        gateway.storage_url = _url(storage_socket)
        api, storage = create_api(gateway), create_storage(gateway)
        async with _listen([(api, api_socket), (storage, storage_socket)]):
            try:
                first_key = next(iter(config.accounts))
                yield Running(_url(api_socket), gateway.storage_url, first_key), gateway
            finally:
                gateway.stopping.set()


def run_forever(config: SandboxConfig, on_ready: Callable[[str, str, str], None]) -> Verdict:
    """Serve until SIGINT or SIGTERM, and judge what the clients did.

    `on_ready(api_url, storage_url, key)` is called once both ports listen.
    """

    async def main() -> Verdict:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with _serve(config, time.time) as (running, gateway):
            on_ready(running.api_url, running.storage_url, running.api_key)
            await stop.wait()
        return judge(gateway)

    return asyncio.run(main())


def run_client(config: SandboxConfig, command: Sequence[str], env: Mapping[str, str]) -> Served:
    """Serve until a client ends, and judge it.

    The address and the key are added to `env`. A SIGTERM is passed on to the client. Ctrl-C is left
    to it: a terminal sends SIGINT to both. Raises OSError also if the client can't be started.
    """

    async def main() -> Served:
        async with _serve(config, time.time) as (running, gateway):
            added = {
                "MOLTAZINE_API_KEY": running.api_key,
                "CRUCIBLE_API_BASE": running.api_url,
            }
            client = await asyncio.create_subprocess_exec(*command, env={**env, **added})
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGINT, lambda: None)
            loop.add_signal_handler(signal.SIGTERM, client.terminate)
            code = await client.wait()
        if code < 0:
            code = _SIGNALLED - code
        return Served(judge(gateway), code)

    return asyncio.run(main())


class _Protocol(H11Protocol):
    """HTTP/1.1 that lets the application close the connection.

    It puts the transport into the scope of each request.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}


class _Server(uvicorn.Server):
    """A server that starts and stops immediately, and leaves the signals to its host."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        while not self.stopping.is_set():
            await self.on_tick(0)  # renews the Date header
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self.stopping.wait()


@contextlib.asynccontextmanager
async def _listen(origins: list[tuple[Starlette, socket.socket]]) -> AsyncIterator[None]:
    servers = [_Server(_uvicorn_config(app)) for app, _ in origins]
    # Not in a TaskGroup: that would wrap whatever the caller's block raises into an ExceptionGroup.
    tasks = [
        asyncio.create_task(server.serve(sockets=[sock]))
        for server, (_, sock) in zip(servers, origins, strict=True)
    ]
    try:
        for server in servers:
            await server.listening.wait()
        yield
    finally:
        for server in servers:
            server.stopping.set()
        for task in tasks:
            await task


def _uvicorn_config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nobody asks where a request comes from
        timeout_graceful_shutdown=1,  # a client that keeps reading must not keep the process alive
    )


def _bind(port: int) -> socket.socket:
    listening = socket.create_server((_HOST, port))
    # Connections inherit it. Without it each answer on a kept-alive connection waits some 40 ms for
    # the client's delayed acknowledgement (RFC 896 meets RFC 1122, 4.2.3.2).
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _url(sock: socket.socket) -> str:
    port: int = sock.getsockname()[1]
    return f"http://{_HOST}:{port}"
