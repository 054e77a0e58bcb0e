"""Transport retries: the same request again, until a definite answer or the end of patience."""

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
    """What is asked of the gateway or its storage; the contract's operations, then storage's two."""

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
    """What sending a request twice does."""

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
    """What follows from one failed try."""

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
    """Judge a try that did not end in the wanted answer. ``status`` is None where no answer came.

    A 2xx that comes here is one that could not be read, or was an answer to another question.
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
    """How patient a call is. ``attempts`` counts tries in all (at least 1); the rest are seconds.

    The n-th wait is random between 0 and ``min(max_wait_s, base_s * 2**(n-1))`` (full jitter: clients that failed
    together must not come back together). Where the answer asked for a wait, it is kept, plus up to ``base_s``, and is
    never shorter than our own would be: a ``Retry-After: 0`` must not use all tries up at once.
    No wait begins that would end later than ``total_s`` after the first try did.
    """

    attempts: int = 6
    base_s: float = 0.5
    max_wait_s: float = 20.0
    retry_after_cap_s: float = 120.0
    total_s: float = 300.0


NO_RETRIES = RetryPolicy(attempts=1)


@dataclass(frozen=True, slots=True)
class RetryNotice:
    """A call is about to be tried again. ``attempt`` is the number of the try that failed, from 1.

    ``status`` and ``asked_s``, the wait that it asked for, are those of the answer, None where it had none.
    """

    operation: Operation
    attempt: int
    wait_s: float
    reason: str
    status: int | None = None
    asked_s: float | None = None

    @property
    def is_pushback(self) -> bool:
        """Whether the answer says that there are too many requests."""
        return self.status in (429, 503)


OnRetry = Callable[[RetryNotice], None]


def wait_s(policy: RetryPolicy, attempt: int, asked_s: float | None, jitter: float) -> float:
    """Decide the wait after try number ``attempt`` (from 1). ``jitter`` is random in [0, 1)."""
    # The exponent is capped before it is used: 2**1000 seconds is no float.
    own_s = jitter * min(policy.max_wait_s, policy.base_s * 2.0 ** min(attempt - 1, 60))
    if asked_s is None:
        return own_s
    return max(min(asked_s, policy.retry_after_cap_s) + jitter * policy.base_s, own_s)


def is_worth_retrying(error: BaseException) -> bool:
    """Whether the error is one that the policy's table sends again.

    A request that was never sent is not, nor is a download that came encoded: its storage does so every time.
    """
    if not isinstance(error, GatewayError) or error.code in ("BAD_REQUEST", UNSAFE_URL):
        return False
    if error.code == "BAD_ANSWER" and error.operation == Operation.DOWNLOAD:
        return False
    return decide_retry(Operation(error.operation), error.status).retry


class Retrier:
    """Runs tries of a call by ``policy``. Holds no state between calls; may be used concurrently.

    ``sleep``, ``clock`` (monotonic, seconds) and ``jitter`` (in [0, 1)) are arguments so that tests need not wait.
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

        Doubt sticks: once a try was in doubt, the error raised at the end is, whatever the later answers said.
        ``may_resend`` is called after each wait, right before the next try; where it returns
        False, the last error is raised.
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
    """Make a retrier of a policy; None tries once. One that is given brings its own ``on_retry``."""
    return retry if isinstance(retry, Retrier) else Retrier(retry or NO_RETRIES, on_retry=on_retry)


def _error(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome is not None else None
    assert error is not None  # tenacity calls for a wait after failures only
    return error
