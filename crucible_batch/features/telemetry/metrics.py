"""The metrics of a manifest's newest run, all of them gauges, and where they are exposed.

That is an HTTP endpoint during the run, and a file for the textfile collector of Prometheus' node
exporter.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from crucible_batch import __version__
from crucible_batch.core.progress import Balance
from crucible_batch.errors import UserError
from crucible_batch.features.telemetry.figures import RunFigures
from crucible_batch.gateway.retries import Operation
from crucible_batch.option_values import LOOPBACK
from crucible_batch.report import PeriodRow

logger = logging.getLogger(__name__)

LAST_SUCCESS = "crucible_batch_last_success_timestamp_seconds"
_MOST_PORT = 65_535
MANIFEST = "manifest"
"""The label that all metrics have: the name of the manifest."""

Samples = Iterable[tuple[tuple[str, ...], float | None]]
"""A value for each combination of the values of a metric's own labels.

A value of None is not reported.
"""


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge, read from figures. ``labels`` are its own, beside ``MANIFEST``."""

    name: str
    meaning: str
    read: Callable[[RunFigures], Samples]
    labels: tuple[str, ...] = ()


def one(read: Callable[[RunFigures], float | None]) -> Callable[[RunFigures], Samples]:
    """Read a metric without labels of its own."""
    return lambda figures: [((), read(figures))]


def _credits(read: Callable[[Balance], object]) -> Callable[[RunFigures], Samples]:
    def value(figures: RunFigures) -> float | None:
        if figures.balance is None:
            return None
        amount = read(figures.balance)
        if amount is None:
            return None
        return float(str(amount))

    return one(value)


def _period(read: Callable[[PeriodRow], object]) -> Callable[[RunFigures], Samples]:
    def values(figures: RunFigures) -> Samples:
        period = figures.period
        if period is None:
            return []
        value = read(period)
        if value is None:
            return []
        return [((period.account,), float(str(value)))]

    return values


def _end(period: PeriodRow) -> float | None:
    if period.ends_at is None:
        return None
    return datetime.fromisoformat(period.ends_at).timestamp()


def _jobs(figures: RunFigures) -> Samples:
    if figures.spent is None:
        return []
    return [((outcome.value,), count) for outcome, count in figures.counts.items()]


def _retries(figures: RunFigures) -> Samples:
    """Return the retries of each operation, so that none is missing at 0."""
    retries = figures.retries
    return [((each.value,), retries.get(each.value, 0)) for each in Operation]


METRICS: Sequence[Metric] = (
    Metric(
        "crucible_batch_build_info",
        "Version of crucible-batch, as a label. Always 1.",
        lambda _: [((__version__,), 1)],
        ("version",),
    ),
    Metric(
        "crucible_batch_running",
        "1 while the run is active, 0 after its end.",
        one(lambda run: int(run.ended_at is None)),
    ),
    Metric(
        "crucible_batch_last_start_timestamp_seconds",
        "Start of the newest run, in seconds since the epoch.",
        one(lambda run: run.began_at),
    ),
    Metric(
        "crucible_batch_last_end_timestamp_seconds",
        "End of the newest run, in seconds since the epoch.",
        one(lambda run: run.ended_at),
    ),
    Metric(
        LAST_SUCCESS,
        "End of the newest run with exit code 0, in seconds since the epoch. 0 if there was none.",
        one(lambda run: run.succeeded_at or 0),
    ),
    Metric(
        "crucible_batch_schedule_interval_seconds",
        "Longest time between two runs by the schedule. Missing without one.",
        one(lambda run: run.schedule_interval_s),
    ),
    Metric(
        "crucible_batch_duration_seconds",
        "Duration of the newest run.",
        one(lambda run: None if run.ended_at is None else max(0.0, run.ended_at - run.began_at)),
    ),
    Metric(
        "crucible_batch_exit_code", "Exit code of the newest run.", one(lambda run: run.exit_code)
    ),
    Metric("crucible_batch_jobs", "Jobs of the newest run by outcome.", _jobs, ("outcome",)),
    Metric(
        "crucible_batch_outputs",
        "Output files saved by the newest run.",
        one(lambda run: run.outputs),
    ),
    Metric(
        "crucible_batch_output_bytes",
        "Size of these files.",
        one(lambda run: run.byte_size),
    ),
    Metric(
        "crucible_batch_budget_credits",
        "Budget of the run directory. Missing without one, or with that of a period.",
        _credits(lambda balance: balance.budget),
    ),
    Metric(
        "crucible_batch_spent_credits",
        "Credits spent in the run directory, over all its runs.",
        _credits(lambda balance: balance.spent),
    ),
    Metric(
        "crucible_batch_held_credits",
        "Credits held for purchases whose price or refund is not known yet.",
        _credits(lambda balance: balance.held),
    ),
    Metric(
        "crucible_batch_run_spent_credits",
        "Credits spent by the newest run; negative after more refunds.",
        one(lambda run: None if run.spent is None else float(run.spent)),
    ),
    Metric(
        "crucible_batch_period_limit_credits",
        "Limit of the period's budget, at the end of the newest run. Missing without `budget.per`.",
        _period(lambda period: period.limit),
        ("account",),
    ),
    Metric(
        "crucible_batch_period_spent_credits",
        "Credits that runs of the account spent in the period, at that time.",
        _period(lambda period: period.spent),
        ("account",),
    ),
    Metric(
        "crucible_batch_period_set_aside_credits",
        "Credits set aside in the period and not spent, at that time.",
        _period(lambda period: period.set_aside),
        ("account",),
    ),
    Metric(
        "crucible_batch_period_end_timestamp_seconds",
        "End of that period, in seconds since the epoch; after it, the other three are outdated.",
        _period(_end),
        ("account",),
    ),
    Metric(
        "crucible_batch_retries",
        "Requests that the newest run repeated, by operation.",
        _retries,
        ("operation",),
    ),
    Metric(
        "crucible_batch_outage_seconds",
        "Time waited for an unreachable gateway, from a minute on.",
        one(lambda run: run.outage_s),
    ),
)


