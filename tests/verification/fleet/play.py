"""One seed played: a plan is divided, workers run its shards, and they are merged, until the run
ends in calm weather.

All processes are on one disk. A shard whose process has died is started again, as Slurm and
Kubernetes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from crucible_batch.engine import SystemClock
from crucible_batch.errors import CrucibleBatchError, ExitCode, UserError
from crucible_batch.features.registry import kind_of, plan_kind_of
from crucible_batch.features.shards.merging import merge
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.run_options import ShardChoice
from crucible_batch.runs.cancellation import Interruptible
from crucible_batch.runs.parts import ReadyRun, RunPart
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import RunResult, run_request
from crucible_batch.sandbox import pictures
from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.records import Entry, Job
from crucible_batch.settings import Settings
from tests.verification.fleet.evidence import Evidence, Generation, LedgerRow, Observations
from tests.verification.fleet.network import Link, ProcessTransport
from tests.verification.fleet.scenario import PRICE, Event, Mishap, Scenario
from tests.verification.nights.gateway import API, KEY, NightGateway, plain_picture
from tests.verification.nights.machine import (
    Computer,
    NightClock,
    NightLoop,
    Process,
    in_the_world,
    virtual_kernel,
)

T = TypeVar("T")

BEGIN = datetime(2027, 1, 4, tzinfo=UTC)
_LONGEST_S = 3600.0
"""In calm weather the run ends before this."""
_MOST_WAVES = 12
LAST = (ExitCode.OK, ExitCode.SOME_FAILED, ExitCode.OUT_OF_CREDITS)


@dataclass(eq=False)
class Member:
    """A process and what can happen to it.

    Number 0 plans, merges and runs the manifest, the others run shards.
    """

    process: Process
    link: Link
    is_stopping: bool = False
    runner: Interruptible | None = None

    def stop(self) -> None:
        """Ask the process to stop, as SIGTERM does."""
        self.is_stopping = True
        if self.runner is not None:
            self.runner.interrupt(ExitCode.SIGTERM)

    def began(self, runner: Interruptible) -> None:
        self.runner = runner
        if self.is_stopping:
            self.stop()


class Stoppable(RunPart):
    """Gives a run that is about to buy to its member, which may stop it."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def beside(self, run: ReadyRun) -> contextlib.AbstractAsyncContextManager[object]:
        self._member.began(run.desk.control)
        return contextlib.nullcontext()


@dataclass
class Story:
    """All that the judge reads. ``endings`` are the exit codes of the run in calm weather."""

    scenario: Scenario
    run_dir: Path
    entries: list[Entry]
    jobs: list[Job]
    complaints: list[str]
    endings: list[int]
    mishaps: Counter[Mishap]
    deaths: int
    zombies: int
    starts: int
    errors: list[str]
    virtual_s: float
    evidence: Evidence


def play(scenario: Scenario, base: Path) -> Story:
    """Play a scenario in an empty directory. The same scenario, the same story."""
    loop = NightLoop(BEGIN)
    clock = NightClock(loop)
    random.seed(scenario.seed)
    with (
        virtual_kernel(),
        in_directory(base),
        simulated_time(clock, scenario.seed),
        patch("crucible_batch.runs.paths.state_directory", lambda _environ: base / "state"),
        contextlib.closing(loop),
    ):
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
def in_directory(base: Path) -> Iterator[None]:
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
def simulated_time(clock: NightClock, seed: int) -> Iterator[None]:
    """Have the product read the simulated clock, and draw its ids from the seed."""
    chance = random.Random(f"ids {seed}")
    with (
        patch.object(SystemClock, "now", lambda _self: clock.now()),
        patch.object(SystemClock, "monotonic", lambda _self: clock.monotonic()),
        patch.object(uuid, "uuid4", lambda: uuid.UUID(int=chance.getrandbits(128))),
        patch.object(pictures, "render", plain_picture),
    ):
        yield


