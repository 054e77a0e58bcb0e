"""The metrics of a run on a cluster: those of the complete run, written by its coordinator at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from crucible_batch.api.draft import read_source
from crucible_batch.api.request import RunRequest
from crucible_batch.api.run_telemetry import NOT_A_RUN, balance_of, exit_code_of, longest_interval_s, period_of
from crucible_batch.api.running import RunResult
from crucible_batch.domain.outcome import Outcome
from crucible_batch.engine import SystemClock
from crucible_batch.telemetry.figures import RunFigures


@contextmanager
def cluster_run_metrics(request: RunRequest) -> Iterator[Callable[[RunResult], None]]:
    """Write the metrics when the block ends, if the request asks for them. The yielded function takes the result.

    What only workers measure is not in them: stages, outputs, retries and limits. Raises ``UserError`` before the block
    for a directory that can't be used.
    """
    if request.metrics_textfile is None:
        yield lambda _result: None
        return
    from crucible_batch.telemetry.metrics import (  # noqa: PLC0415 - loads Prometheus
        check_directory,
        read_last_success,
        textfile_path,
        write_textfile,
    )

    check_directory(request.metrics_textfile)
    manifest, clock = read_source(request), SystemClock()
    path = textfile_path(request.metrics_textfile, manifest.name)
    figures = RunFigures(clock.now(), longest_interval_s(manifest, clock.now()))
    figures.succeeded_at = read_last_success(path, manifest.name)
    results: list[RunResult] = []
    try:
        yield results.append
    except BaseException as error:
        if (code := exit_code_of(error)) not in NOT_A_RUN:
            figures.finish(clock.now(), code)
            write_textfile(path, manifest.name, figures)
        raise
    for result in results:
        head = result.report
        figures.jobs = {outcome: getattr(head.counts, outcome.value) for outcome in Outcome}
        figures.finish(clock.now(), int(result.exit_code), balance_of(head), period_of(head))
        write_textfile(path, manifest.name, figures)
