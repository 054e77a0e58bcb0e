"""Why a run stops before its work is done, and how fast.

Two grades: *no more* (nothing new is bought, what is in flight is awaited) and *leave* (at once; the journal has what
is in flight, and the same command goes on).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from crucible_batch.domain.budget import BLOCKING_CODES, PRICE_ABOVE_CEILING
from crucible_batch.domain.circuit_breaker import ConsecutiveCounter
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.outcome import EVERYTHING
from crucible_batch.errors import CrucibleBatchError, ExitCode, GatewayError

BUYING = "buying"
"""The key of what ended the buying of every workflow, where the run was stopped for something else later."""
_OUR_WORDS = {"NO_ANSWER", "BAD_ANSWER"}


def error_info(error: CrucibleBatchError) -> ErrorInfo:
    """Turn an exception into the data that reports and journals keep."""
    if not isinstance(error, GatewayError):
        return ErrorInfo(error.code, error.message, error.hint)
    return ErrorInfo(error.code, exchange_told(error), error.hint, error.request_id)


def exchange_told(error: GatewayError) -> str:
    """Return the message with the exchange's name, where it is in our own words: those don't say what was asked."""
    is_ours = error.code in _OUR_WORDS or error.code.startswith("HTTP_")
    return f"{error.operation}: {error.message}" if is_ours and error.operation else error.message


class Shutdown:
    """The one place that knows why a run is to stop. Everything here is called from the event loop.

    What counts how often is the table in ``domain.circuit_breaker``.
    """

    _IN_A_ROW = 5
    """So many jobs one after the other that meet the same are no accident: the run ends with that error."""
    _FAILED_IN_A_ROW = 20

    def __init__(self) -> None:
        self.reasons: set[ExitCode] = set()
        self.stops: dict[str, ErrorInfo] = {}
        self.leaving = asyncio.Event()
        self.on_change: list[Callable[[], None]] = []
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

    def block(self, price_class: str, error: ErrorInfo) -> None:
        """A job of a class can't be paid for, and no further one either, unless it is that the one costs too much.

        Exit code 4 comes of the jobs that are blocked at the end: one that was, and is refused later, has failed.
        """
        if not self.blocked(price_class):
            self.stops[price_class] = error

    def blocked(self, price_class: str) -> bool:
        """Whether no further job of the class is asked for: a price above the ceiling is that of one shape only."""
        stop = self.stops.get(price_class)
        return stop is not None and stop.code != PRICE_ABOVE_CEILING

    def end_buying(self, error: ErrorInfo) -> None:
        """Buy nothing more, and wait for what is in flight. Exit code 4 comes of the jobs that this blocks, if any."""
        self._no_more = True
        self.stops.setdefault(EVERYTHING, error)
        for callback in self.on_change:
            callback()

    def wind_down(self, reason: ExitCode, error: ErrorInfo) -> None:
        """Buy nothing more, and wait for what is in flight."""
        self.reasons.add(reason)
        ended = self.stops.get(EVERYTHING)
        if ended is not None and ended.code in BLOCKING_CODES:
            # That ended the buying alone; what stops the run comes first, and both are told.
            self.stops[BUYING] = self.stops.pop(EVERYTHING)
        self.end_buying(error)

    def leave(self, reason: ExitCode, error: ErrorInfo) -> None:
        """End at once."""
        self.wind_down(reason, error)
        self.leaving.set()

    def failed(self, error: CrucibleBatchError) -> None:
        """Something that every further job would meet: the key, the journal, the disk."""
        self.leave(error.exit_code, error_info(error))

    def unserved(self, error: GatewayError, job: str = "") -> None:
        """A job, by its name, could not be brought on because the gateway or the way to it failed."""
        self.reasons.add(ExitCode.STOPPED)
        info = error_info(error)
        self._last_unserved = replace(info, message=f"job {job}: {info.message}") if job else info
        if self._unserved.is_full_with():
            self.leave(ExitCode.STOPPED, self._last_unserved)

    def explain(self) -> None:
        """The work is over: where jobs were left behind and nothing says why the run stopped, what they met does."""
        if self._last_unserved is not None:
            self.stops.setdefault(EVERYTHING, self._last_unserved)

    def pushed_back(self, error: GatewayError) -> None:
        """A job was not taken in all its tries. It will be asked for again: by itself this is no reason to stop.

        Where it is, the others' tries may end: their answers are definite, so that they hold nothing afterwards.
        """
        if self._unserved.is_full_with():
            self.wind_down(ExitCode.STOPPED, error_info(error))

    def refused(self, error: GatewayError) -> None:
        """A job was refused for a reason that isn't its own."""
        if self._refused.is_full_with((error.status, error.code)):
            self.wind_down(ExitCode.STOPPED, error_info(error))

    def failed_for_good(self, error: ErrorInfo) -> None:
        """The gateway reports a job failed, and it has no attempt left."""
        if self._failed.is_full_with(error.code):
            self.wind_down(ExitCode.STOPPED, error)

    def unread(self, error: GatewayError) -> None:
        """The record of a job that was just bought can't be read, so that nobody knows what it costs."""
        if self._unread.is_full_with():
            self.wind_down(ExitCode.STOPPED, error_info(error))

    def read(self) -> None:
        """The record of a job that was just bought was read."""
        self._unread.end()

    def accepted(self) -> None:
        """The gateway took a job: whatever was refused before was refused for its own sake."""
        self._refused.end()
        self.served()

    def succeeded(self) -> None:
        """A job succeeded."""
        self._failed.end()
        self.served()

    def served(self) -> None:
        """The gateway answered: whatever failed before was an accident."""
        self._unserved.end()
