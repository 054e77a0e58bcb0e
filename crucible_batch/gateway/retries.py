"""Retries of requests, until there is a definite response or the retry policy is exhausted."""

from __future__ import annotations

import asyncio
import enum
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from crucible_batch.domain.ports import MayResend, always
from crucible_batch.errors import UNSAFE_URL, GatewayError


class Operation(enum.StrEnum):
    """An operation of the gateway's contract, or one of the storage's two (upload and download)."""

    HEALTH = "health"
    CREDITS = "credits"
    WORKFLOWS = "workflows"
    WORKFLOW = "workflow"
    ASSETS = "assets"
    ASSET = "asset"
    CREATE_ASSET = "create_asset"
    DELETE_ASSET = "delete_asset"
    GENERATE = "generate"
    JOB = "job"
    UPLOAD = "upload"
    DOWNLOAD = "download"


class Effect(enum.Enum):
    """The effect of sending a request twice."""

    READ = "nothing"
    KEYED = "the second finds what the first did"
    ONCE = "the second buys again"
    AGAIN = "the same as once"


_EFFECTS: Final = {
    Operation.GENERATE: Effect.KEYED,
    Operation.CREATE_ASSET: Effect.ONCE,
    Operation.DELETE_ASSET: Effect.AGAIN,
    Operation.UPLOAD: Effect.AGAIN,
}


class RetryDecision(NamedTuple):
    """Whether to retry after a failed attempt, and whether the attempt may have taken effect."""

    retry: bool
    in_doubt: bool


_STOP: Final = RetryDecision(retry=False, in_doubt=False)
_RETRY: Final = RetryDecision(retry=True, in_doubt=False)
_DOUBT: Final = RetryDecision(retry=False, in_doubt=True)
_RETRY_IN_DOUBT: Final = RetryDecision(retry=True, in_doubt=True)

_UNSURE: Final = {
    Effect.READ: _RETRY,
    Effect.KEYED: _RETRY_IN_DOUBT,
    Effect.ONCE: _DOUBT,
    Effect.AGAIN: _RETRY_IN_DOUBT,
}


def decide_retry(operation: Operation, status: int | None) -> RetryDecision:
    """Decide what follows a failed attempt. ``status`` is None if there was no response.

    A 2xx status is one of a response that could not be read or belonged to another request.
    """
    effect = _EFFECTS.get(operation, Effect.READ)
    if status is None or 200 <= status < 300 or status in (408, 425) or status >= 500:
        return _UNSURE[effect]
    if status == 429:
        return _RETRY
    if status == 409 and effect is Effect.KEYED:
        return _RETRY_IN_DOUBT
    if status < 400 and effect is not Effect.READ:
        return _DOUBT
    return _STOP


