"""Commands to runs, and what features save with them, from pages with the token of this session.

A page of another origin can't set the header with the token without a preflight request, which is
refused; it doesn't know the token either, nor does another user of this machine. The origin is
compared with the host as well, and the host with the names of this machine (``app.HOSTS``), which a
page has not after DNS rebinding.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crucible_batch.errors import CrucibleBatchError
from crucible_batch.features.control.part import PAGE, control

HEADER = "x-crucible-control"
PATH = "/control/"
SAVE_PATH = "/save/"
_LONGEST = 16 * 1024


DirectoryOf = Callable[[Request], Awaitable[Path]]
"""Returns the run directory of a request; raises ``HTTPException`` if there is none."""


class ControlRequests:
    """The handler of commands."""

    def __init__(self, token: str, directory_of: DirectoryOf) -> None:
        self._token = token.encode()
        self._directory_of = directory_of

    async def answer(self, request: Request) -> Response:
        """Give the command of a request to the run, and return the run's answer.

        The answer has ``message``, and ``hint`` if the command was refused.
        """
        check_request(request, self._token)
        words = await _words(request)
        directory = await self._directory_of(request)
        try:
            answer = await asyncio.to_thread(control, directory, words, via=PAGE)
        except CrucibleBatchError as error:
            return _refused(error)
        return JSONResponse({"message": answer.message})


class SaveRequests:
    """The handler of what a feature saves with a run: its module ``page_posts``."""

    def __init__(self, token: str, directory_of: DirectoryOf, module: Any) -> None:
        self._token = token.encode()
        self._directory_of = directory_of
        self._module = module

    async def answer(self, request: Request) -> Response:
        check_request(request, self._token)
        content = await _content(request, self._module.MAX_BYTES)
        directory = await self._directory_of(request)
        try:
            answer = await asyncio.to_thread(self._module.answer, directory, content)
        except CrucibleBatchError as error:
            return _refused(error)
        return JSONResponse(answer)


def _refused(error: CrucibleBatchError) -> Response:
    return JSONResponse({"message": error.message, "hint": error.hint}, 409)


def check_request(request: Request, token: bytes) -> None:
    """Raise ``HTTPException`` unless the request has the token of this session's pages."""
    headers = request.headers
    if not secrets.compare_digest(headers.get(HEADER, "").encode("utf-8", "replace"), token):
        raise HTTPException(403, "The token of this session is required.\n")
    if headers.get("origin") != f"http://{headers.get('host', '')}":
        raise HTTPException(403, "Requests are taken from the pages of this server only.\n")
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise HTTPException(403, "Requests are taken from the pages of this server only.\n")
    if headers.get("content-type") != "application/json":
        raise HTTPException(415, "A request is sent as application/json.\n")


async def _content(request: Request, longest: int) -> bytes:
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > longest:
            raise HTTPException(413, "The request is too long.\n")
    return content


async def _words(request: Request) -> list[str]:
    try:
        words = json.loads(await _content(request, _LONGEST))["words"]
    except (ValueError, TypeError, LookupError, RecursionError):
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise HTTPException(400, 'A command is {"words": ["pause"]}.\n')
    return words
