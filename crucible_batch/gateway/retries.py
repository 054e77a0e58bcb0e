"""Retries of requests, until there is a definite response or the retry policy is exhausted."""

from __future__ import annotations

import asyncio
import enum
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from crucible_batch.core.outage import Outage
from crucible_batch.core.ports import BeforeRetry
from crucible_batch.core.retry_rule import KEY_REUSED
from crucible_batch.errors import UNSAFE_URL, GatewayError
from crucible_batch.gateway.transport import InvalidCertificateError
from crucible_batch.gateway.url_guard import host_of


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


_EFFECTS = {
    Operation.GENERATE: Effect.KEYED,
    Operation.CREATE_ASSET: Effect.ONCE,
    Operation.DELETE_ASSET: Effect.AGAIN,
    Operation.UPLOAD: Effect.AGAIN,
}


IN_PROGRESS = frozenset(
    {
        Operation.GENERATE,
        Operation.JOB,
        Operation.CREATE_ASSET,
        Operation.ASSET,
        Operation.UPLOAD,
        Operation.DOWNLOAD,
    }
)
"""The operations that a run performs for its jobs, after the gateway has answered at its start."""

PURCHASES = frozenset({Operation.GENERATE, Operation.CREATE_ASSET})


class RetryDecision(NamedTuple):
    """Whether to retry after a failed attempt, and whether the attempt may have taken effect."""

    retry: bool
    in_doubt: bool


_STOP = RetryDecision(retry=False, in_doubt=False)
_RETRY = RetryDecision(retry=True, in_doubt=False)
_DOUBT = RetryDecision(retry=False, in_doubt=True)
_RETRY_IN_DOUBT = RetryDecision(retry=True, in_doubt=True)

_UNSURE = {
    Effect.READ: _RETRY,
    Effect.KEYED: _RETRY_IN_DOUBT,
    Effect.ONCE: _DOUBT,
    Effect.AGAIN: _RETRY_IN_DOUBT,
}


def decide_retry(operation: Operation, status: int | None, code: str = "") -> RetryDecision:
    """Decide what follows a failed attempt.

    ``status`` is None if there was no response; ``code`` is the gateway's. A 2xx status is one of a
    response that could not be read or belonged to another request. A 409 means that an earlier
    submit with the same key is in progress, unless its code is ``KEY_REUSED``: another request has
    the key, so this one was definitely not accepted, and is not accepted later either.
    """
    effect = _EFFECTS.get(operation, Effect.READ)
    if status is None or 200 <= status < 300:
        return _UNSURE[effect]
    if status in (408, 425) or status >= 500:
        return _UNSURE[effect]
    if status == 429:
        return _RETRY
    if status == 409 and effect is Effect.KEYED and code != KEY_REUSED:
        return _RETRY_IN_DOUBT
    if status < 400 and effect is not Effect.READ:
        return _DOUBT
    return _STOP


