"""What takes part in each kind of run and in a plan, in the order in which it begins.

Order matters where credits are held. The cap comes before the period: it sees the budget of the
run's terms, and a refused run sets nothing aside. Both begin after what the journal had lost is
restored, since it counts as spent. What was derived from a rejected output is removed before
another output gets its path.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

from crucible_batch.features import load
from crucible_batch.runs.earlier_runs import EarlierRunsPart
from crucible_batch.runs.failed_starts import FailedStartsPart
from crucible_batch.runs.known_jobs import KnownJobsPart
from crucible_batch.runs.manifest_jobs import manifest_run
from crucible_batch.runs.parts import Parts, RunPart
from crucible_batch.runs.plan_parts import PlanParts
from crucible_batch.runs.planning import ManifestPlan, PlanKind
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import RunResult, run_request
from crucible_batch.runs.start import RunKind


class Kind(enum.Enum):
    """A kind of run. The notifications, the list of runs and the period of a shard are those of the
    divided run.

    A probe notifies nothing, since the run that the plan is for comes later. Outputs of both are
    checked by the next run in the main run directory.
    """

    MANIFEST = enum.auto()
    SHARD = enum.auto()
    PROBE = enum.auto()


_ALL = frozenset(Kind)
_CAP = "agents.part:SpendCapPart"
"""Of the runs of a server with a cap only, which it is made with."""

_RUN_PARTS: Sequence[tuple[str | type[RunPart], Collection[Kind]]] = (
    (FailedStartsPart, {Kind.MANIFEST, Kind.PROBE}),
    ("notify.part:NoticesPart", {Kind.MANIFEST}),
    ("telemetry.part:TelemetryPart", _ALL),
    (_CAP, _ALL),
    (EarlierRunsPart, {Kind.MANIFEST, Kind.PROBE}),
    (KnownJobsPart, {Kind.MANIFEST, Kind.PROBE}),
    ("derive.part:DerivePart", {Kind.MANIFEST}),
    ("redo.part:RedoPart", {Kind.MANIFEST, Kind.SHARD}),
    ("sample.part:SamplePart", {Kind.MANIFEST}),
    ("spend.part:TagsPart", _ALL),
    ("periods.part:PeriodPart", {Kind.MANIFEST, Kind.PROBE}),
    ("prices.part:PriceMemoryPart", _ALL),
    ("control.part:SocketPart", _ALL),
    ("quality.part:ChecksPart", {Kind.MANIFEST}),
    ("after.part:AfterPart", {Kind.MANIFEST}),
)
_PLAN_PARTS: Sequence[str | type[Any]] = (
    "notify.part:NoticesPart",
    "shards.plan_part:ShardsPart",
    "stages.plan_part:StagesPart",
    "redo.part:RedoPart",
    "quality.part:ChecksPart",
    "after.part:AfterPart",
    "derive.part:DerivePart",
    EarlierRunsPart,
    KnownJobsPart,
    "sample.part:SamplePart",
    "periods.part:PeriodPart",
    "prices.part:PriceMemoryPart",
)
"""In the order of their notes."""


def runner_of(request: RunRequest) -> Callable[..., Awaitable[RunResult]]:
    """Return what makes the run of a request: ``run_request``, or what a feature's options name."""
    for options in request.features:
        if options.runner is not None:
            runner: Callable[..., Awaitable[RunResult]] = load(options.runner)
            return runner
    return run_request


def complete_runner_of(request: RunRequest) -> Callable[..., Awaitable[RunResult]]:
    """Return what makes the run of a request, and the runs that follow from it."""
    run_with_retakes = load("quality.retakes:run_with_retakes")
    runner = runner_of(request)
    return runner if run_with_retakes is None else partial(run_with_retakes, runner)


def kind_of(request: RunRequest, *further: RunPart, cap: object = None) -> RunKind:
    """Return the kind of the run of a request with its parts. ``further`` parts begin last.

    ``cap`` is the ``SpendCap`` of a server on all of its runs, if this is one of them.
    """
    if request.is_of_divided_plan:
        shard_run = load("shards.run:shard_run")
        kind: RunKind = shard_run(request, _parts(Kind.SHARD, further, cap))
        return kind
    return manifest_run(request, _parts(Kind.MANIFEST, further, cap), _plan_parts())


def kind_of_probe(request: RunRequest) -> RunKind:
    """Return the kind of a probe's run."""
    return manifest_run(request, _parts(Kind.PROBE), _plan_parts())


def plan_kind_of(_request: RunRequest) -> PlanKind:
    """Return the kind of the plan that ``plan`` makes, or compares with the present state."""
    return ManifestPlan(_plan_parts())


def plan_kind_of_run(request: RunRequest) -> PlanKind:
    """Return the kind of the plan of a run with this request."""
    if request.is_of_divided_plan:
        kind: PlanKind = load("shards.run:ShardPlan")()
        return kind
    return plan_kind_of(request)


def _plan_parts() -> PlanParts:
    return PlanParts([part() for part in map(_loaded, _PLAN_PARTS) if part is not None])


def _parts(kind: Kind, further: Sequence[RunPart] = (), cap: object = None) -> Parts:
    return Parts([*_begun(kind, cap), *further])


def _begun(kind: Kind, cap: object) -> Iterator[RunPart]:
    for part, kinds in _RUN_PARTS:
        if kind not in kinds:
            continue
        made = _loaded(part)
        if part == _CAP:
            if cap is not None:
                yield made(cap)
        elif made is not None:
            yield made()


def _loaded(part: str | type[Any]) -> Any:
    """Return the class of a part; None if its feature was deleted."""
    return load(part) if isinstance(part, str) else part
