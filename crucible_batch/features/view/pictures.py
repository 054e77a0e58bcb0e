"""Outputs and their thumbnails over HTTP: only files that the journal records as saved."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from crucible_batch.features.view.runs import ShownRun
from crucible_batch.features.view.watching import Watch
from crucible_batch.report import OutputRow
from crucible_batch.report.html import miniature_of

_TYPES = {"image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"}
"""Types that a browser never runs as code.

A journal may come from elsewhere, so its types aren't trusted.
"""
_CHUNK_BYTES = 256 * 1024
_THUMBNAIL_BYTES = 24_000
_AT_ONCE = 2
_SHA256 = re.compile(r"[0-9a-f]{64}")


async def picture(run: ShownRun, path: str) -> Response:
    """Return an output's file. Raises ``HTTPException`` if there is none that may be shown."""
    output = await _known(run, lambda watch: watch.output(path))
    file = await _opened(run, output)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    kind = output.mime_type
    if kind not in _TYPES:
        kind = "application/octet-stream"
    headers = {"content-length": str(size), "cache-control": "private, max-age=60"}
    return StreamingResponse(_chunks(file), media_type=kind, headers=headers)


class ThumbnailServer:
    """Makes thumbnails on request.

    It makes only a few at the same time, since reading the runs uses the same threads.
    """

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def answer(self, run: ShownRun, sha256: str) -> Response:
        """Return the thumbnail of an output by its SHA-256, cacheable without limit.

        Raises ``HTTPException`` if there is none.
        """
        if not _SHA256.fullmatch(sha256):
            raise HTTPException(404)
        output = await _known(run, lambda watch: watch.output_of(sha256))
        async with self._turns:
            with await _opened(run, output) as file:
                made = await asyncio.to_thread(miniature_of, file, _THUMBNAIL_BYTES)
        if made is None:
            raise HTTPException(404)
        kept = {"cache-control": "private, max-age=31536000, immutable"}
        return Response(made.content, media_type="image/webp", headers=kept)


async def _known(run: ShownRun, find: Callable[[Watch], OutputRow | None]) -> OutputRow:
    """Find an output, reading the run again if necessary.

    A page may be newer than the last snapshot.
    """
    output = await run.read(find)
    if output is None:
        await run.read(Watch.look)
        output = await run.read(find)
    if output is None:
        raise HTTPException(404)
    return output


async def _opened(run: ShownRun, output: OutputRow) -> BinaryIO:
    try:
        return await run.read(lambda watch: watch.open(output))
    except OSError as error:
        raise HTTPException(404) from error


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        chunk = file.read(_CHUNK_BYTES)
        while chunk:
            yield chunk
            chunk = file.read(_CHUNK_BYTES)