T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits and waits of a call's retries.

    ``attempts`` counts all attempts (at least 1); the rest are seconds. The n-th wait is random
    between 0 and ``min(max_wait_s, base_s * 2**(n-1))`` (full jitter, so that clients that failed
    at the same time don't retry at the same time). If the response has ``Retry-After``, the wait is
    that value, at most ``retry_after_cap_s``, plus up to ``base_s``, and never shorter than the
    wait without the header: ``Retry-After: 0`` must not use up all attempts in a row. No wait is
    started that would end more than ``total_s`` after the start of the first attempt.

    The requests of jobs in progress, ``IN_PROGRESS``, are retried for ``patience_s`` at least,
    whatever their number. Every request is retried until an outage has lasted ``outage_s``
    (``core.outage``), with waits up to ``outage_wait_s``; 0 means that an outage is not waited for.
    Neither ``patience_s`` nor ``total_s`` counts outages.
    """

    attempts: int = 6
    base_s: float = 0.5
    max_wait_s: float = 20.0
    retry_after_cap_s: float = 120.0
    total_s: float = 300.0
    patience_s: float = 0.0
    outage_s: float = 0.0
    outage_wait_s: float = 30.0


NO_RETRIES = RetryPolicy(attempts=1)


@dataclass(frozen=True, slots=True)
class RetryNotice:
    """A retry that is about to happen. ``attempt`` is the number of the failed attempt, from 1.

    ``status`` is the HTTP status, None if there was no response. ``host`` is the host that is
    asked, with its port; empty if the caller did not name it.
    """

    operation: Operation
    attempt: int
    wait_s: float
    reason: str
    status: int | None
    host: str


OnRetry = Callable[[RetryNotice], None]


def wait_s(policy: RetryPolicy, attempt: int, asked_s: float | None, jitter: float) -> float:
    """Return the wait in seconds after attempt number ``attempt`` (from 1).

    ``jitter`` is random in [0, 1).
    """
    # The exponent is capped, since a large one overflows a float.
    own_s = jitter * min(policy.max_wait_s, policy.base_s * 2.0 ** min(attempt - 1, 60))
    if asked_s is None:
        return own_s
    return max(min(asked_s, policy.retry_after_cap_s) + jitter * policy.base_s, own_s)


def is_worth_retrying(error: BaseException) -> bool:
    """Whether a request that failed with this error is retried, by ``decide_retry``.

    Never for a request that wasn't sent, nor for a download that was encoded: the storage would
    encode it again.
    """
    if not isinstance(error, GatewayError) or error.code in ("BAD_REQUEST", UNSAFE_URL):
        return False
    if error.code == "BAD_ANSWER" and error.operation == Operation.DOWNLOAD:
        return False
    return decide_retry(Operation(error.operation), error.status, error.code).retry


_NOTHING_BEHIND = frozenset({502, 504})
"""Statuses that a proxy answers with if the gateway behind it does not answer."""


def is_unanswered(error: GatewayError, *, has_bought: bool = True) -> bool:
    """Whether a request got no answer from the gateway, by the table in ``core.outage``."""
    if error.code == "NO_ANSWER" and error.status is None:
        return not isinstance(error.__cause__, InvalidCertificateError)
    if error.status is None:
        return False
    # No purchase depends on the account's credits and ledger, so their errors don't keep a run from
    # its purchases.
    is_needed = error.operation != Operation.CREDITS
    if error.status >= 500 and is_needed and not has_bought:
        return True
    if error.status == 503:
        return error.code == "HTTP_503"
    return error.status in _NOTHING_BEHIND


@dataclass(slots=True)
class _Call:
    """A call with its retries. ``outages_s``: how long outages had lasted when it began.

    ``outage`` is the number of the outage in which the latest attempt was made, None if there was
    none.
    """

    began: float
    outages_s: float
    outage: int | None = None


class Retrier:
    """Runs the attempts of a call by ``policy``; may be used concurrently.

    Calls share nothing but ``outage``. ``sleep``, ``clock`` (monotonic, seconds) and ``jitter`` (in
    [0, 1)) are parameters for tests.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        on_retry: OnRetry | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        outage: Outage | None = None,
    ) -> None:
        self.policy = policy
        self.outage = outage or Outage()
        self._on_retry = on_retry
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter

    def for_storage(self) -> Retrier:
        """Return a retrier for the storage, which is another server.

        Its outages are its own, and are not reported.
        """
        return Retrier(
            self.policy,
            on_retry=self._on_retry,
            sleep=self._sleep,
            clock=self._clock,
            jitter=self._jitter,
        )

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        before_retry: BeforeRetry | None = None,
        *,
        url: str = "",
    ) -> T:
        """Call ``attempt`` until it returns, or raise its last ``GatewayError``.

        If any attempt was in doubt, the raised error is in doubt too, whatever the later responses
        were. What else ``attempt`` raises ends the call. ``before_retry`` does the waiting, if it
        is given. Of ``url``, which may be signed, only the host is logged.
        """
        began = self._clock()
        call = _Call(began, self.outage.total_s(began))
        try:
            return await self._attempt(attempt, call)
        except GatewayError as error:
            if not is_worth_retrying(error):
                raise
            last = error
        failed = [last]

        async def again() -> T:
            nonlocal last
            if failed:
                raise failed.pop()
            try:
                return await self._attempt(attempt, call)
            except GatewayError as error:
                error.in_doubt = error.in_doubt or last.in_doubt
                last = error
                raise

        async def pause(seconds: float) -> None:
            if before_retry is None:
                await self._sleep(seconds)
            else:
                await before_retry(last, seconds)

        # Made only now, since tenacity's loop costs a third of a request. It receives the first
        # attempt as its error.
        retrying = AsyncRetrying(
            retry=retry_if_exception(is_worth_retrying),
            wait=lambda state: self._wait(state, call),
            stop=lambda state: self._is_over(state, call),
            before_sleep=lambda state: self._announce(state, call, url),
            sleep=pause,
            reraise=True,
        )
        return await retrying(again)

    async def _attempt(self, attempt: Callable[[], Awaitable[T]], call: _Call) -> T:
        """Make one attempt, and note whether the gateway has answered."""
        outage = self.outage
        call.outage = None
        if outage.is_on:
            call.outage = outage.number
        try:
            result = await attempt()
        except GatewayError as error:
            if self._is_unanswered(error):
                outage.unanswered(self._clock())
            elif error.code not in ("BAD_REQUEST", UNSAFE_URL):  # those are not sent
                outage.answered(self._clock())
            raise
        if outage.is_on:
            outage.answered(self._clock())
        return result

    def _is_unanswered(self, error: GatewayError) -> bool:
        return is_unanswered(error, has_bought=self.outage.has_bought)

    def _is_outage(self, call: _Call) -> bool:
        """Whether nothing has been answered since before the latest attempt of a call.

        If other requests are answered meanwhile, only this request fails, and waiting for the
        gateway does not help.
        """
        return self.outage.is_on and self.outage.number == call.outage

    @property
    def _outage_s(self) -> float:
        """How long an outage is waited for, in seconds."""
        if self.outage.is_awaited:
            return self.policy.outage_s
        return 0.0

    def _wait(self, state: RetryCallState, call: _Call) -> float:
        policy, error = self.policy, _error(state)
        if self._is_outage(call):
            policy = replace(policy, max_wait_s=policy.outage_wait_s)
        own_s = wait_s(policy, state.attempt_number, error.retry_after_s, self._jitter())
        left_s = policy.outage_s - self.outage.lasted_s(self._clock())
        if self._is_unanswered(error) and left_s > 0:
            return min(own_s, left_s)  # the last attempt is made at the end of the time allowed
        return own_s

    def _is_over(self, state: RetryCallState, call: _Call) -> bool:
        """Whether a call ends with its latest error, and is not retried."""
        error, now = _error(state), self._clock()
        is_last = state.attempt_number >= self.policy.attempts
        if self._is_outage(call):
            if self._outage_s:
                return not self._awaits(error, now)
            is_late = now - call.began + state.upcoming_sleep > self.policy.total_s
            is_too_long = 0 < self.policy.outage_s <= self.outage.lasted_s(now)
            return is_last or is_late or is_too_long
        # Without the time of outages: after one, a call has the same patience with other failures
        # as before it.
        elapsed_s = now - call.began - (self.outage.total_s(now) - call.outages_s)
        patience_s = 0.0
        if error.operation in IN_PROGRESS:
            patience_s = self.policy.patience_s
        if error.status == 503:
            patience_s = max(patience_s, self._outage_s)
        until_next_s = elapsed_s + state.upcoming_sleep
        if is_last and until_next_s >= patience_s:
            return True
        return until_next_s > max(self.policy.total_s, patience_s)

    def _awaits(self, error: GatewayError, now: float) -> bool:
        """Whether the end of the present outage is still awaited.

        If not, its error has how long it was.
        """
        lasted_s = self.outage.lasted_s(now)
        if lasted_s < self._outage_s:
            return True
        self.outage.is_given_up = True
        lasted = f"{lasted_s:.0f} s"
        if lasted_s >= 120:
            lasted = f"{lasted_s / 60:.0f} min"
        error.message += f"; the gateway has been unusable for {lasted}"
        return False

    def _announce(self, state: RetryCallState, call: _Call, url: str) -> None:
        error = _error(state)
        notice = RetryNotice(
            Operation(error.operation),
            state.attempt_number,
            state.upcoming_sleep,
            error.code,
            error.status,
            host_of(url) if url else "",
        )
        logger.debug(
            "%s at %s again in %.1f s: %s",
            notice.operation,
            notice.host,
            notice.wait_s,
            notice.reason,
        )
        is_waiting = self._is_outage(call) and self._outage_s > 0
        if is_waiting:
            self.outage.waiting(self._clock(), error.message)
        # Then the wait of all requests is reported once a minute, and not each of them.
        is_told = is_waiting and self.outage.is_told
        if self._on_retry is not None and not is_told:
            self._on_retry(notice)


def as_retrier(retry: RetryPolicy | Retrier | None, on_retry: OnRetry | None = None) -> Retrier:
    """Return a retrier for a policy; None means one attempt.

    A ``Retrier`` is returned as is, ignoring ``on_retry``.
    """
    if isinstance(retry, Retrier):
        return retry
    return Retrier(retry or NO_RETRIES, on_retry=on_retry)


def _error(state: RetryCallState) -> GatewayError:
    assert state.outcome is not None  # it is asked for after an attempt
    error = state.outcome.exception()
    assert isinstance(error, GatewayError)  # the only one that is_worth_retrying
    return error
