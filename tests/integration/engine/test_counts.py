"""What a job costs in things that can be counted: a regression of speed that shows whatever the
machine is doing.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from crucible_batch.gateway import aiohttp_transport
from crucible_batch.gateway.transport import Channel, Reply
from crucible_batch.journal import group_commit

JOBS = 20
IN_HOPS = ("open", "mkdir", "link", "unlink", "stat", "rename", "replace", "write")


class Counting(Channel):
    """A channel that counts what is sent, by method and the kind of path."""

    def __init__(self, inner: Channel, counts: Counter[str]) -> None:
        self._inner = inner
        self._counts = counts

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Reply:
        kinds = ("generate", "jobs", "workflows", "credits", "assets")
        self._counts[
            f"{method} {next((kind for kind in kinds if f'/v1/{kind}' in url), 'storage')}"
        ] += 1
        return await self._inner.send(method, url, headers, body)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count requests, syncs, hops to threads, calls to the system in them, statements and commits,
    from here on."""
    found: Counter[str] = Counter()
    here = threading.local()

    def counted(name: str, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            found[name] += 1
            return function(*args, **options)

        return call

    def commit(connection: Any, batch: Any) -> None:
        found["commits"] += 1
        found["statements"] += len(batch)
        committed(connection, batch)

    async def to_thread(function: Any, /, *args: Any, **options: Any) -> Any:
        made_of = getattr(function, "func", function)  # that of a partial
        if not made_of.__module__.startswith(
            "crucible_batch.outputs"
        ):  # the sandbox is in this process too
            return await hop(function, *args, **options)
        found["hops"] += 1

        def ours() -> Any:
            here.is_ours = True
            try:
                return function(*args, **options)
            finally:
                here.is_ours = False

        return await hop(ours)

    def counted_in_hops(name: str, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if getattr(here, "is_ours", False):
                found[name] += 1
            return function(*args, **options)

        return call

    committed, hop = group_commit._commit, asyncio.to_thread
    monkeypatch.setattr(group_commit, "_commit", commit)
    monkeypatch.setattr(os, "fsync", counted("fsync", os.fsync))
    for name in IN_HOPS:
        monkeypatch.setattr(os, name, counted_in_hops(name, getattr(os, name)))
    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    new_channel = aiohttp_transport.new_channel
    monkeypatch.setattr(
        aiohttp_transport,
        "new_channel",
        lambda **options: Counting(new_channel(**options), found),
    )
    return found


@pytest.fixture
async def of_run(start: Any, counts: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    """Run no job, then many, in directories of their own, and return what the many add."""

    async def run(bench: Any, jobs: int) -> Counter[str]:
        counts.clear()
        wanted = "\n".join(
            f"{{name: j{number}, prompt: picture {number}}}" for number in range(jobs)
        )
        manifest = bench.manifest(wanted, budget=1000)
        result = await bench.run(
            manifest, concurrency=16, html=False, out_dir=bench.path / f"out-{jobs}"
        )
        assert result.exit_code == 0
        return Counter(counts)

    async with start(credits=1000) as bench:
        one = await run(bench, 1)
        many = await run(bench, JOBS + 1)
    many.subtract(one)
    return one, many


async def test_a_job_is_one_submit_one_download_and_looks(of_run: Any) -> None:
    one, more = of_run
    assert more["POST generate"] == JOBS
    assert more["GET storage"] == JOBS
    assert one["GET jobs"] >= 2
    # The one job may have been looked at more than once until it ended, most only once; and each
    # once more after that.
    assert one["GET jobs"] + more["GET jobs"] >= 2 * (JOBS + 1)
    assert {name for name, count in more.items() if count and " " in name} <= {
        "POST generate",
        "GET storage",
        "GET jobs",
    }


async def test_a_job_is_five_statements(of_run: Any) -> None:
    """Held, accepted, succeeded, saved, listed."""
    _, more = of_run
    assert more["statements"] == 5 * JOBS
    assert more["commits"] <= more["statements"]


async def test_an_output_is_synced_once_and_its_name_once(of_run: Any) -> None:
    _, more = of_run
    assert more["fsync"] == 2 * JOBS


async def test_an_output_takes_one_hop_to_a_thread(of_run: Any) -> None:
    _, more = of_run
    assert more["hops"] == JOBS


async def test_landing_an_output_opens_writes_and_names_each_item_once(of_run: Any) -> None:
    """Each such call hands the interpreter's lock over. Opened are the run's folder, the output's
    before and after it is made, and the output; what is opened is closed, which isn't counted
    here."""
    _, more = of_run
    assert {name: more[name] / JOBS for name in IN_HOPS if more[name]} == {
        "open": 4, "mkdir": 1, "write": 1, "link": 1, "unlink": 1
    }  # fmt: skip
