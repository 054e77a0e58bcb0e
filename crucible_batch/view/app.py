"""The viewer's ASGI application: a handful of addresses, all of them to look at."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from crucible_batch.errors import CrucibleBatchError
from crucible_batch.view.feed import list_feed, run_feed
from crucible_batch.view.guard import guards
from crucible_batch.view.pages import Page, list_page, run_charts, run_data, run_page
from crucible_batch.view.pictures import Thumbnails, picture
from crucible_batch.view.runs import Runs, ShownRun


class Viewer:
    """What the addresses answer with."""

    def __init__(self, runs: Runs, stopping: asyncio.Event) -> None:
        self._runs = runs
        self._stopping = stopping
        self._thumbnails = Thumbnails()

    async def list(self, _request: Request) -> Response:
        return _html(list_page(await self._runs.entries(), self._runs.root))

    async def list_events(self, _request: Request) -> Response:
        return StreamingResponse(list_feed(self._runs, self._stopping), media_type="text/event-stream")

    async def page(self, request: Request) -> Response:
        run = await self._run(request)
        return _html(await run.read(lambda watch: run_page(watch, run.key)))

    async def data(self, request: Request) -> Response:
        run = await self._run(request)
        return Response(await run.read(lambda watch: run_data(watch, run.key)), media_type="application/json")

    async def charts(self, request: Request) -> Response:
        run = await self._run(request)
        return HTMLResponse(await run.read(run_charts))

    async def events(self, request: Request) -> Response:
        run = await self._run(request)
        edition, after = (_number(request, name) for name in ("edition", "after"))
        return StreamingResponse(run_feed(run, edition, after, self._stopping), media_type="text/event-stream")

    async def output(self, request: Request) -> Response:
        return await picture(await self._run(request), request.path_params["path"])

    async def thumbnail(self, request: Request) -> Response:
        return await self._thumbnails.answer(await self._run(request), request.path_params["sha256"])

    async def _run(self, request: Request) -> ShownRun:
        run = await self._runs.get(request.path_params["key"])
        if run is None:
            raise HTTPException(404)
        return run


def create_app(runs: Runs, stopping: asyncio.Event) -> Starlette:
    """Make the application. Setting ``stopping`` ends what would never end by itself."""
    viewer = Viewer(runs, stopping)
    routes = [
        Route("/", viewer.list),
        Route("/favicon.ico", lambda _request: Response(status_code=204)),
        Route("/events", viewer.list_events),
        Route("/events/{key}", viewer.events),
        Route("/data/{key}", viewer.data),
        Route("/charts/{key}", viewer.charts),
        Route("/thumbnails/{key}/{sha256}", viewer.thumbnail),
        Route("/runs/{key}", lambda request: RedirectResponse(f"{request.url.path}/")),
        Route("/runs/{key}/", viewer.page),
        Route("/runs/{key}/{path:path}", viewer.output),
    ]
    return Starlette(routes=routes, middleware=guards(), exception_handlers={CrucibleBatchError: _unreadable})


def _html(page: Page) -> Response:
    return HTMLResponse(page.html, headers={"content-security-policy": f"{page.policy}; frame-ancestors 'none'"})


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise HTTPException(400)
    return int(text)


async def _unreadable(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"This run can't be read: {error}\n", 503)
