"""Outages: what is waited for, how long, in what pauses, and what is reported. Only a fake clock
sleeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
import pytest

from crucible_batch.core.outage import Outage
from crucible_batch.errors import UNSAFE_URL, GatewayError, KeyRefusedError
from crucible_batch.gateway import Retrier, RetryNotice, RetryPolicy
from crucible_batch.gateway.retries import is_unanswered
from crucible_batch.gateway.transport import InvalidCertificateError
from tests.harness.case_table import each_case
from tests.unit.gateway.conftest import each_operation

LIMIT_S = 600.0
POLICY = RetryPolicy(patience_s=120.0, outage_s=LIMIT_S)
UNANSWERED = [
    (None, "NO_ANSWER"),
    (502, "HTTP_502"),
    (503, "HTTP_503"),
    (504, "HTTP_504"),
    (502, "BAD_GATEWAY"),
]


def failed(status: int | None, code: str, operation: str = "job") -> GatewayError:
    kind = KeyRefusedError if status == 401 else GatewayError
    return kind("down", code=code, status=status, operation=operation)


@dataclass
class Clockwork:
    """A clock that only sleeping moves. ``answer`` makes each attempt, which takes no time."""

    answer: Callable[[float], None]
    now: float = 0.0
    attempts: list[float] = field(default_factory=list)
    told: list[tuple[float, str | None]] = field(default_factory=list)
    notices: list[RetryNotice] = field(default_factory=list)
    outage: Outage = field(init=False)

    def __post_init__(self) -> None:
        self.outage = Outage(lambda lasted_s, reason: self.told.append((lasted_s, reason)))

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def retrier(self, policy: RetryPolicy = POLICY) -> Retrier:
        return Retrier(
            policy,
            on_retry=self.notices.append,
            sleep=self.sleep,
            clock=lambda: self.now,
            jitter=lambda: 0.999,
            outage=self.outage,
        )

    async def run(self, policy: RetryPolicy = POLICY, before_retry: Any = None) -> None:
        async def attempt() -> None:
            self.attempts.append(self.now)
            self.answer(self.now)

        await self.retrier(policy).run(attempt, before_retry)


def down_until(end_s: float, error: Callable[[], GatewayError]) -> Callable[[float], None]:
    def answer(now: float) -> None:
        if now < end_s:
            raise error()

    return answer


@each_case("status, code", UNANSWERED)
@each_case("operation", ["job", "generate", "credits", "workflow", "upload", "download", "assets"])
async def test_every_request_outlasts_an_outage_that_is_short_enough(
    operation: str, status: int, code: str
) -> None:
    world = Clockwork(down_until(LIMIT_S - 1, lambda: failed(status, code, operation)))
    await world.run()
    assert world.attempts[-1] >= LIMIT_S - 1
    assert not world.outage.is_on


@each_case("status, code", UNANSWERED)
async def test_an_outage_ends_the_call_once_it_has_lasted_as_long_as_is_allowed(
    status: int, code: str
) -> None:
    world = Clockwork(down_until(1e9, lambda: failed(status, code)))
    with pytest.raises(GatewayError, match="the gateway has been unusable for 10 min"):
        await world.run()
    assert world.attempts[-1] == pytest.approx(LIMIT_S)
    assert world.outage.is_given_up


async def test_the_pauses_grow_up_to_half_a_minute() -> None:
    world = Clockwork(down_until(1e9, lambda: failed(None, "NO_ANSWER")))
    with pytest.raises(GatewayError):
        await world.run()
    pauses = [round(after - before, 3) for before, after in pairwise(world.attempts)][:-1]
    assert pauses == sorted(pauses)
    assert 25 < pauses[-1] <= 30
    assert len(world.attempts) < 30


@pytest.mark.parametrize(
    "policy", [RetryPolicy(patience_s=120.0), RetryPolicy(patience_s=120.0, outage_s=0.0)]
)
async def test_an_outage_that_is_not_to_be_waited_for_ends_the_call_after_its_attempts(
    policy: RetryPolicy,
) -> None:
    world = Clockwork(down_until(1e9, lambda: failed(None, "NO_ANSWER")))
    with pytest.raises(GatewayError):
        await world.run(policy)
    assert len(world.attempts) == policy.attempts
    assert not world.outage.is_given_up
    assert world.told == []


async def test_before_the_manifest_is_checked_an_outage_is_not_waited_for() -> None:
    world = Clockwork(down_until(1e9, lambda: failed(None, "NO_ANSWER")))
    world.outage.is_awaited = False
    with pytest.raises(GatewayError):
        await world.run()
    assert len(world.attempts) == POLICY.attempts


@pytest.mark.parametrize(
    ("status", "code", "attempts"),
    [
        (401, "UNAUTHORIZED", 1), (404, "NOT_A_GATEWAY", 1), (404, "HTTP_404", 1),
        (403, "HTTP_403", 1), (402, "INSUFFICIENT_CREDITS", 1), (500, "INTERNAL_ERROR", 6),
        (500, "HTTP_500", 6), (429, "BUSY", 6),
    ],
)  # fmt: skip
@pytest.mark.parametrize("has_bought", [True, False])
async def test_an_answer_is_not_an_outage(
    status: int, code: str, attempts: int, has_bought: bool
) -> None:
    """Nor is an error of the credits alone before the first purchase, since it keeps no run from
    it."""
    world = Clockwork(down_until(1e9, lambda: failed(status, code, "credits")))
    world.outage.has_bought = has_bought
    with pytest.raises(GatewayError):
        await world.run()
    assert len(world.attempts) == attempts
    assert not world.outage.number


ERRORS = [
    (500, "INTERNAL_ERROR"), (500, "HTTP_500"),
    (501, "HTTP_501"), (503, "UNAVAILABLE"), (522, "HTTP_522"),
]  # fmt: skip


@each_case("status, code", ERRORS)
@each_case("operation", ["workflows", "workflow", "generate"])
async def test_before_the_first_purchase_each_error_of_the_gateway_is_an_outage(
    operation: str, status: int, code: str
) -> None:
    world = Clockwork(down_until(1e9, lambda: failed(status, code, operation)))
    world.outage.has_bought = False
    with pytest.raises(GatewayError, match="the gateway has been unusable for 10 min"):
        await world.run()
    assert world.attempts[-1] == pytest.approx(LIMIT_S)
    assert world.outage.is_given_up


@each_operation
async def test_the_first_purchase_is_a_submit_or_an_upload_that_is_accepted(
    world: Any, failed: Any, ok: Any, call: Any, good_data: Any, operation: str
) -> None:
    here = world(failed(403), ok(good_data(operation)), policy=RetryPolicy(attempts=1))
    outage = here.client._retrier.outage
    outage.has_bought = False
    with pytest.raises(GatewayError):
        await call(here.client, operation)
    assert not outage.has_bought
    await call(here.client, operation)
    assert outage.has_bought is (operation in {"generate", "create_asset"})


async def test_a_gateway_that_is_too_busy_is_waited_for_as_long() -> None:
    world = Clockwork(down_until(LIMIT_S - 30, lambda: failed(503, "UNAVAILABLE", "credits")))
    await world.run()
    assert world.told == []
    assert not world.outage.number


@pytest.mark.parametrize("code", ["BAD_REQUEST", UNSAFE_URL])
async def test_a_request_that_is_not_sent_shows_nothing_of_the_gateway(code: str) -> None:
    world = Clockwork(down_until(1e9, lambda: failed(None, code)))
    world.outage.unanswered(0.0)
    with pytest.raises(GatewayError):
        await world.run()
    assert world.outage.is_on


async def test_a_request_that_fails_while_others_are_answered_is_not_waited_for() -> None:
    """Such as one that the gateway can't answer within the time of its proxy.

    It has the patience of any other.
    """
    world = Clockwork(down_until(1e9, lambda: failed(504, "HTTP_504")))

    async def others_answered(_error: GatewayError, seconds: float) -> None:
        world.outage.answered(world.now)
        await world.sleep(seconds)

    with pytest.raises(GatewayError):
        await world.run(before_retry=others_answered)
    assert 100 < world.attempts[-1] < 160
    assert not world.outage.is_given_up


async def test_after_an_outage_a_call_has_its_patience_with_other_failures_still() -> None:
    def answer(now: float) -> None:
        if now < 500:
            raise failed(None, "NO_ANSWER")
        if now < 600:
            raise failed(500, "INTERNAL_ERROR")

    world = Clockwork(answer)
    await world.run()
    assert world.attempts[-1] >= 600


@pytest.mark.parametrize("began_s", [500.0, LIMIT_S])
async def test_a_call_that_begins_late_in_an_outage_is_not_given_more_time(began_s: float) -> None:
    world = Clockwork(down_until(1e9, lambda: failed(None, "NO_ANSWER")), now=began_s)
    world.outage.unanswered(0.0)
    with pytest.raises(GatewayError, match="has been unusable for 10 min"):
        await world.run()
    assert world.attempts[-1] == pytest.approx(LIMIT_S)


@pytest.mark.parametrize(
    ("outage_s", "is_awaited", "most_s"), [(0, True, 300), (10, False, 10), (10, True, 10)]
)
async def test_a_page_that_asks_for_a_long_wait_does_not_extend_the_time_allowed(
    outage_s: float, is_awaited: bool, most_s: float
) -> None:
    def answer(_now: float) -> None:
        raise GatewayError(
            "down", code="HTTP_503", status=503, operation="credits", retry_after_s=120.0
        )

    world = Clockwork(answer)
    world.outage.is_awaited = is_awaited
    with pytest.raises(GatewayError):
        await world.run(RetryPolicy(patience_s=120.0, outage_s=outage_s))
    assert world.now <= most_s + 1e-6
    assert len(world.attempts) > 1


async def test_it_is_reported_once_a_minute_and_its_retries_are_not_reported_each() -> None:
    world = Clockwork(down_until(300, lambda: failed(None, "NO_ANSWER")))
    await world.run()
    assert [reason for _, reason in world.told] == ["down"] * (len(world.told) - 1) + [None]
    lasted = [lasted_s for lasted_s, reason in world.told if reason]
    assert len(lasted) in {4, 5}
    assert all(60 <= after - before <= 90 for before, after in pairwise(lasted))
    assert 0 < len(world.notices) < POLICY.attempts


async def test_the_storage_has_outages_of_its_own() -> None:
    world = Clockwork(down_until(1e9, lambda: failed(None, "NO_ANSWER", "download")))

    async def attempt() -> None:
        world.answer(world.now)

    with pytest.raises(GatewayError):
        await world.retrier().for_storage().run(attempt)
    assert world.now == pytest.approx(LIMIT_S)
    assert not world.outage.is_on
    assert not world.outage.is_given_up


def test_a_certificate_that_is_not_valid_is_not_an_outage() -> None:
    error = failed(None, "NO_ANSWER", "credits")
    error.__cause__ = httpx.ConnectError("refused")
    assert is_unanswered(error)
    error.__cause__ = InvalidCertificateError("expired")
    assert not is_unanswered(error)


async def test_doubt_outlasts_an_outage(world: Any, failed: Any) -> None:
    here = world(httpx.ReadError, httpx.ConnectError, failed(402), policy=POLICY)
    with pytest.raises(GatewayError) as caught:
        await here.client.generate("w", {}, idempotency_key="k")
    assert caught.value.in_doubt
    assert {request.content for request in here.requests} == {here.requests[0].content}
