"""The parts of each kind of run, in the order in which they begin.

Order matters where credits are held. The cap comes before the period: it sees the budget of the run's terms, and a
refused run sets nothing aside. Both begin after what the journal had lost is restored, since it counts as spent.
"""

from __future__ import annotations

from collections.abc import Sequence

from crucible_batch.features.agents.part import SpendCapPart
from crucible_batch.features.agents.spend_cap import SpendCap
from crucible_batch.features.control.part import SocketPart
from crucible_batch.features.notify.part import NoticesPart
from crucible_batch.features.periods.part import PeriodPart
from crucible_batch.features.prices.part import PriceMemoryPart
from crucible_batch.features.shards.plan_notes import ShardNotesPart
from crucible_batch.features.shards.run import shard_run
from crucible_batch.features.telemetry.part import TelemetryPart
from crucible_batch.runs.earlier_runs import EarlierRunsPart
from crucible_batch.runs.failed_starts import FailedStartsPart
from crucible_batch.runs.known_jobs import KnownJobsPart
from crucible_batch.runs.manifest_jobs import manifest_run
from crucible_batch.runs.parts import Parts, RunPart
from crucible_batch.runs.plan_parts import PlanParts
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.start import RunKind


def kind_of(request: RunRequest, *further: RunPart, cap: SpendCap | None = None) -> RunKind:
    """Return the kind of the run of a request with its parts, within the cap of a server if it is one of its runs.

    The notifications, the list of runs and the period of a shard are those of the run that was divided. ``further``
    parts begin last.
    """
    capped = [] if cap is None else [SpendCapPart(cap)]
    if request.shard is not None:
        return shard_run(request, Parts([TelemetryPart(), *capped, PriceMemoryPart(), SocketPart(), *further]))
    return manifest_run(
        request,
        Parts([FailedStartsPart(), NoticesPart(), TelemetryPart(), *capped, *_of_manifest(), SocketPart(), *further]),
    )


def kind_of_probe(request: RunRequest) -> RunKind:
    """Return the kind of a probe's run. It notifies nothing: the run that the plan is for comes later."""
    return manifest_run(request, Parts([FailedStartsPart(), TelemetryPart(), *_of_manifest(), SocketPart()]))


def _of_manifest() -> Sequence[RunPart]:
    return [EarlierRunsPart(), KnownJobsPart(), PeriodPart(), PriceMemoryPart()]


def plan_parts() -> PlanParts:
    """Return the parts of a plan, in the order of their notes."""
    return PlanParts(
        [NoticesPart(), ShardNotesPart(), EarlierRunsPart(), KnownJobsPart(), PeriodPart(), PriceMemoryPart()]
    )