class FiguresCollector(Collector):
    """Reads the figures of a manifest's run whenever they are collected, in any thread."""

    def __init__(self, figures: RunFigures, manifest: str) -> None:
        self._figures = figures
        self._manifest = manifest

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for metric in METRICS:
            family = GaugeMetricFamily(
                metric.name, metric.meaning, labels=(MANIFEST, *metric.labels)
            )
            for labels, value in metric.read(self._figures):
                if value is not None:
                    family.add_metric((self._manifest, *labels), value)
            if family.samples:
                yield family


def registry_of(manifest: str, figures: RunFigures) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FiguresCollector(figures, manifest))
    return registry


def read_address(text: str) -> tuple[str, int]:
    """Return the host and port of an address; without a host, that is the loopback interface.

    Raises ``UserError`` if it is not valid, or has port 0.
    """
    host, _, port = text.strip().rpartition(":")
    bare = host
    if host.startswith("[") and host.endswith("]"):
        bare = host[1:-1]
    is_bare_ipv6 = ":" in bare and bare == host
    is_port = port.isascii() and port.isdigit() and 0 < int(port) <= _MOST_PORT
    if is_bare_ipv6 or not is_port:
        raise UserError(
            f"the address for metrics, {text[:200]!r}, is not valid",
            hint="write a port, or an address and a port: 9464, 127.0.0.1:9464, [::1]:9464",
        )
    return bare or LOOPBACK, int(port)


@contextlib.contextmanager
def serving(address: str, manifest: str, figures: RunFigures) -> Iterator[None]:
    """Serve the metrics of a run during the block.

    Raises ``UserError`` if the address is invalid or in use.
    """
    host, port = read_address(address)
    try:
        server, thread = start_http_server(port, host, registry_of(manifest, figures))
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"metrics can't be served at {address}: {getattr(error, 'strerror', None) or error}",
            hint="choose another address: --metrics-listen ADDR; nothing was spent",
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def textfile_path(directory: Path, manifest: str) -> Path:
    """Return the file of a manifest.

    The prefix prevents that it replaces a file of another program.
    """
    return directory / f"crucible-batch-{manifest}.prom"


def check_directory(directory: Path) -> None:
    """Raise ``UserError`` unless files can be written in the directory."""
    hint = (
        "name the directory that the node exporter reads: --metrics-textfile DIR; nothing was spent"
    )
    if not directory.is_dir():
        raise UserError(
            f"the directory for metrics, {directory}, does not exist or is not a directory",
            hint=hint,
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UserError(f"the directory for metrics, {directory}, is not writable", hint=hint)


def write_textfile(path: Path, manifest: str, figures: RunFigures) -> None:
    """Replace the file with the metrics of a finished run.

    The last success in the file is kept if the run failed.

    The run is over, so an error is only logged.
    """
    # Read again: another run of the manifest may have succeeded since the start.
    if figures.exit_code != 0:
        figures.succeeded_at = read_last_success(path, manifest)
    try:
        write_to_textfile(str(path), registry_of(manifest, figures))
    except OSError as error:
        logger.warning("the metrics were not written: %s: %s", path, error.strerror or error)


def read_last_success(path: Path, manifest: str) -> float | None:
    """Return the time of the last success in a file; None without one, or if it can't be read."""
    try:
        text = path.read_text(encoding="utf-8")
        samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("the last success is not known: %s can't be read: %s", path, error)
        return None
    found = [
        each.value
        for each in samples
        if each.name == LAST_SUCCESS and each.labels.get(MANIFEST) == manifest
    ]
    if not found or found[0] <= 0:
        return None
    return found[0]
