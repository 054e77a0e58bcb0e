"""The metrics of a run, from the moment when its manifest was read until its end, however it ends."""

# ruff: noqa: PLC0415 - prometheus_client is loaded only by runs that need it

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, pairwise

from crucible_batch.api.run_context import RunContext
from crucible_batch.domain.progress import Balance, Message, Observer
from crucible_batch.error_codes import BUG_EXIT_CODE
from crucible_batch.errors import CrucibleBatchError, ExitCode
from crucible_batch.manifest import Manifest
from crucible_batch.report import ReportHead
from crucible_batch.resource_errors import resource_error
from crucible_batch.scheduled_time import times_after
from crucible_batch.telemetry.figures import PeriodFigures, RunFigures

logger = logging.getLogger(__name__)

_MOST_TIMES = 2000
"""Scheduled times among which the longest interval is searched: five years of nights, or a week of five minutes."""
NOT_A_RUN = frozenset({ExitCode.OK, ExitCode.BUSY})
"""Exit codes of errors after which nothing was run, because another run is active: its metrics are not replaced."""


@dataclass(slots=True)
class RunTelemetry:
    """The telemetry of one run. ``observer`` has to receive its messages; it passes them on to the caller's."""

    observer: Observer
    exit_code: int | None = field(default=None, init=False)
    balance: Balance | None = field(default=None, init=False)
    period: PeriodFigures | None = field(default=None, init=False)

    def ended(self, head: ReportHead, exit_code: ExitCode) -> None:
        """Record the end of a run that has a report. Any other end is an exception."""
        self.exit_code = int(exit_code)
        self.balance, self.period = balance_of(head), period_of(head)


def balance_of(head: ReportHead) -> Balance:
    """Return the credits of a run directory. What a period had left is not a budget that a run should stay below."""
    budget = head.credits.budget if head.period is None else None
    return Balance(budget, head.credits.spent, head.credits.held)


def period_of(head: ReportHead) -> PeriodFigures | None:
    """Return the figures of the period's budget; None without one."""
    period = head.period
    if period is None:
        return None
    ends_at = None if period.ends_at is None else datetime.fromisoformat(period.ends_at).timestamp()
    return PeriodFigures(period.account, period.limit, period.spent, period.set_aside, ends_at)


class _GuardedObserver:
    """An observer that passes messages to its own and then on. After an error, its own gets no more of them."""

    def __init__(self, own: Observer, observer: Observer) -> None:
        self._own: Observer | None = own
        self._observer = observer

    def notify(self, message: Message) -> None:
        if self._own is not None:
            try:
                self._own.notify(message)
            except Exception as error:  # noqa: BLE001 - a bug here must not end a paid run
                logger.warning("%s: no longer recorded (%s)", type(self._own).__name__, type(error).__name__)
                self._own = None
        self._observer.notify(message)


@asynccontextmanager
async def measured(context: RunContext) -> AsyncIterator[RunTelemetry]:
    """Measure the run in the block, as its request asks. The metrics are written when the block ends.

    Raises ``UserError`` before the block for a directory or an address that can't be used. Errors after
    that are logged: telemetry never ends a run, nor changes its result.
    """
    request, manifest = context.request, context.terms.manifest_name
    if request.metrics_textfile is None and request.metrics_listen is None:
        yield RunTelemetry(context.observer)
        return
    from crucible_batch.telemetry import metrics

    began_at, path, is_run = context.clock.now(), None, True
    figures = RunFigures(began_at, longest_interval_s(context.manifest, began_at))
    if request.metrics_textfile is not None:
        metrics.check_directory(request.metrics_textfile)
        path = metrics.textfile_path(request.metrics_textfile, manifest)
        figures.succeeded_at = metrics.read_last_success(path, manifest)
    telemetry = RunTelemetry(_GuardedObserver(figures, context.observer))
    listen = request.metrics_listen
    with nullcontext() if listen is None else metrics.serving(listen, manifest, figures):
        try:
            yield telemetry
        except BaseException as error:
            telemetry.exit_code = exit_code_of(error)
            is_run = telemetry.exit_code not in NOT_A_RUN
            raise
        finally:
            figures.finish(context.clock.now(), telemetry.exit_code or 0, telemetry.balance, telemetry.period)
            if path is not None and is_run:
                metrics.write_textfile(path, manifest, figures)


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of a command that ends with this error."""
    match error:
        case CrucibleBatchError():
            return int(error.exit_code)
        case KeyboardInterrupt() | asyncio.CancelledError():
            return int(ExitCode.SIGINT)
        case SystemExit():
            return int(ExitCode.SIGTERM)
        case OSError():
            return int(ExitCode.STOPPED)
        case _:
            lack = resource_error(error)
            return BUG_EXIT_CODE if lack is None else int(lack.exit_code)


def longest_interval_s(manifest: Manifest, now: float) -> float | None:
    """Return the longest time between two runs by the manifest's schedule, in seconds; None without a schedule."""
    schedule = manifest.schedule
    if schedule is None:
        return None
    times = times_after(schedule.cron, manifest.schedule_zone, datetime.fromtimestamp(now, UTC))
    gaps = [(after - before).total_seconds() for before, after in pairwise(islice(times, _MOST_TIMES))]
    return max(gaps, default=None)
