"""The database of a cluster: each method is one statement in autocommit, and may be repeated.

The rules are those of ``domain/shard_lease.py``. What a statement refuses is an answer, not an exception. All methods
raise ``ClusterUnreachableError`` and ``ClusterSetupError``.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from psycopg.rows import DictRow

from crucible_batch.cluster.address import ClusterAddress
from crucible_batch.cluster.connection import PATIENCE_S, ClusterConnection
from crucible_batch.cluster.records import (
    AllowanceResult,
    ClaimedShard,
    ClusterRun,
    ClusterStatus,
    ControlTaker,
    DrainResult,
    PausedRun,
    QueuedShard,
    RunClaim,
    RunRow,
    ShardFigures,
    ShardKey,
    WorkerRow,
)
from crucible_batch.cluster.schema import migrate, require_level
from crucible_batch.cluster.statements import STATEMENTS
from crucible_batch.domain.cluster_control import GivenControl
from crucible_batch.domain.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.shard_lease import LEASE_S, AllowanceAnswer, ClaimAnswer, FencedAnswer, ShardState
from crucible_batch.domain.sharding import PlannedShard

RESCUE_S: Final = 5.0
"""The time between two searches for shards without an owner, by all workers together."""
FORGET_S: Final = 86_400.0
"""Workers that were not seen for this long are no longer listed."""
_ACTIONS: Final = frozenset(action.value for action in ControlAction)


class ClusterDatabase:
    """A connection to the database of a cluster. Use ``opened``."""

    def __init__(
        self, connection: ClusterConnection, *, statements: Mapping[str, str] = STATEMENTS, lease_s: float = LEASE_S
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._lease_s = lease_s
        self.level = 0

    @classmethod
    async def opened(
        cls,
        address: ClusterAddress,
        *,
        create: bool = False,
        patience_s: float = PATIENCE_S,
        lease_s: float = LEASE_S,
    ) -> ClusterDatabase:
        """Connect, without patience the first time. ``create``: create or migrate the schema, as workers and runs do.

        Later calls repeat a statement for ``patience_s`` while the database is away.
        """
        first = ClusterConnection(address)
        try:
            if create:
                await migrate(address)
            level = await require_level(first)
        finally:
            await first.close()
        database = cls(ClusterConnection(address, patience_s=patience_s), lease_s=lease_s)
        database.level = level
        return database

    async def close(self) -> None:
        await self._connection.close()

    async def __aenter__(self) -> ClusterDatabase:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def address(self) -> ClusterAddress:
        return self._connection.address

    async def _rows(self, statement: str, /, **values: object) -> list[DictRow]:
        return await self._connection.rows(self._statements[statement], values)

    async def _row(self, statement: str, /, **values: object) -> DictRow:
        return (await self._rows(statement, **values))[0]

    # What a coordinator calls.

    async def open_run(self, run: ClusterRun, claim: str | None = None) -> RunClaim:
        """Create a run or resume it. The answer's ``epoch`` goes with the coordinator's later calls."""
        row = await self._row(
            "open_run", run=run.run, manifest=run.manifest, run_id=run.run_id, gateway=run.gateway,
            location=run.location, budget=run.budget, used=run.used, claim=claim or new_claim(), lease_s=self._lease_s,
        )  # fmt: skip
        return RunClaim(run.run, row["answer"], row["epoch"], row["remaining"] or ZERO)

    async def renew_run(self, run: str, epoch: int) -> FencedAnswer:
        """Renew the coordinator's lease of a run."""
        return FencedAnswer((await self._row("renew_run", run=run, epoch=epoch))["answer"])

    async def close_run(self, run: str, epoch: int) -> FencedAnswer:
        """Record that the coordinator has ended the run. Its shards are no longer listed, and may still be reported."""
        return FencedAnswer((await self._row("close_run", run=run, epoch=epoch))["answer"])

    async def add_shards(
        self, run: str, epoch: int, plan_digest: str, shards: Sequence[PlannedShard]
    ) -> AllowanceResult:
        """Set the allowances of a plan's shards aside, all or none. Then queue them: ``ShardQueue.defer``."""
        row = await self._row(
            "add_shards", run=run, epoch=epoch, digest=plan_digest, numbers=[each.number for each in shards],
            jobs=[each.jobs for each in shards], admitted=[each.admitted for each in shards],
            allowances=[each.allowance for each in shards],
        )  # fmt: skip
        return _allowance(row)

    async def settle_run(
        self, run: str, epoch: int, used: Credits, merged: Collection[ShardKey] = ()
    ) -> AllowanceResult:
        """Replace what the run's own journal has spent and holds, with these shards merged into it.

        Each shard must have ended. From then on its credits count in ``used`` only.
        """
        return _allowance(await self._row("settle_run", run=run, epoch=epoch, used=used, **_keys(merged)))

    async def withdraw_shards(self, run: str, epoch: int, shards: Collection[ShardKey]) -> AllowanceResult:
        """Withdraw shards that no worker has ever claimed, all or none: their allowances are returned."""
        return _allowance(await self._row("withdraw_shards", run=run, epoch=epoch, **_keys(shards)))

    async def set_deadline(self, run: str, epoch: int, left_s: float | None) -> AllowanceAnswer:
        """Replace the deadline of a run, in seconds from now; None: no deadline."""
        return AllowanceAnswer((await self._row("set_deadline", run=run, epoch=epoch, left_s=left_s))["answer"])

    async def deadline(self, run: str) -> float | None:
        """Return the seconds until the deadline of a run, below 0 if it has passed; None without one."""
        rows = await self._rows("deadline", run=run)
        return rows[0]["left_s"] if rows else None

    # What a worker calls.

    async def claim_shard(self, key: ShardKey, worker: str, claim: str | None = None) -> ClaimedShard:
        """Claim a shard, and raise its epoch. ``claim`` is unique to this request."""
        row = await self._row(
            "claim_shard", **_key(key), claim=claim or new_claim(), worker=worker, lease_s=self._lease_s
        )
        answer = ClaimAnswer(row["answer"])
        if answer is not ClaimAnswer.CLAIMED:
            return ClaimedShard(key, answer)
        return ClaimedShard(key, answer, row["epoch"], row["allowance"], row["location"], row["gateway"])

    async def renew_shard(self, key: ShardKey, epoch: int, figures: ShardFigures) -> FencedAnswer:
        """Renew the lease, with the progress so far. An answer that doesn't count: another worker has the shard."""
        row = await self._row("renew_shard", **_key(key), epoch=epoch, **_figures(figures))
        return FencedAnswer(row["answer"])

    async def report_shard(self, key: ShardKey, epoch: int, ending: str, figures: ShardFigures) -> FencedAnswer:
        """Report the end of a shard. If it counts, the shard has ended and its unspent allowance is returned.

        ``ending`` is the shard's status in its report, such as ``succeeded``.
        """
        row = await self._row("report_shard", **_key(key), epoch=epoch, ending=ending, **_figures(figures))
        return FencedAnswer(row["answer"])

    async def release_shard(self, key: ShardKey, epoch: int, figures: ShardFigures) -> FencedAnswer:
        """Return an unfinished shard to the queue immediately. Its allowance stays set aside."""
        row = await self._row("release_shard", **_key(key), epoch=epoch, **_figures(figures))
        return FencedAnswer(row["answer"])

    async def see_worker(self, worker: str, name: str, release: str) -> bool:
        """Register a worker, or record that it is alive; return whether it was asked to take no further shards."""
        return bool((await self._row("see_worker", worker=worker, name=name, release=release))["draining"])

    async def forget_worker(self, worker: str) -> None:
        """Remove a worker that ends."""
        await self._rows("forget_worker", worker=worker)

    async def take_rescue_turn(self, interval_s: float = RESCUE_S) -> list[ShardKey]:
        """Return the shards that wait or whose lease is stale; none if a worker had the turn within the interval."""
        rows = await self._rows("take_rescue_turn", interval_s=interval_s, lease_s=self._lease_s, forget_s=FORGET_S)
        return [ShardKey(row["run"], row["plan_digest"], row["number"]) for row in rows]

    # Commands to a run: given by an operator, taken by who runs its jobs.

    async def give_control(
        self, run: str, command: ControlCommand, source: ControlSource, request: str | None = None
    ) -> int | None:
        """Store a command, and return its number; None if there is no such run. ``request`` is unique to this request.

        With ``stop``, shards that no worker runs are ended as by ``drain_run``.
        """
        rows = await self._rows(
            "give_control", run=run, request=request or new_claim(), action=command.action.value, value=command.value,
            jobs=list(command.names), by=source.by, via=source.via,
        )  # fmt: skip
        return rows[0]["number"] if rows else None

    async def controls(self, run: str, after: int = 0) -> list[GivenControl]:
        """Return the commands to a run after number ``after``, oldest first."""
        return _control_rows(await self._rows("controls", run=run, after=after))

    async def take_controls(self, key: ShardKey, epoch: int, taken: int, in_flight: int) -> list[GivenControl]:
        """Record that all commands up to number ``taken`` are in effect, and return those after it, oldest first.

        The coordinator's key has an empty digest and the number 0.
        """
        rows = await self._rows("take_controls", **_key(key), epoch=epoch, taken=taken, in_flight=in_flight)
        return _control_rows(rows)

    async def forget_taker(self, run: str, epoch: int) -> None:
        """Record that the coordinator runs no jobs itself any more."""
        await self._rows("forget_taker", run=run, epoch=epoch)

    async def takers(self, run: str) -> list[ControlTaker]:
        """Return what runs jobs of a run now: the owner of each running shard, and the coordinator if it does."""
        return [
            ControlTaker(
                row["plan_digest"], row["number"], row["name"], row["release"], row["taken"], row["in_flight"] or 0
            )
            for row in await self._rows("takers", run=run)
        ]

    async def pauses(self) -> dict[str, PausedRun]:
        """Return the runs that are paused, by their ids."""
        return {
            row["run"]: PausedRun(ControlSource(row["given_by"], row["given_via"]), row["age_s"])
            for row in await self._rows("pauses")
            if row["action"] == ControlAction.PAUSE
        }

    # What an operator and a coordinator's display call.

    async def drain(self, names: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """Ask workers, by name or all, to take no further shards. Return the id and the name of each."""
        rows = await self._rows("drain_workers", names=None if names is None else list(names))
        return sorted((row["worker"], row["name"]) for row in rows)

    async def drain_run(self, run: str) -> DrainResult:
        """End a run early: withdraw its shards that wait, or end those that had an owner. Others are finished."""
        return DrainResult(**await self._row("drain_run", run=run))

    async def shards(self, run: str | None = None) -> tuple[QueuedShard, ...]:
        """Return the shards of a run, or of all that are active or have shards that may be run."""
        return tuple(map(_shard_row, await self._rows("shards", run=run)))

    async def runs(self, run: str | None = None) -> tuple[RunRow, ...]:
        """Return a run, or all of them, newest first."""
        return tuple(map(_run_row, await self._rows("runs", run=run)))

    async def workers(self) -> tuple[WorkerRow, ...]:
        """Return all workers that were seen within a day and did not end."""
        return tuple(WorkerRow(**row) for row in await self._rows("workers"))

    async def status(self) -> ClusterStatus:
        """Return all of the cluster. Each of its lists is from one moment."""
        return ClusterStatus(
            self.level, await self.runs(), await self.shards(), await self.workers(), await self.pauses()
        )


def new_claim() -> str:
    """Return the id of a new claim. A repeated request has the same id, so that its epoch isn't raised twice."""
    return uuid.uuid4().hex


def _key(key: ShardKey) -> dict[str, object]:
    return {"run": key.run, "digest": key.plan_digest, "number": key.number}


def _keys(keys: Collection[ShardKey]) -> dict[str, object]:
    return {"digests": [key.plan_digest for key in keys], "numbers": [key.number for key in keys]}


def _figures(figures: ShardFigures) -> dict[str, object]:
    return {"spent": figures.spent, "held": figures.held, "counts": list(figures.counts)}


def _allowance(row: DictRow) -> AllowanceResult:
    return AllowanceResult(AllowanceAnswer(row["answer"]), row["remaining"] or ZERO)


def _control_rows(rows: Iterable[DictRow]) -> list[GivenControl]:
    """Return the commands that this release knows. One of a later release is not performed, and not acknowledged."""
    return [_control_row(row) for row in rows if row["action"] in _ACTIONS]


def _control_row(row: DictRow) -> GivenControl:
    command = ControlCommand(ControlAction(row["action"]), row["value"], tuple(row["jobs"]))
    source = ControlSource(row["given_by"], row["given_via"])
    return GivenControl(row["number"], command, source, row["age_s"], row["is_current"])


def _shard_row(row: DictRow) -> QueuedShard:
    return QueuedShard(
        key=ShardKey(row["run"], row["plan_digest"], row["number"]),
        jobs=row["jobs"],
        admitted=row["admitted"],
        allowance=row["allowance"],
        state=ShardState(row["state"]),
        epoch=row["epoch"],
        worker=row["worker"],
        waiting_age_s=row["waiting_age_s"],
        claimed_age_s=row["claimed_age_s"],
        renewed_age_s=row["renewed_age_s"],
        ended_age_s=row["ended_age_s"],
        ending=row["ending"],
        figures=ShardFigures(
            row["spent"], row["held"], row["succeeded"], row["failed"], row["blocked"], row["pending"], row["unknown"]
        ),
    )


def _run_row(row: DictRow) -> RunRow:
    run = ClusterRun(
        row["run"], row["manifest"], row["run_id"], row["gateway"], row["location"], row["budget"], row["used"]
    )
    return RunRow(
        run=run,
        left=row["remaining"],
        set_aside=row["set_aside"],
        epoch=row["epoch"],
        age_s=row["age_s"],
        renewed_age_s=row["renewed_age_s"],
        ended_age_s=row["ended_age_s"],
    )
