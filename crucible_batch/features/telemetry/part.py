"""The metrics of a run, from the reading of its manifest until its end, however it ends."""

# ruff: noqa: PLC0415 - prometheus_client is loaded only by runs that need it

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from datetime import UTC, datetime
from itertools import islice, pairwise

from crucible_batch.core.progress import Balance
from crucible_batch.errors import ExitCode
from crucible_batch.features.telemetry.figures import RunFigures
from crucible_batch.manifest import Manifest
from crucible_batch.report import ReportHead
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.parts import ReadRun, RunPart
from crucible_batch.runs.raised_errors import failure_of

_MOST_TIMES = 2000
"""Scheduled times among which the longest interval is searched: five years of nights, or a week of
five minutes.
"""
NOT_A_RUN = frozenset({ExitCode.OK, ExitCode.BUSY})
"""Exit codes of errors after which nothing was run, because another run is active: its metrics are
not replaced.
"""


class TelemetryPart(RunPart):
    """Measures a run as its request asks.

    Inside the notifications, so that an unusable directory is notified.
    """

    _run: ReadRun
    _opened: ExitStack

    @asynccontextmanager
    async def around(self, run: ReadRun) -> AsyncIterator[None]:
        self._run = run
        with ExitStack() as self._opened:
            yield

    def check(self, run: RunContext) -> None:
        self._opened.enter_context(measured(self._run))


def balance_of(head: ReportHead) -> Balance:
    """Return the credits of a run directory.

    What a period had left is not a budget that a run should stay below.
    """
    budget = head.credits.budget if head.period is None else None
    return Balance(budget, head.credits.spent, head.credits.held)


@contextmanager
def measured(run: ReadRun) -> Iterator[None]:
    """Measure the run in the block. The metrics are written when the block ends.

    Raises ``UserError`` before the block for a directory or an address that can't be used. Errors
    after that are logged: telemetry never ends a run, nor changes its result.
    """
    request, manifest = run.request, run.manifest.name
    if request.metrics_textfile is None and request.metrics_listen is None:
        yield
        return
    from crucible_batch.features.telemetry import metrics

    began_at, path, is_run, exit_code = run.clock.now(), None, True, 0
    figures = RunFigures(began_at, longest_interval_s(run.manifest, began_at))
    if request.metrics_textfile is not None:
        metrics.check_directory(request.metrics_textfile)
        path = metrics.textfile_path(request.metrics_textfile, manifest)
        figures.succeeded_at = metrics.read_last_success(path, manifest)
    run.observers.add(figures)
    listen = request.metrics_listen
    endpoint: AbstractContextManager[object] = nullcontext()
    if listen is not None:
        endpoint = metrics.serving(listen, manifest, figures)
    with endpoint:
        try:
            yield
        except BaseException as error:
            exit_code = exit_code_of(error)
            is_run = exit_code not in NOT_A_RUN
            raise
        finally:
            balance = period = None
            if run.result is not None:
                head, ended = run.result
                exit_code, balance, period = int(ended), balance_of(head), head.period
            figures.finish(run.clock.now(), exit_code, balance, period)
            if path is not None and is_run:
                metrics.write_textfile(path, manifest, figures)


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of a command that ends with this error."""
    if isinstance(error, asyncio.CancelledError):
        return int(ExitCode.SIGINT)
    _, exit_code = failure_of(error)
    return exit_code


def longest_interval_s(manifest: Manifest, now: float) -> float | None:
    """Return the longest time in seconds between two runs by the schedule; None without one."""
    times = manifest.header.times_after(datetime.fromtimestamp(now, UTC))
    gaps = [
        (after - before).total_seconds() for before, after in pairwise(islice(times, _MOST_TIMES))
    ]
    return max(gaps, default=None)