T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits and waits of a call's retries. ``attempts`` counts all attempts (at least 1); the rest are seconds.

    The n-th wait is random between 0 and ``min(max_wait_s, base_s * 2**(n-1))`` (full jitter, so that clients that
    failed at the same time don't retry at the same time). If the response has ``Retry-After``, the wait is that value,
    at most ``retry_after_cap_s``, plus up to ``base_s``, and never shorter than the wait without the header:
    ``Retry-After: 0`` must not use up all attempts at once. No wait is started that would end more than ``total_s``
    after the start of the first attempt.
    """

    attempts: int = 6
    base_s: float = 0.5
    max_wait_s: float = 20.0
    retry_after_cap_s: float = 120.0
    total_s: float = 300.0


NO_RETRIES = RetryPolicy(attempts=1)


@dataclass(frozen=True, slots=True)
class RetryNotice:
    """A retry that is about to happen. ``attempt`` is the number of the failed attempt, from 1.

    ``status`` is the HTTP status and ``asked_s`` the wait that the response asked for, each None if there was none.
    """

    operation: Operation
    attempt: int
    wait_s: float
    reason: str
    status: int | None = None
    asked_s: float | None = None

    @property
    def is_pushback(self) -> bool:
        """Whether the response asks for fewer requests (429 or 503)."""
        return self.status in (429, 503)


OnRetry = Callable[[RetryNotice], None]


def wait_s(policy: RetryPolicy, attempt: int, asked_s: float | None, jitter: float) -> float:
    """Return the wait in seconds after attempt number ``attempt`` (from 1). ``jitter`` is random in [0, 1)."""
    # The exponent is capped, since a large one overflows a float.
    own_s = jitter * min(policy.max_wait_s, policy.base_s * 2.0 ** min(attempt - 1, 60))
    if asked_s is None:
        return own_s
    return max(min(asked_s, policy.retry_after_cap_s) + jitter * policy.base_s, own_s)


def is_worth_retrying(error: BaseException) -> bool:
    """Whether a request that failed with this error is retried, by ``decide_retry``.

    Never for a request that wasn't sent, nor for a download that was encoded: the storage would encode it again.
    """
    if not isinstance(error, GatewayError) or error.code in ("BAD_REQUEST", UNSAFE_URL):
        return False
    if error.code == "BAD_ANSWER" and error.operation == Operation.DOWNLOAD:
        return False
    return decide_retry(Operation(error.operation), error.status).retry


class Retrier:
    """Runs the attempts of a call by ``policy``. Holds no state between calls; may be used concurrently.

    ``sleep``, ``clock`` (monotonic, seconds) and ``jitter`` (in [0, 1)) are parameters for tests.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        on_retry: OnRetry | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.policy = policy
        self._on_retry = on_retry
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter

    async def run(self, attempt: Callable[[], Awaitable[T]], may_resend: MayResend = always) -> T:
        """Call ``attempt`` until it returns, or raise its last ``GatewayError``.

        If any attempt was in doubt, the raised error is in doubt too, whatever the later responses were.
        ``may_resend`` is called after each wait, immediately before the next attempt; if it returns False, the last
        error is raised.
        """
        began = self._clock()
        last: GatewayError | None = None

        async def one() -> T:
            nonlocal last
            try:
                return await attempt()
            except GatewayError as error:
                error.in_doubt = error.in_doubt or (last is not None and last.in_doubt)
                last = error
                raise

        async def pause(seconds: float) -> None:
            await self._sleep(seconds)
            if last is not None and not may_resend(last.in_doubt):
                raise last

        retrying = AsyncRetrying(
            retry=retry_if_exception(is_worth_retrying),
            wait=self._wait,
            stop=lambda state: self._is_over(state, began),
            before_sleep=self._announce,
            sleep=pause,
            reraise=True,
        )
        return await retrying(one)

    def _wait(self, state: RetryCallState) -> float:
        error = _error(state)
        asked_s = error.retry_after_s if isinstance(error, GatewayError) else None
        return wait_s(self.policy, state.attempt_number, asked_s, self._jitter())

    def _is_over(self, state: RetryCallState, began: float) -> bool:
        elapsed = self._clock() - began
        return state.attempt_number >= self.policy.attempts or elapsed + state.upcoming_sleep > self.policy.total_s

    def _announce(self, state: RetryCallState) -> None:
        error = _error(state)
        if not isinstance(error, GatewayError):
            return
        notice = RetryNotice(
            Operation(error.operation),
            state.attempt_number,
            state.upcoming_sleep,
            error.code,
            error.status,
            error.retry_after_s,
        )
        logger.debug("%s again in %.1f s: %s", notice.operation, notice.wait_s, notice.reason)
        if self._on_retry is not None:
            self._on_retry(notice)


def as_retrier(retry: RetryPolicy | Retrier | None, on_retry: OnRetry | None) -> Retrier:
    """Return a retrier for a policy; None means one attempt. A ``Retrier`` is returned as is, ignoring ``on_retry``."""
    return retry if isinstance(retry, Retrier) else Retrier(retry or NO_RETRIES, on_retry=on_retry)


def _error(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome is not None else None
    assert error is not None  # tenacity computes a wait only after failures
    return error
