"""Runs through an outage of the gateway: what is bought meanwhile and afterwards, what is kept, and
how they end.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from crucible_batch import GatewayError, KeyRefusedError, ManifestError
from crucible_batch.core.progress import GatewayBack, GatewayUnreachable, RunEnded
from crucible_batch.engine import Runner
from crucible_batch.errors import ExitCode
from crucible_batch.runs import running

PAGE = "<html>502 Bad Gateway</html>"


def jobs(count: int) -> str:
    return "\n".join(f"{{name: j{number}, prompt: fox {number}}}" for number in range(count))


def is_submit(request: httpx.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith("/generate")


async def key_of(request: httpx.Request) -> str:
    return str(json.loads(await request.aread())["idempotency_key"])


class Blackout:
    """The gateway's connection: from its ``after``-th submit on, it is dead for ``lasting_s``
    seconds of the clock.

    With ``takes_effect``, requests still reach the gateway, and only their answers are lost: the
    worst of outages.
    """

    def __init__(
        self, clock: Any, *, after: int, lasting_s: float, takes_effect: bool = False
    ) -> None:
        self.clock, self.after, self.lasting_s, self.takes_effect = (
            clock,
            after,
            lasting_s,
            takes_effect,
        )
        self.began_at: float | None = None
        self.submits: list[tuple[str, bool]] = []
        """The key of each submit, and whether it fell into the outage."""

    @property
    def is_on(self) -> bool:
        return self.began_at is not None and self.clock.monotonic() < self.began_at + self.lasting_s

    async def __call__(
        self, request: httpx.Request, send: Callable[[], Awaitable[httpx.Response]]
    ) -> Any:
        if is_submit(request):
            if len({key for key, _ in self.submits}) >= self.after and self.began_at is None:
                self.began_at = self.clock.monotonic()
            self.submits.append((await key_of(request), self.is_on))
        if not self.is_on:
            return await send()
        if self.takes_effect:
            await (await send()).aread()
            return httpx.Response(502, text=PAGE, headers={"content-type": "text/html"})
        raise httpx.ConnectError("can't connect to gateway:443: Connection refused")

    def first_sent_in_the_dark(self) -> set[str]:
        known, new = set(), set()
        for key, dark in self.submits:
            if dark and key not in known:
                new.add(key)
            known.add(key)
        return new


@pytest.mark.parametrize("takes_effect", [False, True])
async def test_an_outage_buys_nothing_new_and_afterwards_nothing_twice(
    start, tampered, watcher, takes_effect
):
    seen = watcher()
    async with start(runners=2) as bench:
        dark = Blackout(bench.clock, after=6, lasting_s=300, takes_effect=takes_effect)
        result = await bench.run(
            bench.manifest(jobs(24), budget=48),
            transport=tampered(dark),
            concurrency=4,
            observer=seen,
        )
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert state["audit"]["spent_on_jobs"] == 48
    # Those that were sent just when it began, before anything had failed; each is settled under its
    # own key.
    assert len(dark.first_sent_in_the_dark()) <= 4
    assert len({key for key, _ in dark.submits}) == len(state["jobs"]) == 24
    reported = [message for message in seen.messages if isinstance(message, GatewayUnreachable)]
    assert reported
    assert all(message.limit_s == 600 for message in reported)
    assert [
        message.lasted_s > 290 for message in seen.messages if isinstance(message, GatewayBack)
    ] == [True]


async def test_an_outage_that_lasts_too_long_ends_the_run_with_5_and_the_same_command_resumes(
    start, tampered, tally, watcher
):
    seen = watcher()
    async with start() as bench:
        dark = Blackout(bench.clock, after=6, lasting_s=1e9)
        manifest = bench.manifest(jobs(24), budget=48)
        result = await bench.run(manifest, transport=tampered(dark), concurrency=4, observer=seen)
        assert result.exit_code == 5
        assert tally(result)["unknown"] <= 4
        assert tally(result)["failed"] == 0
        (ended,) = [message.ending for message in seen.messages if isinstance(message, RunEnded)]
        assert any(
            "the gateway has been unusable for 10 min" in stop.message
            for stop in ended.stops.values()
        )
        again = await bench.run(manifest, concurrency=4)
        state = await bench.agree(again)
    assert again.exit_code == 0
    assert len(state["jobs"]) == 24


async def test_downloads_and_uploads_outlast_an_outage(start, tampered):
    async with start() as bench:
        bench.picture("in.png")
        dark = Blackout(bench.clock, after=0, lasting_s=0)

        async def tamper(request, send):
            if dark.began_at is None and (
                request.method == "PUT" or "/outputs/" in request.url.path
            ):
                dark.began_at, dark.lasting_s = bench.clock.monotonic(), 200.0
            return await dark(request, send)

        dark.after = 10**9
        manifest = bench.manifest(
            "{name: e, workflow: qwen-edit, prompt: ocean, image: in.png}", budget=20
        )
        result = await bench.run(manifest, transport=tampered(tamper))
        await bench.agree(result)
        assert dark.began_at is not None
    assert result.exit_code == 0


async def test_the_time_of_an_outage_is_not_the_time_of_a_job(start, tampered):
    async with start(time_scale=1.0) as bench:
        dark = Blackout(bench.clock, after=3, lasting_s=400)
        result = await bench.run(
            bench.manifest(jobs(6), budget=12),
            transport=tampered(dark),
            concurrency=3,
            job_timeout_s=120,
        )
        await bench.agree(result)
    assert result.exit_code == 0


# -- the start of a run


async def test_a_deadline_in_the_middle_of_an_outage_ends_the_run_at_once(start, tampered):
    async with start() as bench:
        dark = Blackout(bench.clock, after=2, lasting_s=1e9)
        result = await bench.run(
            bench.manifest(jobs(6), budget=12),
            transport=tampered(dark),
            deadline_s=300,
            concurrency=2,
        )
    assert result.exit_code == 5


@pytest.mark.parametrize("status", [401, 404])
async def test_a_refused_key_and_a_wrong_address_are_not_waited_for(start, tampered, status):
    requests = 0

    async def refuse(_request, _send):
        nonlocal requests
        requests += 1
        return httpx.Response(status, json={"success": False, "code": "X", "error": "x"})

    async with start() as bench:
        with pytest.raises((KeyRefusedError, GatewayError, ManifestError)):
            await bench.run(bench.manifest(jobs(1)), transport=tampered(refuse))
    assert requests < 6


async def test_ctrl_c_ends_a_run_at_once_in_an_outage(start, tampered, watcher, monkeypatch):
    runners: list[Runner] = []

    class Kept(Runner):
        def __init__(self, **ports: Any) -> None:
            super().__init__(**ports)
            runners.append(self)

    monkeypatch.setattr(running, "Runner", Kept)

    def interrupt(message: object) -> None:
        if isinstance(message, GatewayUnreachable):
            runners[0].control.interrupt(ExitCode.SIGINT)

    async with start() as bench:
        dark = Blackout(bench.clock, after=2, lasting_s=1e9)
        result = await bench.run(
            bench.manifest(jobs(6), budget=12),
            transport=tampered(dark),
            concurrency=2,
            observer=watcher(interrupt),
        )
        assert bench.clock.monotonic() - dark.began_at < 100
    assert result.exit_code == 130


def answering(status: int, *, until: Callable[[], bool]) -> Any:
    """Answer each request with an error of the gateway until ``until()`` is true."""
    error = {
        "success": False,
        "code": "INTERNAL_ERROR",
        "error": "Something went wrong inside the gateway.",
    }

    async def tamper(
        request: httpx.Request, send: Callable[[], Awaitable[httpx.Response]]
    ) -> httpx.Response:
        return await send() if until() else httpx.Response(status, json=error)

    return tamper


@pytest.mark.parametrize("lasting_s", [60, 500])
async def test_a_gateway_that_answers_500_before_the_first_purchase_is_waited_for(
    start, tampered, watcher, lasting_s
):
    """As one that is silent: the retries of a request take 10 to 20 s, which is no outage."""
    seen = watcher()
    async with start() as bench:
        began = bench.clock.monotonic()
        tamper = answering(500, until=lambda: bench.clock.monotonic() > began + lasting_s)
        result = await bench.run(bench.manifest(jobs(3)), transport=tampered(tamper), observer=seen)
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert len(state["jobs"]) == 3
    assert any(isinstance(message, GatewayUnreachable) for message in seen.messages)
    assert any(isinstance(message, GatewayBack) for message in seen.messages)


async def test_a_gateway_that_answers_500_ends_the_run_after_the_patience_and_nothing_is_bought(
    start, tampered
):
    async with start() as bench:
        began = bench.clock.monotonic()
        with pytest.raises(GatewayError) as caught:
            await bench.run(
                bench.manifest(jobs(3)), transport=tampered(answering(500, until=lambda: False))
            )
        lasted_s = bench.clock.monotonic() - began
        state = await bench.state()
    assert caught.value.exit_code == ExitCode.STOPPED
    assert caught.value.code == "INTERNAL_ERROR"
    assert 600 <= lasted_s < 900
    assert state["jobs"] == []
    assert not (bench.path / "out").exists()


@pytest.mark.parametrize("takes_effect", [False, True])
async def test_a_first_submit_that_is_answered_with_500_is_waited_for_and_buys_once(
    start, tampered, takes_effect
):
    """The gateway answers the requests that buy nothing.

    The patience of a later submit is two minutes.
    """

    async def tamper(
        request: httpx.Request, send: Callable[[], Awaitable[httpx.Response]]
    ) -> httpx.Response:
        if not is_submit(request) or bench.clock.monotonic() > began + 400:
            return await send()
        if takes_effect:
            await (await send()).aread()
        return httpx.Response(
            500, json={"success": False, "code": "INTERNAL_ERROR", "error": "Something went wrong."}
        )

    async with start() as bench:
        began = bench.clock.monotonic()
        result = await bench.run(bench.manifest(jobs(8), budget=16), transport=tampered(tamper))
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert len(state["jobs"]) == 8


async def test_after_the_first_purchase_errors_are_answers(start, tampered, watcher):
    async def tamper(
        request: httpx.Request, send: Callable[[], Awaitable[httpx.Response]]
    ) -> httpx.Response:
        nonlocal submits
        submits += is_submit(request)
        if submits < 4:
            return await send()
        return httpx.Response(
            500, json={"success": False, "code": "INTERNAL_ERROR", "error": "Something went wrong."}
        )

    submits = 0
    seen = watcher()
    async with start() as bench:
        began = bench.clock.monotonic()
        result = await bench.run(
            bench.manifest(jobs(12), budget=24), transport=tampered(tamper), observer=seen
        )
        assert bench.clock.monotonic() - began < 500
    assert result.exit_code == 5
    assert not any(isinstance(message, GatewayUnreachable) for message in seen.messages)
