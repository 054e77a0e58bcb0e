"""One seed played: a coordinator and workers, as processes on one disk, until their run ends in calm weather."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import traceback
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from crucible_batch.api.cluster import coordinator
from crucible_batch.api.cluster import run as cluster_run
from crucible_batch.api.cluster import worker as cluster_worker
from crucible_batch.api.cluster.run import run_on_cluster
from crucible_batch.api.cluster.worker import run_worker
from crucible_batch.api.request import RunRequest
from crucible_batch.api.running import RunResult
from crucible_batch.cluster import ClusterAddress
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.engine import SystemClock
from crucible_batch.errors import CrucibleBatchError, ExitCode
from crucible_batch.sandbox import pictures
from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.records import Entry, Job
from crucible_batch.settings import Settings
from tests.verification.fleet.accounts import Accounts
from tests.verification.fleet.database import RuleDatabase
from tests.verification.fleet.evidence import Evidence, Generation, LedgerRow, Observations
from tests.verification.fleet.network import Link, ProcessTransport, Site
from tests.verification.fleet.queue import SimulatedQueue, Tasks
from tests.verification.fleet.scenario import PRICE, Event, Mishap, Scenario
from tests.verification.nights.gateway import API, KEY, NightGateway, plain_picture
from tests.verification.nights.machine import (
    Computer,
    NightClock,
    NightLoop,
    Process,
    current_process,
    in_the_world,
    virtual_kernel,
)

_BEGIN = datetime(2027, 1, 4, tzinfo=UTC)
_LONGEST_S = 3600.0
"""In calm weather the run ends before this."""
_MOST_TRIES = 6
_LAST = (ExitCode.OK, ExitCode.SOME_FAILED, ExitCode.OUT_OF_CREDITS)


@dataclass(eq=False)
class Member:
    """A process of the cluster and what can happen to it. Number 0 is the coordinator."""

    process: Process
    link: Link
    stop: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Story:
    """All that the judge reads. ``endings`` are the exit codes of the coordinator in calm weather."""

    scenario: Scenario
    run_dir: Path
    entries: list[Entry]
    jobs: list[Job]
    accounts: Accounts
    complaints: list[str]
    endings: list[int]
    mishaps: Counter[Mishap]
    deaths: int
    zombies: int
    errors: list[str]
    virtual_s: float
    evidence: Evidence


def play(scenario: Scenario, base: Path) -> Story:
    """Play a scenario in an empty directory. The same scenario, the same story."""
    loop = NightLoop(_BEGIN)
    clock = NightClock(loop)
    random.seed(scenario.seed)
    with virtual_kernel(), _in_directory(base), _simulated_time(clock, scenario.seed), contextlib.closing(loop):
        config = SandboxConfig(
            accounts={KEY: Decimal(100_000)},
            seed=scenario.seed,
            time_scale=scenario.time_scale,
            prices={"zimage-base": PRICE},
            runners=max(2, scenario.workers),
        )
        with contextlib.closing(NightGateway(clock, config)) as gateway:
            return loop.run_until_complete(_Player(scenario, base, clock, gateway).play())


@contextlib.contextmanager
def _in_directory(base: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(base)
    logger = logging.getLogger("crucible_batch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        os.chdir(before)


@contextlib.contextmanager
def _simulated_time(clock: NightClock, seed: int) -> Iterator[None]:
    """Have the product read the simulated clock, and draw its ids from the seed."""
    chance = random.Random(f"ids {seed}")
    with (
        patch.object(SystemClock, "now", lambda _self: clock.now()),
        patch.object(SystemClock, "monotonic", lambda _self: clock.monotonic()),
        patch.object(cluster_worker, "lease_clock", clock.monotonic),
        patch.object(coordinator, "lease_clock", clock.monotonic),
        patch.object(cluster_worker, "WorkerTools", partial(cluster_worker.WorkerTools, monotonic=clock.monotonic)),
        patch.object(cluster_run, "merge", partial(cluster_run.merge, clock=clock.now)),
        patch.object(uuid, "uuid4", lambda: uuid.UUID(int=chance.getrandbits(128))),
        patch.object(pictures, "render", plain_picture),
    ):
        yield


class _Player:
    def __init__(self, scenario: Scenario, base: Path, clock: NightClock, gateway: NightGateway) -> None:
        self._scenario = scenario
        self._clock = clock
        self._gateway = gateway
        self._computer = Computer()
        self._chance = random.Random(f"play {scenario.seed}")
        self._accounts = Accounts(scenario.budget, clock.monotonic)
        self._seen = Observations(clock.monotonic)
        database = RuleDatabase(clock.monotonic, self._accounts.watch)
        self._address = ClusterAddress.parse("host=/nowhere dbname=fleet user=fleet")
        self._site = Site(database, self._address, self._link)
        self._tasks = Tasks(random.Random(f"tasks {scenario.seed}"))
        self._settings = Settings(KEY, API, state_directory=base / "state", accounts_directory=base / "accounts")
        self._manifest = base / "fleet.yaml"
        self._members: dict[int, Member] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._complaints: list[str] = []
        self._errors: list[str] = []
        self._mishaps: Counter[Mishap] = Counter()
        self._deaths = self._zombies = 0
        self._is_calm = self._is_over = False

    def _link(self) -> Link:
        process = current_process()
        return next(member.link for member in self._members.values() if member.process is process)

    async def play(self) -> Story:
        self._manifest.write_text(self._scenario.manifest, encoding="utf-8")
        self._gateway.strike(self._scenario.gateway_faults)
        with (
            patch.object(ClusterDatabase, "opened", self._site.opened),
            patch.object(cluster_worker, "ShardQueue", self._queue),
            patch.object(coordinator, "ShardQueue", self._queue),
        ):
            for number in range(1, self._scenario.workers + 1):
                self._spawn(self._keep_worker(number))
            endings = await self._follow()
            await self._stop_workers()
        run_dir = self._manifest.parent / "outputs" / "fleet" / "default"
        story = Story(
            scenario=self._scenario,
            run_dir=run_dir,
            entries=self._gateway.entries(),
            jobs=self._gateway.jobs(),
            accounts=self._accounts,
            complaints=[*self._complaints, *self._gateway.problems(), *self._gateway.violations],
            endings=endings,
            mishaps=self._mishaps,
            deaths=self._deaths,
            zombies=self._zombies,
            errors=self._errors,
            virtual_s=self._clock.monotonic(),
            evidence=self._evidence(run_dir, endings),
        )
        await self._computer.bury()
        await asyncio.sleep(60.0)  # requests that are still on their way arrive
        return story

    def _evidence(self, run_dir: Path, endings: list[int]) -> Evidence:
        return Evidence(
            manifest=self._manifest,
            run_dir=run_dir,
            began=_BEGIN.timestamp(),
            budget=self._scenario.budget,
            attempts=self._scenario.attempts,
            ledger=[
                LedgerRow(each.created_at, each.entry_type, each.amount, each.job_id)
                for each in self._gateway.entries()
            ],
            generations=[
                Generation(
                    job_id=each.job_id,
                    key=each.idempotency_key,
                    prompt=str(each.params.get("prompt.text", "")),
                    credits=each.price,
                    accepted_at=each.submitted_at,
                    ended_at=each.finished_at,
                    has_failed=each.error_code is not None,
                )
                for each in self._gateway.jobs()
            ],
            submits=self._seen.submits,
            statements=self._seen.statements,
            endings=endings,
        )

    def _queue(self, _address: ClusterAddress, *, lease_s: float) -> SimulatedQueue:
        return SimulatedQueue(self._tasks, self._link())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = in_the_world(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- processes ----------------------------------------------------------------------------------------------------

    async def _live(self, number: int, main: Any) -> Any:
        """Run a process to its end. Returns its result; None if it was killed or ended with an error."""
        began = self._clock.monotonic()
        chance = random.Random(f"link {self._scenario.seed} {number} {began}")
        link = Link(f"process {number} of {began:.1f} s", chance, self._seen)
        member = self._members[number] = Member(Process(f"process {number}"), link)
        try:
            return await self._computer.run(member.process, partial(main, member))
        except CrucibleBatchError as error:
            self._errors.append(f"{self._clock.monotonic():.1f} s: {member.process.name}: {error.message}")
            return None
        except Exception:
            self._complaints.append(f"{member.process.name} ended with a bug: {traceback.format_exc()}")
            return None

    async def _keep_worker(self, number: int) -> None:
        """Start a worker again whenever it has ended, as a supervisor does."""
        while not self._is_over:
            await self._live(number, self._work)
            await asyncio.sleep(self._chance.uniform(0.5, 1) * (1.0 if self._is_calm else self._scenario.wait_s))

    async def _work(self, member: Member) -> int:
        transport = ProcessTransport(self._gateway, member.link)
        return await run_worker(self._address, member.stop, settings=self._settings, transport=transport)

    async def _coordinate(self, member: Member) -> RunResult:
        request = RunRequest(self._manifest, shards=self._scenario.shards, html=False, polls_per_s=None)
        transport = ProcessTransport(self._gateway, member.link)
        return await run_on_cluster(request, self._address, settings=self._settings, transport=transport)

    async def _follow(self) -> list[int]:
        """Start the coordinator again until its run has ended twice in calm weather, with nothing bought between."""
        befalling = in_the_world(self._befall())
        endings: list[int] = []
        bought = -1
        try:
            async with asyncio.timeout(_LONGEST_S):
                while len(endings) < _MOST_TRIES:
                    was_calm = self._is_calm
                    result = await self._live(0, self._coordinate)
                    if result is None:
                        await asyncio.sleep(2.0)
                        continue
                    await self._calm()
                    endings += [int(result.exit_code)] * was_calm
                    count = len(self._gateway.entries())
                    if was_calm and count == bought and result.exit_code in _LAST:
                        return endings
                    bought = count
                self._complaints.append(f"the same command came to no end: {endings}")
        except TimeoutError:
            self._complaints.append(f"the run has not ended {_LONGEST_S} s later; {self._errors[-1:]}")
            if not self._members[0].process.ended.is_set():
                self._members[0].process.kill()
                self._computer.dead.append(self._members[0].process)
        finally:
            befalling.cancel()
        return endings

    async def _stop_workers(self) -> None:
        self._is_over = True
        for number in range(1, self._scenario.workers + 1):
            self._members[number].stop.set()
        try:
            async with asyncio.timeout(_LONGEST_S):
                while self._background:
                    await asyncio.sleep(1.0)
                    for number in range(1, self._scenario.workers + 1):
                        self._members[number].stop.set()
        except TimeoutError:
            self._complaints.append("workers didn't end although they were asked to")
            for member in self._members.values():
                member.process.kill()

    # -- mishaps ------------------------------------------------------------------------------------------------------

    async def _befall(self) -> None:
        for event in self._scenario.events:
            await asyncio.sleep(max(0.0, event.at_s - self._clock.monotonic()))
            for number in event.who:
                if number in self._members:
                    self._strike(event, self._members[number])
        await asyncio.sleep(max((event.for_s for event in self._scenario.events), default=0.0))
        await self._calm()

    def _strike(self, event: Event, member: Member) -> None:
        if member.process.is_dead or member.process.ended.is_set():
            return
        self._mishaps[event.mishap] += 1
        loop = asyncio.get_running_loop()
        match event.mishap:
            case Mishap.KILLED:
                self._deaths += 1
                member.process.kill()
            case Mishap.ASKED_TO_STOP:
                member.stop.set()
            case Mishap.FROZEN:
                member.process.freeze()
                loop.call_later(event.for_s, self._wake, member)
            case Mishap.NO_DATABASE:
                member.link.has_database = False
                loop.call_later(event.for_s, setattr, member.link, "has_database", True)
            case Mishap.NO_GATEWAY:
                member.link.has_gateway = False
                loop.call_later(event.for_s, setattr, member.link, "has_gateway", True)
            case Mishap.SLOW_DATABASE:
                member.link.slow_database = 0.5
                loop.call_later(event.for_s, setattr, member.link, "slow_database", 0.0)

    def _wake(self, member: Member) -> None:
        if member.process.is_frozen and not member.process.is_dead:
            self._zombies += 1
            member.process.wake()

    async def _calm(self) -> None:
        """End all mishaps."""
        self._is_calm = True
        self._gateway.strike("")
        self._tasks.lost = self._tasks.twice = 0.0
        for member in self._members.values():
            self._wake(member)
            member.link.has_database = member.link.has_gateway = True
            member.link.slow_database = 0.0
