"""A gateway that says the key, or a signed link, in disguise: no file of a run and no line of a
command holds it.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.disguises import DISGUISES, shows
from tests.verification.hostile.gateway import (
    KEY,
    SIGNATURE,
    Behave,
    HostileGateway,
    Reply,
    http,
    serving,
)

LINK = (
    f"ht\u200btps://user:{SIGNATURE}@s.test/x?\tX-Amz-Signature={SIGNATURE}&e=1 "
    f"https://s.test/#t={SIGNATURE}"
)
WORDS = {
    **{name: dressed(KEY) for name, dressed in DISGUISES.items() if name != "lone surrogate"},
    "a link": LINK,
}
PLACES = ("error_code", "error_message", "status", "workflow_id", "new")


def fails_saying(words: str) -> Behave:
    """Report the job as failed, with the words in each of its texts."""

    async def behave(reply: Reply, writer: asyncio.StreamWriter) -> None:
        data = {**reply.data, **{place: f"{words} {place}" for place in PLACES}, "status": "failed"}
        answer = {"success": True, "data": data, "request_id": words}
        writer.write(
            http(
                200,
                json.dumps(answer, ensure_ascii=False).encode(),
                f"X-Request-Id: {_line(words)}",
            )
        )

    return behave


def refuses_saying(words: str) -> Behave:
    async def behave(_reply: Reply, writer: asyncio.StreamWriter) -> None:
        answer = {
            "success": False,
            "code": words,
            "error": words,
            "hint": words,
            "request_id": words,
        }
        headers = (
            f"X-Request-Id: {_line(words)}",
            f"Retry-After: {_line(words)}",
            f"Location: {_line(words)}",
        )
        writer.write(http(f"400 {_line(words)}", json.dumps(answer).encode(), *headers))

    return behave


def _line(words: str) -> str:
    return "".join(each if each.isprintable() else " " for each in words)


def _nothing_in(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 5
    for path in files:
        content = path.read_bytes().decode("utf-8", "replace")
        assert SIGNATURE not in content, path
        assert KEY not in content, path
        if path.suffix != ".html":  # whose pictures are in base64
            assert not shows(KEY, content), path


@pytest.mark.parametrize(
    ("at", "name"),
    [
        *(
            ("job", name)
            for name in (
                "JSON",
                "zero width",
                "soft hyphen",
                "lines",
                "percent",
                "base64",
                "a link",
            )
        ),
        *(
            (at, name)
            for at in ("generate", "download")
            for name in ("JSON", "zero width", "a link")
        ),
    ],
)
async def test_no_file_of_a_run_holds_it(run: Any, tmp_path: Path, name: str, at: str) -> None:
    says = fails_saying if at == "job" else refuses_saying
    async with serving(
        HostileGateway(at=at, behave=says(WORDS[name]), refuses=at == "generate")
    ) as gateway:
        result = await run(gateway, html=True)
    assert not result.ok
    _nothing_in(tmp_path / "out")
