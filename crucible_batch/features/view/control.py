"""Commands to runs from their pages, for users who have the token of this session.

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

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crucible_batch.errors import CrucibleBatchError
from crucible_batch.features.control.part import PAGE, control

HEADER = "x-crucible-control"
PATH = "/control/"
_LONGEST = 16 * 1024


class ControlRequests:
    """The handler of commands.

    ``directory_of`` returns the run directory of a request; it raises if there is none.
    """

    def __init__(self, token: str, directory_of: Callable[[Request], Awaitable[Path]]) -> None:
        self._token = token.encode()
        self._directory_of = directory_of

    async def answer(self, request: Request) -> Response:
        """Give the command of a request to the run, and return the run's answer.

        The answer has ``message``, and ``hint`` if the command was refused.
        """
        self._check(request)
        words = await _words(request)
        directory = await self._directory_of(request)
        try:
            answer = await asyncio.to_thread(control, directory, words, via=PAGE)
        except CrucibleBatchError as error:
            return JSONResponse({"message": error.message, "hint": error.hint}, 409)
        return JSONResponse({"message": answer.message})

    def _check(self, request: Request) -> None:
        """Raise ``HTTPException`` unless the request has the token of this session's pages."""
        headers = request.headers
        if not secrets.compare_digest(
            headers.get(HEADER, "").encode("utf-8", "replace"), self._token
        ):
            raise HTTPException(403, "The token of this session is required.\n")
        if headers.get("origin") != f"http://{headers.get('host', '')}":
            raise HTTPException(403, "Commands are taken from the pages of this server only.\n")
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise HTTPException(403, "Commands are taken from the pages of this server only.\n")
        if headers.get("content-type") != "application/json":
            raise HTTPException(415, "A command is sent as application/json.\n")


async def _words(request: Request) -> list[str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST:
            raise HTTPException(413, "The command is too long.\n")
    try:
        words = json.loads(body)["words"]
    except (ValueError, TypeError, LookupError, RecursionError):
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise HTTPException(400, 'A command is {"words": ["pause"]}.\n')
    return words
