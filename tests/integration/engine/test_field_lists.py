"""A workflow whose parameters are listed differently in a later run: what is done stays done, and
is not paid twice.
"""

from __future__ import annotations

import json

import httpx
import pytest

SHORT_JOBS = True

EDIT = "{{name: {0}, workflow: qwen-edit, prompt: {0}, image: a.png}}"
EDITS = f"{EDIT.format('a')}\n{EDIT.format('b')}"


def _listed(also: list[str] | None):
    """Let ``qwen-edit`` list other names before its own, or no names; ``prompt.text`` is taken for
    ``prompt.value``."""
    gateway = httpx.AsyncHTTPTransport()

    async def tamper(request: httpx.Request, send) -> httpx.Response:
        if request.url.path.endswith("/generate") and b'"prompt.text"' in await request.aread():
            return await gateway.handle_async_request(_renamed(request))
        answer = await send()
        if not request.url.path.endswith("/metadata"):
            return answer
        body = json.loads(await answer.aread())
        fields = body["data"]["metadata"].pop("available_fields")
        if also is not None:
            body["data"]["metadata"]["available_fields"] = [
                *also,
                *(field["name"] for field in fields),
            ]
        return httpx.Response(200, json=body)

    return tamper


def _renamed(request: httpx.Request) -> httpx.Request:
    body = json.loads(request.content)
    body["params"]["prompt.value"] = body["params"].pop("prompt.text")
    headers = {name: value for name, value in request.headers.items() if name != "content-length"}
    return httpx.Request(request.method, request.url, headers=headers, json=body)


@pytest.mark.parametrize("also", [["prompt.text"], None], ids=["another name", "no list"])
async def test_jobs_that_are_done_are_the_same_jobs(start, tampered, also) -> None:
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(EDITS)
        await bench.run(manifest, only=["a"])
        before = (await bench.state())["ledger"]
        again = await bench.run(manifest, only=["a"], transport=tampered(_listed(also)))
        assert (again.exit_code, (await bench.state())["ledger"]) == (0, before)
        rest = await bench.run(manifest, transport=tampered(_listed(also)))
        assert (rest.exit_code, rest.report.counts.succeeded, rest.report.credits.jobs) == (0, 2, 6)
        await bench.agree(rest)
