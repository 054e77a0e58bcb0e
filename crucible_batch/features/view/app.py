"""The viewer over HTTP, on one port of the loopback interface: server, routes and middleware.

All is read-only except for commands to runs, and what features save with them.
"""

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
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crucible_batch.errors import CrucibleBatchError, UserError
from crucible_batch.features import found
from crucible_batch.features.view.control import (
    PATH,
    SAVE_PATH,
    ControlRequests,
    SaveRequests,
)
from crucible_batch.features.view.feed import list_feed, run_feed
from crucible_batch.features.view.pages import Page, list_page, run_data, run_page
from crucible_batch.features.view.pictures import ThumbnailServer, picture
from crucible_batch.features.view.runs import Runs, ShownRun
from crucible_batch.option_values import LOOPBACK

HOSTS = (LOOPBACK, "localhost")
"""Allowed ``Host`` names: after DNS rebinding, a foreign page still sends its own.

Any port is allowed, since an SSH tunnel changes it.
"""
_METHODS = {"GET", "HEAD"}
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    # No page of another origin may embed our pictures or keep a reference to our window.
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def run_viewer(
    root: Path, port: int, on_ready: Callable[[str], None], *, token: str | None
) -> None:
    """Serve the runs at and below ``root`` until SIGINT or SIGTERM; ``port`` 0 chooses a free one.

    With ``token``, runs take commands from their pages. ``on_ready`` is called with the address
    once it can be opened. Raises ``UserError`` if the port is in use.
    """
    with contextlib.closing(_bind(port)) as listening:
        asyncio.run(_serve(root, listening, on_ready, token))


async def _serve(
    root: Path, listening: socket.socket, on_ready: Callable[[str], None], token: str | None
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    runs = Runs(root)
    server = _Server(create_app(runs, stopping, token))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listening]))
        await server.listening.wait()
        on_ready(f"http://{LOOPBACK}:{listening.getsockname()[1]}/")
        group.create_task(runs.read_ahead())
        await stopping.wait()
        server.should_exit = True


def _bind(port: int) -> socket.socket:
    """Return a listening socket. Raises ``UserError`` if the port is not available."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # ``create_server`` adds the address to ``strerror``
        raise UserError(
            f"port {port} of {LOOPBACK} is not available: {reason}",
            hint="choose another --port; 0 chooses a free port",
        ) from None


class _Server(uvicorn.Server):
    """Uvicorn's server, with an event that is set once it listens.

    It handles no signals: ``should_exit`` ends it.
    """

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # An open browser connection must not keep the process alive.
                timeout_graceful_shutdown=1,
            )
        )
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class _Headers:
    """Adds the headers that a response doesn't set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)


class _ReadOnly:
    """Refuses every method but GET and HEAD, except POST below ``posts``."""

    def __init__(self, app: ASGIApp, posts: tuple[str, ...]) -> None:
        self._app = app
        self._posts = posts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._allows(scope):
            await self._app(scope, receive, send)
            return
        refused = PlainTextResponse("This page only shows.\n", 405, headers={"allow": "GET, HEAD"})
        await refused(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] in _METHODS:
            return True
        if scope["method"] != "POST":
            return False
        path: str = scope["path"]
        return path.startswith(self._posts)


class Viewer:
    def __init__(self, runs: Runs, stopping: asyncio.Event, *, is_controlled: bool) -> None:
        self._is_controlled = is_controlled
        self._runs = runs
        self._stopping = stopping
        self._thumbnails = ThumbnailServer()

    async def list(self, _request: Request) -> Response:
        entries = await self._runs.entries()
        return _html(
            list_page(
                entries, self._runs.root, count=self._runs.count, is_controlled=self._is_controlled
            )
        )

    async def list_events(self, _request: Request) -> Response:
        return StreamingResponse(
            list_feed(self._runs, self._stopping), media_type="text/event-stream"
        )

    async def page(self, request: Request) -> Response:
        run = await self._run(request)
        return _html(
            await run.read(
                lambda watch: run_page(watch, run.key, is_controlled=self._is_controlled)
            )
        )

    async def data(self, request: Request) -> Response:
        run = await self._run(request)
        return Response(
            await run.read(lambda watch: run_data(watch, run.key)), media_type="application/json"
        )

    async def events(self, request: Request) -> Response:
        run = await self._run(request)
        edition, after, commands = (
            _number(request, name) for name in ("edition", "after", "commands")
        )
        fields = request.query_params.get("fields")
        feed = run_feed(run, edition, after, self._stopping, commands=commands, fields=fields)
        return StreamingResponse(feed, media_type="text/event-stream")

    async def output(self, request: Request) -> Response:
        return await picture(await self._run(request), request.path_params["path"])

    async def thumbnail(self, request: Request) -> Response:
        return await self._thumbnails.answer(
            await self._run(request), request.path_params["sha256"]
        )

    async def directory(self, request: Request) -> Path:
        """Return the directory of the run that a request names. Raises ``HTTPException``."""
        return (await self._run(request)).directory

    async def _run(self, request: Request) -> ShownRun:
        run = await self._runs.get(request.path_params["key"])
        if run is None:
            raise HTTPException(404)
        return run


def create_app(runs: Runs, stopping: asyncio.Event, token: str | None) -> Starlette:
    """Make the application. Setting ``stopping`` ends the event streams.

    Runs take commands from their pages with ``token``; without one, nothing can be changed.
    """
    viewer = Viewer(runs, stopping, is_controlled=token is not None)
    routes = [
        Route("/", viewer.list),
        Route("/favicon.ico", lambda _request: Response(status_code=204)),
        Route("/events", viewer.list_events),
        Route("/events/{key}", viewer.events),
        Route("/data/{key}", viewer.data),
        Route("/thumbnails/{key}/{sha256}", viewer.thumbnail),
        Route("/runs/{key}", lambda request: RedirectResponse(f"{request.url.path}/")),
        Route("/runs/{key}/", viewer.page),
        Route("/runs/{key}/{path:path}", viewer.output),
    ]
    posts: tuple[str, ...] = ()
    if token is not None:
        posts = (PATH, SAVE_PATH)
        control = ControlRequests(token, viewer.directory)
        routes.append(Route(f"{PATH}{{key}}", control.answer, methods=["POST"]))
        for module in found("page_posts"):
            saves = SaveRequests(token, viewer.directory, module)
            address = f"{SAVE_PATH}{module.NAME}/{{key}}"
            routes.append(Route(address, saves.answer, methods=["POST"]))
    middleware = [  # the outermost first
        Middleware(_Headers),
        Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False),
        Middleware(_ReadOnly, posts=posts),
    ]
    return Starlette(
        routes=routes, middleware=middleware, exception_handlers={CrucibleBatchError: _unreadable}
    )


def _html(page: Page) -> Response:
    return HTMLResponse(
        page.html, headers={"content-security-policy": f"{page.policy}; frame-ancestors 'none'"}
    )


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not text.isascii() or not text.isdigit() or len(text) >= 16:
        raise HTTPException(400)
    return int(text)


async def _unreadable(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"This run can't be read: {error}\n", 503)
