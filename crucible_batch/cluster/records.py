"""What the database of a cluster holds, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crucible_batch.domain.control import ControlSource
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.shard_lease import AllowanceAnswer, ClaimAnswer, ShardState

Counts = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """A run, as its coordinator opens it.

    ``run`` identifies the run directory in the cluster: an id that the coordinator made once and keeps in the journal
    there. ``location`` is where workers find the shards' plans: a directory that all share, or an object store's URL.
    ``gateway`` is its base URL: a worker with another one must not run these shards. ``used`` are the credits that the
    run's own journal has spent and holds, those of merged shards included.
    """

    run: str
    manifest: str
    run_id: str
    gateway: str
    location: str
    budget: Credits
    used: Credits


@dataclass(frozen=True, slots=True)
class RunClaim:
    """The answer to opening a run. ``left`` can be set aside now.

    ``held``: another coordinator has it, and renewed its lease recently. ``conflict``: the id belongs to another
    manifest, run id or gateway. ``epoch`` is the claimant's if ``answer`` is ``claimed``.
    """

    run: str
    answer: str
    epoch: int
    left: Credits

    @property
    def is_claimed(self) -> bool:
        return self.answer == ClaimAnswer.CLAIMED


@dataclass(frozen=True, slots=True)
class AllowanceResult:
    """The answer to a coordinator's request, and what is left of the budget after it."""

    answer: AllowanceAnswer
    left: Credits


@dataclass(frozen=True, slots=True)
class DrainResult:
    """The shards of a run that is ended early: withdrawn or ended by this request, and still running."""

    withdrawn: int
    ended: int
    running: int


@dataclass(frozen=True, slots=True, order=True)
class ShardKey:
    """What identifies a shard, and all that a queued task contains. ``number`` counts from 1 in each plan."""

    run: str
    plan_digest: str
    number: int

    def __str__(self) -> str:
        return f"{self.run}/{self.plan_digest[:8]}/{self.number}"


@dataclass(frozen=True, slots=True)
class ShardFigures:
    """What a shard's owner has done so far: jobs by outcome, and the credits of the shard's journal.

    While the owner runs, a job that has neither succeeded nor failed is pending. So there is a count as soon as a run
    has begun.
    """

    spent: Credits = ZERO
    held: Credits = ZERO
    succeeded: int = 0
    failed: int = 0
    blocked: int = 0
    pending: int = 0
    unknown: int = 0

    @property
    def counts(self) -> Counts:
        """The jobs by outcome, in the order of the database's functions."""
        return self.succeeded, self.failed, self.blocked, self.pending, self.unknown

    @property
    def may_have_bought(self) -> bool:
        """Whether something may have been bought: a hold may have been charged.

        Of a shard that no worker could run, and that was ended, the complete allowance is held, without a count.
        """
        return self.spent > 0 or (self.held > 0 and any(self.counts))


@dataclass(frozen=True, slots=True)
class ClaimedShard:
    """The answer to a claim. The other fields are set only if ``answer`` is ``claimed``.

    ``epoch`` goes with everything that the owner sends; ``location`` and ``gateway`` are the run's.
    """

    key: ShardKey
    answer: ClaimAnswer
    epoch: int = 0
    allowance: Credits = ZERO
    location: str = ""
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class QueuedShard:
    """A shard as the database has it. Ages are in seconds; None if it didn't happen.

    ``renewed_age_s`` is since its owner's last renewal, ``waiting_age_s`` since it was queued or released.
    """

    key: ShardKey
    jobs: int
    admitted: int
    allowance: Credits
    state: ShardState
    epoch: int
    worker: str | None
    waiting_age_s: float
    claimed_age_s: float | None
    renewed_age_s: float | None
    ended_age_s: float | None
    ending: str | None
    figures: ShardFigures = field(default_factory=ShardFigures)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the database has it. ``renewed_age_s`` is since its coordinator's last renewal, in seconds."""

    run: ClusterRun
    left: Credits
    set_aside: Credits
    epoch: int
    age_s: float
    renewed_age_s: float | None
    ended_age_s: float | None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as the database has it. ``shards`` are running under it, by the database."""

    worker: str
    name: str
    release: str
    age_s: float
    seen_age_s: float
    draining_age_s: float | None
    shards: int


@dataclass(frozen=True, slots=True)
class ControlTaker:
    """What runs jobs of a run now, and the number of the newest command that it has in effect.

    ``taken`` is None if it has never asked for commands: it is about to, or of a release that doesn't. ``name`` and
    ``release`` are the worker's; None for the coordinator, and for a worker that has ended.
    """

    plan_digest: str
    number: int
    name: str | None
    release: str | None
    taken: int | None
    in_flight: int


@dataclass(frozen=True, slots=True)
class PausedRun:
    """The pause of a run: who gave it, and how many seconds ago."""

    source: ControlSource
    age_s: float


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """All of a cluster: its runs, newest first, and its workers.

    The shards are those of active runs, and of runs that have ended in the database with shards that workers may run.
    ``paused`` has the runs that are paused, by their ids.
    """

    level: int
    runs: tuple[RunRow, ...]
    shards: tuple[QueuedShard, ...]
    workers: tuple[WorkerRow, ...]
    paused: Mapping[str, PausedRun] = field(default_factory=dict)

    @property
    def queue_age_s(self) -> float | None:
        """The age of the shard that has waited longest, in seconds; None if no shard waits."""
        return max((each.waiting_age_s for each in self.shards if each.state is ShardState.WAITING), default=None)
