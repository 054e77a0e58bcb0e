"""Retries: what is sent again, when, how often, and how doubt sticks: once a try may have been
accepted, no later refusal shows that nothing was bought.

``world(...)`` is a gateway that gives these answers one after the other, and the last one for ever
(``conftest.py``). Nobody sleeps but its fake clock, and each jitter is half of its range.
"""

from __future__ import annotations

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.retry_rule import KEY_REUSED
from crucible_batch.errors import GatewayError, KeyRefusedError
from crucible_batch.gateway import Retrier, RetryPolicy
from crucible_batch.gateway.retries import wait_s
from tests.harness.case_table import each_case
from tests.unit.gateway.conftest import Reply


async def test_a_read_succeeds_after_failures(world, ok, reply, good_data):
    here = world(httpx.ReadError, reply(503), ok(good_data("job")))
    assert (await here.client.job(good_data("job")["job_id"])).status == "running"
    assert len(here.requests) == 3


async def test_generate_sends_the_same_bytes_under_the_same_key_again(world, ok, reply, good_data):
    here = world(httpx.ReadTimeout, reply(500), reply(409), reply(429), ok(good_data("generate")),
                 policy=RetryPolicy(attempts=9))  # fmt: skip
    job = await here.client.generate("w", {"b.c": 1, "a": [0.5, "é"]}, idempotency_key="k-1")
    assert job.existing
    assert len(here.requests) == 5
    assert {request.content for request in here.requests} == {
        b'{"idempotency_key":"k-1","params":{"a":[0.5,"\\u00e9"],"b.c":1},"workflow_id":"w"}'
    }


@each_case("first", [httpx.ReadError, Reply(500, raw=b"<html>"), Reply(200, raw=b"<html>")])
@each_case(
    "second, code",
    [(401, "NO_KEY"), (402, "NO_CREDITS"), (404, "GONE"), (400, KEY_REUSED), (409, KEY_REUSED)],
)
async def test_doubt_sticks_whatever_comes_later(world, failed, first, second, code):
    here = world(first, failed(second, code))
    with pytest.raises(GatewayError) as caught:
        await here.client.generate("w", {}, idempotency_key="k")
    assert (caught.value.code, caught.value.status, caught.value.in_doubt) == (code, second, True)
    assert isinstance(caught.value, KeyRefusedError) is (second == 401)
    assert len(here.requests) == 2


@pytest.mark.parametrize(
    ("code", "is_definite"), [(KEY_REUSED, True), ("IN_PROGRESS", False), (None, False)]
)
async def test_a_409_is_retried_unless_another_request_has_the_key(
    world, failed, code, is_definite
):
    here = world(*(failed(409, code) for _ in range(3)))
    with pytest.raises(GatewayError) as caught:
        await here.client.generate("w", {}, idempotency_key="k")
    assert (caught.value.status, caught.value.in_doubt) == (409, not is_definite)
    assert len(here.requests) == (1 if is_definite else 3)


async def test_the_wanted_answer_ends_the_doubt(world, ok, good_data):
    here = world(httpx.ReadError, ok(good_data("generate"), 202))
    assert (await here.client.generate("w", {}, idempotency_key="k")).existing is False


async def test_a_refusal_after_429_is_not_in_doubt(world, reply, failed):
    here = world(reply(429), reply(429), failed(402))
    with pytest.raises(GatewayError) as caught:
        await here.client.generate("w", {}, idempotency_key="k")
    assert caught.value.in_doubt is False


async def test_doubt_doesnt_stick_from_call_to_call(world, failed):
    here = world(httpx.ReadError, failed(402), failed(402))
    for in_doubt in (True, False):
        with pytest.raises(GatewayError) as caught:
            await here.client.generate("w", {}, idempotency_key="k")
        assert caught.value.in_doubt is in_doubt