class _Player:
    def __init__(
        self, scenario: Scenario, base: Path, clock: NightClock, gateway: NightGateway
    ) -> None:
        self._scenario = scenario
        self._clock = clock
        self._gateway = gateway
        self._base = base
        self._computer = Computer()
        self._chance = random.Random(f"play {scenario.seed}")
        self._seen = Observations(clock.monotonic)
        self._settings = Settings(
            KEY, API, state_directory=base / "state", accounts_directory=base / "accounts"
        )
        self._manifest = base / "fleet.yaml"
        self._run_dir = base / "outputs" / "fleet" / "default"
        self._free = list(range(1, scenario.workers + 1))
        self._seats = asyncio.Semaphore(scenario.workers)
        self._members: dict[int, Member] = {}
        self._plans: list[Path] = []
        self._shards: dict[str, tuple[str, int]] = {}
        self._complaints: list[str] = []
        self._errors: list[str] = []
        self._mishaps: Counter[Mishap] = Counter()
        self._starts = self._deaths = self._zombies = 0
        self._is_calm = False

    async def play(self) -> Story:
        self._manifest.write_text(self._scenario.manifest, encoding="utf-8")
        self._gateway.strike(self._scenario.gateway_faults)
        befalling = in_the_world(self._befall())
        endings: list[int] = []
        try:
            async with asyncio.timeout(_LONGEST_S):
                endings.append(await self._run())
        except TimeoutError:
            self._complaints.append(
                f"the run has not ended {_LONGEST_S} s later; {self._errors[-1:]}"
            )
        except UserError as error:
            self._complaints.append(f"a command was refused: {error.message}")
        except Exception:
            assert self._complaints
        finally:
            befalling.cancel()
        story = Story(
            scenario=self._scenario,
            run_dir=self._run_dir,
            entries=self._gateway.entries(),
            jobs=self._gateway.jobs(),
            complaints=[*self._complaints, *self._gateway.problems(), *self._gateway.violations],
            endings=endings,
            mishaps=self._mishaps,
            deaths=self._deaths,
            zombies=self._zombies,
            starts=self._starts,
            errors=self._errors,
            virtual_s=self._clock.monotonic(),
            evidence=self._evidence(endings),
        )
        for member in self._members.values():
            if not member.process.ended.is_set():
                member.process.kill()
                self._computer.dead.append(member.process)
        await self._computer.bury()
        await asyncio.sleep(60.0)  # requests that are still on their way arrive
        return story

    def _evidence(self, endings: list[int]) -> Evidence:
        return Evidence(
            manifest=self._manifest,
            run_dir=self._run_dir,
            state=self._base / "state",
            began=BEGIN.timestamp(),
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
            plans=self._plans,
            shards=self._shards,
            endings=endings,
        )

    # -- processes

    async def _live(
        self, number: int, main: Callable[[Member], Coroutine[Any, Any, T]], shard: Any = None
    ) -> T | None:
        """Run a process to its end.

        Returns its result; None if it was killed or ended with an error.
        """
        began = self._clock.monotonic()
        self._starts += 1
        chance = random.Random(f"link {self._scenario.seed} {number} {began}")
        link = Link(f"process {number} of {began:.3f} s", chance, self._seen)
        if shard is not None:
            self._shards[link.process] = shard
        member = self._members[number] = Member(Process(f"process {number}"), link)
        try:
            return await self._computer.run(member.process, partial(main, member))
        except UserError:
            raise
        except CrucibleBatchError as error:
            self._errors.append(
                f"{self._clock.monotonic():.1f} s: {member.process.name}: {error.message}"
            )
            return None
        except Exception:
            self._complaints.append(
                f"{member.process.name} ended with a bug: {traceback.format_exc()}"
            )
            raise

    async def _again(
        self, number: int, main: Callable[[Member], Coroutine[Any, Any, T]], shard: Any = None
    ) -> T:
        """Start a process again until it has a result."""
        while (result := await self._live(number, main, shard)) is None:
            await asyncio.sleep(
                self._chance.uniform(0.5, 1) * (1.0 if self._is_calm else self._scenario.wait_s)
            )
        return result

    async def _run(self) -> int:
        """Divide, run and merge, until nothing is left to be divided; then run the manifest.

        Return its exit code.
        """
        for wave in range(_MOST_WAVES):
            plan = self._base / f"plan-{wave}.json"
            try:
                await self._again(0, partial(self._divide, plan))
            except UserError:
                # Nothing can be divided, or a job has to be finished first; the run does the rest.
                break
            self._plans.append(plan)
            digest = json.loads(plan.read_text(encoding="utf-8"))["digest"]
            shards = range(1, self._scenario.shards + 1)
            await asyncio.gather(*(self._keep_shard(plan, digest, number) for number in shards))
            await self._again(0, self._merge)
        while True:
            is_calm = self._is_calm
            result = await self._again(0, self._finish)
            if is_calm and result.exit_code in LAST:
                return int(result.exit_code)
            await self._calm()

    async def _divide(self, plan: Path, member: Member) -> bool:
        request = RunRequest(
            self._manifest, features=(DivisionOptions(self._scenario.shards),), html=False
        )
        transport = ProcessTransport(self._gateway, member.link)
        await plan_request(
            request, plan_kind_of, plan, force=True, settings=self._settings, transport=transport
        )
        return True

    async def _keep_shard(self, plan: Path, digest: str, number: int) -> None:
        """Start a shard again until it has ended for good."""
        while True:
            async with self._seats:
                seat = self._free.pop(0)
                try:
                    result = await self._live(
                        seat, partial(self._run_shard, plan, number), (digest, number)
                    )
                finally:
                    self._free.append(seat)
            if result is not None and result.exit_code in LAST:
                return
            await asyncio.sleep(
                self._chance.uniform(0.5, 1) * (1.0 if self._is_calm else self._scenario.wait_s)
            )

    async def _run_shard(self, plan: Path, number: int, member: Member) -> RunResult:
        request = RunRequest(
            plan, features=(ShardChoice(f"{number}/{self._scenario.shards}"),), html=False
        )
        return await self._running(request, member)

    async def _finish(self, member: Member) -> RunResult:
        return await self._running(RunRequest(self._manifest, html=False), member)

    async def _running(self, request: RunRequest, member: Member) -> RunResult:
        transport = ProcessTransport(self._gateway, member.link)
        return await run_request(
            request,
            lambda request: kind_of(request, Stoppable(member)),
            settings=self._settings,
            transport=transport,
        )

    async def _merge(self, _member: Member) -> bool:
        merge([self._run_dir], html=False, clock=self._clock.now, settings=self._settings)
        return True

    # -- mishaps

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
                member.stop()
            case Mishap.FROZEN:
                member.process.freeze()
                loop.call_later(event.for_s, self._wake, member)
            case Mishap.NO_GATEWAY:
                member.link.has_gateway = False
                loop.call_later(event.for_s, setattr, member.link, "has_gateway", True)

    def _wake(self, member: Member) -> None:
        if member.process.is_frozen and not member.process.is_dead:
            self._zombies += 1
            member.process.wake()

    async def _calm(self) -> None:
        """End all mishaps."""
        self._is_calm = True
        self._gateway.strike("")
        for member in self._members.values():
            self._wake(member)
            member.link.has_gateway = True
