"""Why a run stops before its work is done, and how fast.

Two grades: *no more* (nothing new is bought, what is in flight is awaited) and *leave* (at once; the journal has what
is in flight, and the same command goes on).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from crucible_batch.core.answers import ErrorInfo
from crucible_batch.core.ending import EVERYTHING
from crucible_batch.errors import CrucibleBatchError, ExitCode, GatewayError


def error_info(error: CrucibleBatchError) -> ErrorInfo:
    """Turn an exception into the data that reports and journals keep."""
    request_id = error.request_id if isinstance(error, GatewayError) else None
    return ErrorInfo(error.code, error.message, error.hint, request_id)


class Stop:
    """The one place that knows why a run is to stop. Everything here is called from the event loop."""

    _FAILURES_IN_A_ROW = 5
    """So many jobs one after the other that the gateway didn't serve are no accident: the run ends with that error."""

    def __init__(self) -> None:
        self.reasons: set[ExitCode] = set()
        self.stops: dict[str, ErrorInfo] = {}
        self.leaving = asyncio.Event()
        self.on_change: list[Callable[[], None]] = []
        self._no_more = False
        self._failures_in_a_row = 0

    @property
    def no_more(self) -> bool:
        """Whether nothing new may be bought."""
        return self._no_more or self.leaving.is_set()

    def block(self, price_class: str, error: ErrorInfo) -> None:
        """No further job of a class can be paid for."""
        self.stops.setdefault(price_class, error)
        self.reasons.add(ExitCode.OUT_OF_CREDITS)

    def blocked(self, price_class: str) -> bool:
        return price_class in self.stops

    def wind_down(self, reason: ExitCode, error: ErrorInfo) -> None:
        """Buy nothing more, and wait for what is in flight."""
        self._no_more = True
        self.reasons.add(reason)
        self.stops.setdefault(EVERYTHING, error)
        for callback in self.on_change:
            callback()

    def leave(self, reason: ExitCode, error: ErrorInfo) -> None:
        """End at once."""
        self.wind_down(reason, error)
        self.leaving.set()

    def failed(self, error: CrucibleBatchError) -> None:
        """Something that every further job would meet: the key, the journal, the disk."""
        self.leave(error.exit_code, error_info(error))

    def unserved(self, error: GatewayError) -> None:
        """A job could not be brought on because the gateway or the way to it failed."""
        self.reasons.add(ExitCode.STOPPED)
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._FAILURES_IN_A_ROW:
            self.leave(ExitCode.STOPPED, error_info(error))

    def served(self) -> None:
        """The gateway answered: whatever failed before was an accident."""
        self._failures_in_a_row = 0