@pytest.mark.parametrize(
    "lost", [httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, 500, 503, 408, 409, 200]
)
async def test_an_asset_intent_is_never_sent_again_where_it_may_have_been_bought(
    world, reply, call, lost
):
    here = world(reply(lost) if isinstance(lost, int) else lost)
    with pytest.raises(GatewayError) as caught:
        await call(here.client, "create_asset")
    assert caught.value.in_doubt is (lost != 409)
    assert len(here.requests) == 1


async def test_an_asset_intent_is_sent_again_after_429(world, ok, reply, call, good_data):
    here = world(reply(429), reply(429), ok(good_data("create_asset"), 201))
    assert (await call(here.client, "create_asset")).credits_charged == 1
    assert len({request.content for request in here.requests}) == 1


async def test_an_asset_whose_deletion_was_lost_counts_as_deleted(world, failed, call):
    here = world(httpx.ReadError, failed(404, "ASSET_NOT_FOUND"))
    assert (await call(here.client, "delete_asset")).deleted


async def test_an_html_404_shows_nothing_about_the_asset(world, reply, call):
    with pytest.raises(GatewayError) as caught:
        await call(world(reply(404, raw=b"<html>")).client, "delete_asset")
    assert caught.value.code == "HTTP_404"


async def test_waits_grow_with_full_jitter_up_to_a_cap(world, reply, waiting):
    here = world(reply(500), policy=RetryPolicy(attempts=8, base_s=1, max_wait_s=10))
    with pytest.raises(GatewayError):
        await here.client.credits()
    assert waiting.slept == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


async def test_the_answers_wait_is_kept_and_bounded(world, reply, waiting):
    policy = RetryPolicy(attempts=4, base_s=1, retry_after_cap_s=60)
    answers = [
        reply(429, retry_after="7"),
        reply(503, retry_after="1000000"),
        reply(503, retry_after="soon"),
    ]
    here = world(*answers, policy=policy)
    with pytest.raises(GatewayError):
        await here.client.credits()
    own_wait, jitter = 2.0, 0.5
    assert waiting.slept == [7 + jitter, 60 + jitter, own_wait]


async def test_a_wait_of_nothing_does_not_use_the_tries_up_at_once(world, reply, waiting):
    here = world(reply(429, retry_after="0"), policy=RetryPolicy(attempts=5, base_s=1))
    with pytest.raises(GatewayError):
        await here.client.credits()
    assert waiting.slept == [0.5, 1.0, 2.0, 4.0]


async def test_each_retry_is_announced_before_its_wait(world, failed, reply, waiting):
    here = world(
        httpx.ReadError,
        reply(500),
        reply(429, retry_after="7"),
        failed(503, "BUSY"),
        failed(404),
        policy=RetryPolicy(attempts=9),
    )
    with pytest.raises(GatewayError):
        await here.client.credits()
    assert {notice.operation for notice in waiting.notices} == {"credits"}
    assert [(notice.attempt, notice.reason, notice.status) for notice in waiting.notices] == [
        (1, "NO_ANSWER", None),
        (2, "HTTP_500", 500),
        (3, "HTTP_429", 429),
        (4, "BUSY", 503),
    ]
    assert [notice.wait_s for notice in waiting.notices] == waiting.slept


async def test_a_date_is_relative_to_the_answers_own_clock(world, reply, waiting):
    headers = {
        "retry_after": "Sun, 06 Nov 1994 08:49:47 GMT",
        "date": "Sun, 06 Nov 1994 08:49:37 GMT",
    }
    here = world(reply(429, **headers), policy=RetryPolicy(attempts=2, base_s=0))
    with pytest.raises(GatewayError) as caught:
        await here.client.credits()
    assert waiting.slept == [10.0]
    assert caught.value.retry_after_s == 10.0


async def test_no_wait_begins_that_would_end_too_late(world, reply, waiting):
    policy = RetryPolicy(attempts=100, base_s=0, total_s=25)
    here = world(reply(429, retry_after="10"), policy=policy)
    with pytest.raises(GatewayError) as caught:
        await here.client.credits()
    assert waiting.slept == [10.0, 10.0]
    assert caught.value.retry_after_s == 10.0


