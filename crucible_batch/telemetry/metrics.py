"""The table of metrics, and their collection for `prometheus_client`. All are gauges of a manifest's newest run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from crucible_batch import __version__
from crucible_batch.domain.progress import Balance
from crucible_batch.telemetry.figures import PeriodFigures, RunFigures

OPERATIONS: Final = (
    "assets", "asset", "create_asset", "credits", "delete_asset", "download", "generate", "health", "job", "upload",
    "workflow", "workflows",
)  # fmt: skip
"""The operations of the gateway and its storage that may be retried. All are reported, so that none is missing at 0."""

LAST_SUCCESS: Final = "crucible_batch_last_success_timestamp_seconds"
MANIFEST: Final = "manifest"
"""The label that all metrics have: the name of the manifest."""

_Sample: TypeAlias = tuple[tuple[str, ...], float | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge. ``labels`` are those beside ``manifest``; ``read`` yields a value for each combination of their values.

    A value of None is not reported.
    """

    name: str
    meaning: str
    read: Callable[[RunFigures], Iterable[_Sample]]
    labels: tuple[str, ...] = ()


def _one(read: Callable[[RunFigures], float | None]) -> Callable[[RunFigures], Iterable[_Sample]]:
    return lambda figures: [((), read(figures))]


def _credits(read: Callable[[Balance], object]) -> Callable[[RunFigures], Iterable[_Sample]]:
    def value(figures: RunFigures) -> float | None:
        amount = None if figures.balance is None else read(figures.balance)
        return None if amount is None else float(str(amount))

    return _one(value)


def _period(read: Callable[[PeriodFigures], object]) -> Callable[[RunFigures], Iterable[_Sample]]:
    def values(figures: RunFigures) -> Iterable[_Sample]:
        period = figures.period
        value = None if period is None else read(period)
        return [] if period is None or value is None else [((period.account,), float(str(value)))]

    return values


def _jobs(figures: RunFigures) -> Iterable[_Sample]:
    return [((outcome.value,), count) for outcome, count in (figures.jobs or {}).items()]


def _retries(figures: RunFigures) -> Iterable[_Sample]:
    retries = figures.retries
    return [((operation,), retries.get(operation, 0)) for operation in OPERATIONS]


METRICS: Final = (
    Metric(
        "crucible_batch_build_info", "Version of crucible-batch, as a label. Always 1.",
        lambda _: [((__version__,), 1)], ("version",),
    ),
    Metric(
        "crucible_batch_running", "1 while the run is active, 0 after its end.",
        _one(lambda run: int(run.ended_at is None)),
    ),
    Metric(
        "crucible_batch_last_start_timestamp_seconds", "Start of the newest run, in seconds since the epoch.",
        _one(lambda run: run.began_at),
    ),
    Metric(
        "crucible_batch_last_end_timestamp_seconds", "End of the newest run, in seconds since the epoch.",
        _one(lambda run: run.ended_at),
    ),
    Metric(
        LAST_SUCCESS, "End of the newest run with exit code 0, in seconds since the epoch. 0 if there was none.",
        _one(lambda run: run.succeeded_at or 0),
    ),
    Metric(
        "crucible_batch_schedule_interval_seconds",
        "Longest time between two runs by the schedule of the manifest. Missing without a schedule.",
        _one(lambda run: run.schedule_interval_s),
    ),
    Metric(
        "crucible_batch_duration_seconds", "Duration of the newest run.",
        _one(lambda run: None if run.ended_at is None else max(0.0, run.ended_at - run.began_at)),
    ),
    Metric("crucible_batch_exit_code", "Exit code of the newest run.", _one(lambda run: run.exit_code)),
    Metric("crucible_batch_jobs", "Jobs of the newest run by outcome.", _jobs, ("outcome",)),
    Metric(
        "crucible_batch_outputs", "Output files saved by the newest run.", _one(lambda run: run.outputs),
    ),
    Metric(
        "crucible_batch_output_bytes", "Size of these files.", _one(lambda run: run.output_bytes),
    ),
    Metric(
        "crucible_batch_budget_credits", "Budget of the run directory. Missing without one, or with that of a period.",
        _credits(lambda balance: balance.budget),
    ),
    Metric(
        "crucible_batch_spent_credits", "Credits spent in the run directory, over all its runs.",
        _credits(lambda balance: balance.spent),
    ),
    Metric(
        "crucible_batch_held_credits", "Credits that may still be spent: jobs in flight and unanswered submits.",
        _credits(lambda balance: balance.held),
    ),
    Metric(
        "crucible_batch_run_spent_credits",
        "Credits spent by the newest run alone; negative if it received more refunds than it spent.",
        _one(lambda run: None if run.spent is None else float(run.spent)),
    ),
    Metric(
        "crucible_batch_period_limit_credits",
        "Limit of the period's budget, at the end of the newest run. Missing without `budget.per`.",
        _period(lambda period: period.limit), ("account",),
    ),
    Metric(
        "crucible_batch_period_spent_credits", "Credits that runs of the account spent in the period, at that time.",
        _period(lambda period: period.spent), ("account",),
    ),
    Metric(
        "crucible_batch_period_set_aside_credits",
        "Credits that runs of the account have set aside in the period and not spent, at that time.",
        _period(lambda period: period.set_aside), ("account",),
    ),
    Metric(
        "crucible_batch_period_end_timestamp_seconds",
        "End of that period, in seconds since the epoch. After it, the other three are those of a period that is over.",
        _period(lambda period: period.ends_at), ("account",),
    ),
    Metric(
        "crucible_batch_stage_seconds", "Time that the jobs of the newest run spent in a stage, added up.",
        lambda run: [((stage.value,), each.sum_s) for stage, each in run.stages.items()], ("stage",),
    ),
    Metric(
        "crucible_batch_stage_max_seconds", "Longest time that one of these jobs spent in the stage.",
        lambda run: [((stage.value,), each.max_s) for stage, each in run.stages.items()], ("stage",),
    ),
    Metric(
        "crucible_batch_stage_jobs", "Number of times that a job passed the stage, each attempt counted.",
        lambda run: [((stage.value,), each.count) for stage, each in run.stages.items()], ("stage",),
    ),
    Metric(
        "crucible_batch_retries", "Requests that the newest run repeated, by operation.", _retries, ("operation",),
    ),
    Metric(
        "crucible_batch_concurrency_limit",
        "Jobs that the gateway accepts at the same time, by the newest measurement. Missing without one.",
        _one(lambda run: run.limit),
    ),
    Metric(
        "crucible_batch_concurrency_reductions", "Times that this limit was reduced after a 429 or 503.",
        _one(lambda run: run.reductions),
    ),
    Metric(
        "crucible_batch_outage_seconds",
        "Time that the newest run waited for an unreachable gateway. Outages below a minute do not count.",
        _one(lambda run: run.outage_s),
    ),
)  # fmt: skip


class RunCollector(Collector):
    """Reads the figures of a run whenever they are collected, in any thread."""

    def __init__(self, manifest: str, figures: RunFigures) -> None:
        self._manifest = manifest
        self._figures = figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for metric in METRICS:
            family = GaugeMetricFamily(metric.name, metric.meaning, labels=(MANIFEST, *metric.labels))
            for labels, value in metric.read(self._figures):
                if value is not None:
                    family.add_metric((self._manifest, *labels), value)
            if family.samples:
                yield family


def registry_of(manifest: str, figures: RunFigures) -> CollectorRegistry:
    """Return a registry with the metrics of one run and no others."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunCollector(manifest, figures))
    return registry
