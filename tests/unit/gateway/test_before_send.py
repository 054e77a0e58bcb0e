"""The caller's check right before a try is sent: after the wait for a slot, for each try, and
without a trace.
"""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from crucible_batch.core.gateway_types import AssetSpec
from crucible_batch.errors import GatewayError
from crucible_batch.gateway import exchange, open_gateway
from tests.unit.gateway.conftest import BASE, GOOD_DATA, KEY


class NotNow(Exception):
    pass


class Check:
    """The caller's check: how often it was asked, and after how many times it raises."""

    def __init__(self, passes: int) -> None:
        self.passes = passes
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        if self.asked > self.passes:
            raise NotNow


CREATE = AssetSpec("ab" * 32, 3, "image/png", "a.png")


@pytest.mark.parametrize("what", ["submit", "upload"])
async def test_a_purchase_that_waits_for_a_slot_is_checked_when_it_has_one(monkeypatch, what):
    monkeypatch.setattr(exchange, "MAX_CONNECTIONS", 1)
    answers, sent = asyncio.Event(), []
    is_paused = False

    async def slow(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.path)
        await answers.wait()
        return httpx.Response(
            200, content=json.dumps({"success": True, "data": GOOD_DATA["credits"]})
        )

    def before_send() -> None:
        if is_paused:
            raise NotNow

    async with open_gateway(BASE, KEY, transport=httpx.MockTransport(slow)) as gateway:
        first = asyncio.create_task(gateway.account())
        await asyncio.sleep(0)
        buying = (
            gateway.submit("w", {}, key="k", before_send=before_send)
            if what == "submit"
            else gateway.create_asset(CREATE, nonce="n", before_send=before_send)
        )
        second = asyncio.create_task(buying)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(sent) == 1
        is_paused = True
        answers.set()
        await first
        with pytest.raises(NotNow):
            await second
        await gateway.account()  # its slot is free again
    assert sent == ["/api/v1/credits"] * 2


async def test_each_try_is_checked(world, failed, waiting):
    here, check = world(failed(429)), Check(2)
    with pytest.raises(NotNow):
        await here.gateway.submit("w", {}, key="k", before_send=check)
    assert (len(here.requests), check.asked, len(waiting.slept)) == (2, 3, 2)


async def test_each_try_of_an_upload_is_checked(world, failed):
    here, check = world(failed(429)), Check(1)
    with pytest.raises(NotNow):
        await here.gateway.create_asset(CREATE, nonce="n", before_send=check)
    assert (len(here.requests), check.asked) == (1, 2)


async def test_a_try_that_is_not_sent_shows_nothing_of_the_gateway(world, failed):
    here = world(failed(429))
    outage = here.client._retrier.outage
    outage.unanswered(0.0)
    with pytest.raises(NotNow):
        await here.gateway.submit("w", {}, key="k", before_send=Check(0))
    assert outage.is_on
    assert here.requests == []


async def test_the_retries_of_a_poll_wait_as_the_caller_says(world, failed, waiting):
    here, waits = world(failed(429)), []

    async def wait(error: GatewayError, wait_s: float) -> None:
        waits.append(error.status)
        raise NotNow

    with pytest.raises(NotNow):
        await here.gateway.job("0b9a8f5e-3c1d-4e2f-8a7b-6c5d4e3f2a1b", before_retry=wait)
    assert waits == [429]
    assert waiting.slept == []