async def test_a_retry_names_the_host_and_nothing_else_of_a_signed_link(
    world, reply, waiting, caplog
):
    caplog.set_level("DEBUG", "crucible_batch.gateway")
    here = world(reply(503))
    with pytest.raises(GatewayError):
        await here.client.credits()
    with pytest.raises(GatewayError):
        await here.storage.put(
            "https://s.test:8443/secret/path?X-Signature=SIGNED#part", b"x", "image/png"
        )
    hosts = [notice.host for notice in waiting.notices]
    assert hosts == ["crucible.test", "crucible.test", "s.test:8443", "s.test:8443"]
    assert "upload at s.test:8443 again in" in caplog.text
    assert not [word for word in ("SIGNED", "secret", "part") if word in caplog.text]


async def test_no_policy_means_one_try(reply):
    from crucible_batch.gateway import CrucibleClient

    seen = []

    def handler(request):
        seen.append(request)
        return reply(500)()

    async with CrucibleClient("key", transport=httpx.MockTransport(handler), retry=None) as client:
        with pytest.raises(GatewayError):
            await client.credits()
    assert len(seen) == 1


class NotNow(Exception):
    pass


async def test_a_call_ends_with_what_its_caller_raises_instead_of_a_try():
    """Its ``before_retry`` does the waiting, and gets the error of the last try, which is in doubt
    if any before it was.
    """
    happened: list[object] = []

    async def attempt() -> None:
        if happened.count("try") == 3:
            raise NotNow
        happened.append("try")
        number = happened.count("try")
        raise GatewayError(
            str(number), code="X", operation="generate", status=429, in_doubt=number == 2
        )

    async def before_retry(error: GatewayError, wait_s: float) -> None:
        happened.append((wait_s, error.in_doubt))

    with pytest.raises(NotNow):
        await Retrier(RetryPolicy(), jitter=lambda: 0.5).run(attempt, before_retry)
    assert happened == ["try", (0.25, False), "try", (0.5, True), "try", (1.0, True)]


async def test_cancellation_ends_a_wait():
    waits = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.set()
        await asyncio.Event().wait()

    async def attempt() -> None:
        raise GatewayError("x", code="NO_ANSWER", operation="credits")

    task = asyncio.ensure_future(Retrier(RetryPolicy(), sleep=sleep).run(attempt))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_a_bug_and_a_cancellation_are_not_retried(error):
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        raise error

    with pytest.raises(error):
        await Retrier(RetryPolicy()).run(attempt)
    assert tries == 1


@given(
    attempt=st.integers(1, 10_000),
    asked=st.none() | st.floats(0, 1e12),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_every_wait_is_within_its_bounds(attempt, asked, jitter):
    policy = RetryPolicy()
    wait = wait_s(policy, attempt, asked, jitter)
    assert 0 <= wait <= max(policy.max_wait_s, policy.retry_after_cap_s + policy.base_s)
    if asked is not None:
        assert wait >= min(asked, policy.retry_after_cap_s)


@pytest.mark.parametrize(
    ("operation", "tries"), [("generate", 9), ("job", 9), ("download", 9), ("credits", 2)]
)
async def test_the_requests_of_a_run_outlast_an_outage_and_those_at_its_start_do_not(
    operation: str, tries: int
):
    """Each wait is a second, and the patience of eight ends after nine tries."""
    now, tried = 0.0, 0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def attempt() -> None:
        nonlocal tried
        tried += 1
        raise GatewayError("down", code="UNAVAILABLE", operation=operation, status=503)

    policy = RetryPolicy(attempts=2, base_s=2, max_wait_s=2, patience_s=8.5)
    with pytest.raises(GatewayError):
        await Retrier(policy, sleep=sleep, clock=lambda: now, jitter=lambda: 0.5).run(attempt)
    assert tried == tries
