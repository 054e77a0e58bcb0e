"""Why a run stops before its work is done, and how fast.

Two levels: *no more* (nothing new is bought; jobs in flight are awaited) and *leave* (end now; the
journal has the jobs in flight, and the same command resumes).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from crucible_batch.core.budget import BLOCKING_CODES, PRICE_ABOVE_CEILING
from crucible_batch.core.circuit_breaker import ConsecutiveCounter
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.outage import Outage
from crucible_batch.core.outcome import EVERYTHING
from crucible_batch.errors import CrucibleBatchError, ExitCode, GatewayError, KeyRefusedError

BUYING = "buying"
"""Key in ``stops`` of what ended all buying, if the run was stopped for another reason later."""
_UNREAD_HINT = (
    "the records of the last accepted jobs can't be read, so their prices are unknown and "
    "no more jobs are started; run the same command again later"
)
_OUR_WORDS = {"NO_ANSWER", "BAD_ANSWER"}


def error_info(error: CrucibleBatchError) -> ErrorInfo:
    """Turn an exception into the data that reports and journals keep."""
    if not isinstance(error, GatewayError):
        return ErrorInfo(error.code, error.message, error.hint)
    return ErrorInfo(error.code, message_with_operation(error), error.hint, error.request_id)


def message_with_operation(error: GatewayError) -> str:
    """Return the error's message, with the operation in front where the message is ours and doesn't
    name it."""
    is_ours = error.code in _OUR_WORDS or error.code.startswith("HTTP_")
    if not is_ours or not error.operation:
        return error.message
    return f"{error.operation}: {error.message}"


class Shutdown:
    """The reasons for which a run stops. Everything here is called from the event loop.

    The table in ``core.circuit_breaker`` has what is counted, and the limits.
    """

    _IN_A_ROW = 5
    """Consecutive jobs with the same error after which the run ends with it."""
    _FAILED_IN_A_ROW = 20

    def __init__(
        self,
        outage: Outage | None = None,
        explained: Callable[[ErrorInfo], ErrorInfo] = lambda error: error,
    ) -> None:
        self._outage = outage or Outage()
        self._explained = explained
        self.reasons: set[ExitCode] = set()
        self.stops: dict[str, ErrorInfo] = {}
        self.leaving = asyncio.Event()
        self.on_change: list[Callable[[], None]] = []
        self.before_purchase: list[Callable[[], None]] = []
        self._no_more = False
        self._last_unserved: ErrorInfo | None = None
        self._unserved = ConsecutiveCounter(self._IN_A_ROW)
        self._refused = ConsecutiveCounter(self._IN_A_ROW)
        self._failed = ConsecutiveCounter(self._FAILED_IN_A_ROW)
        self._unread = ConsecutiveCounter(self._IN_A_ROW)

    @property
    def no_more(self) -> bool:
        """Whether nothing new may be bought."""
        return self._no_more or self.leaving.is_set()

    def may_buy_now(self) -> bool:
        """Return whether a purchase may be sent, right before it is, when its hold is in the
        journal.

        Each function in ``before_purchase`` may stop or hold the run at this moment.
        """
        for check in self.before_purchase:
            check()
        return not self.no_more

    def block(self, price_class: str, error: ErrorInfo) -> None:
        """Record that a job of a price class can't be paid for.

        No further job of the class is started either, unless the reason is one shape's price above
        the ceiling. Exit code 4 depends on the jobs that are blocked at the end of the run.
        """
        if not self.blocked(price_class):
            self.stops[price_class] = self._explained(error)

    def blocked(self, price_class: str) -> bool:
        """Whether no further job of the class is started.

        A price above the ceiling concerns one shape only.
        """
        stop = self.stops.get(price_class)
        return stop is not None and stop.code != PRICE_ABOVE_CEILING

    def end_buying(self, error: ErrorInfo) -> None:
        """Buy nothing more, and wait for jobs in flight.

        Exit code 4 if this leaves jobs blocked.
        """
        self._no_more = True
        self.stops.setdefault(EVERYTHING, error)
        for callback in self.on_change:
            callback()

    def wind_down(self, reason: ExitCode, error: ErrorInfo) -> None:
        """Buy nothing more, and wait for jobs in flight."""
        self.reasons.add(reason)
        ended = self.stops.get(EVERYTHING)
        if ended is not None and ended.code in BLOCKING_CODES:
            # That only ended the buying: both are reported, and what stops the run comes first.
            self.stops[BUYING] = self.stops.pop(EVERYTHING)
        self.end_buying(error)

    def leave(self, reason: ExitCode, error: ErrorInfo) -> None:
        """End immediately."""
        self.wind_down(reason, error)
        self.leaving.set()

    def failed(self, error: CrucibleBatchError) -> None:
        """Leave for an error that every further job would meet: the key, the journal, the disk."""
        self.leave(error.exit_code, error_info(error))

    def note(self, error: CrucibleBatchError, job: str = "") -> None:
        """Note an error of a job (by name): count it if the gateway or the connection failed, else
        leave.
        """
        if not isinstance(error, GatewayError) or isinstance(error, KeyRefusedError):
            self.failed(error)
            return
        self.reasons.add(ExitCode.STOPPED)
        info = error_info(error)
        if job:
            info = replace(info, message=f"job {job}: {info.message}")
        self._last_unserved = info
        if self._unserved.count_reaches_limit() or self._outage.is_given_up:
            self.leave(ExitCode.STOPPED, info)

    def explain(self) -> None:
        """At the end of the run: if jobs are left and no reason is known, use the last error of the
        gateway.
        """
        if self._last_unserved is not None:
            self.stops.setdefault(EVERYTHING, self._last_unserved)

    def pushed_back(self, error: GatewayError) -> None:
        """Count a job that was refused with 429 in all its tries. It is submitted again later in
        the run.

        Once too many in a row, the run winds down; other submits still get their definite answers.
        """
        if self._unserved.count_reaches_limit():
            self.wind_down(ExitCode.STOPPED, error_info(error))

    def refused(self, error: GatewayError) -> None:
        """Count a refusal whose reason is not the job itself."""
        if self._refused.count_reaches_limit((error.status, error.code)):
            self.wind_down(ExitCode.STOPPED, error_info(error))

    def failed_for_good(self, error: ErrorInfo) -> None:
        """Count a job that failed with no attempt left."""
        if self._failed.count_reaches_limit(error.code):
            self.wind_down(ExitCode.STOPPED, error)

    def unread(self, error: GatewayError) -> None:
        """Count a job just bought whose record, and so its price, can't be read."""
        if self._unread.count_reaches_limit():
            info = error_info(error)
            self.wind_down(ExitCode.STOPPED, replace(info, hint=info.hint or _UNREAD_HINT))

    def read(self) -> None:
        """Reset the count of ``unread``."""
        self._unread.reset()

    def accepted(self) -> None:
        """Reset the count of ``refused``: the gateway accepts jobs."""
        self._refused.reset()
        self.served()

    def succeeded(self) -> None:
        """Reset the count of ``failed_for_good``: a job succeeded."""
        self._failed.reset()
        self.served()

    def served(self) -> None:
        """Reset the count of ``note``: the gateway answers."""
        self._unserved.reset()
