"""One seed of a run on many machines, played: a coordinator, its engine, workers and shards.

All of it is the product's own, except for what starts a process: a shard's process is one of the
simulated ones. The machines share nothing but the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from crucible_batch.engine import SystemClock
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.features.machines import coordinator as coordinator_module
from crucible_batch.features.machines import shard_process
from crucible_batch.features.machines.coordinator import run_on_machines
from crucible_batch.features.machines.engine_port import Engine, EngineError
from crucible_batch.features.machines.engines import LocalProcesses, WaitingEngine
from crucible_batch.features.machines.run_options import MachineOptions
from crucible_batch.features.machines.shard_process import ShardEnd, ShardTask
from crucible_batch.features.machines.worker import Worker
from crucible_batch.features.registry import kind_of
from crucible_batch.features.shards.log import WatchedLog
from crucible_batch.features.shards.merging import merge
from crucible_batch.features.shards.stored_plans import fetch_stored_plan
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs.objects import Objects
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import RunResult, run_request
from crucible_batch.runs.start import RunKind
from crucible_batch.sandbox import pictures
from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.settings import Settings
from tests.verification.fleet.evidence import Evidence, Generation, LedgerRow, Observations
from tests.verification.fleet.machines_scenario import MachinesScenario, Trouble, TroubleEvent
from tests.verification.fleet.network import Link, ProcessTransport
from tests.verification.fleet.play import (
    BEGIN,
    LAST,
    Member,
    Stoppable,
    in_directory,
    simulated_time,
)
from tests.verification.fleet.scenario import PRICE
from tests.verification.fleet.store import PlayStore, ProcessObjects, StoreLink
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

T = TypeVar("T")
URL = ObjectUrl("s3", "bucket", "fleet")
_SET_BACK_S = 3600.0


class KilledError(BaseException):
    """The process ends here; raised where it can't simply go on never."""


class MachinesLoop(NightLoop):
    """A loop in which blocking work of a process may be its end."""

    async def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        try:
            return await super().run_in_executor(executor, func, *args)
        except (KilledError, BaseExceptionGroup):
            process = current_process()
            assert process is not None
            process.kill()
        return await self.create_future()


@dataclass(eq=False)
class MachineMember(Member):
    """A process on a machine. ``digest`` and ``number`` are those of its shard, if it runs one."""

    machine: str = ""
    store: StoreLink = field(default_factory=lambda: StoreLink(random.Random(0)))
    set_back_s: float = 0.0
    shard: tuple[str, int] | None = None
    children: list[MachineMember] = field(default_factory=list)

    def stop(self) -> None:
        """Ask the process to stop. Before its run has begun it ends at once, as with SIGTERM."""
        super().stop()
        if self.runner is None and self.shard is not None:
            self.process.kill()


@dataclass
class MachinesStory:
    """All that the judges read."""

    scenario: MachinesScenario
    run_dir: Path
    entries: list[Any]
    jobs: list[Any]
    complaints: list[str]
    endings: list[int]
    troubles: Counter[Trouble]
    deaths: int
    zombies: int
    starts: int
    effects: int
    errors: list[str]
    virtual_s: float
    evidence: Evidence
    store: PlayStore


def play_machines(
    scenario: MachinesScenario,
    base: Path,
    *,
    killed_at: int | None = None,
    act: Callable[[MachinesPlayer], Coroutine[Any, Any, None]] | None = None,
) -> MachinesStory:
    """Play a scenario in an empty directory. The same scenario, the same story.

    ``killed_at``: the first coordinator is killed at this one of its effects. ``act`` happens
    beside the run.
    """
    loop = MachinesLoop(BEGIN)
    clock = NightClock(loop)
    random.seed(scenario.seed)
    with (
        virtual_kernel(),
        in_directory(base),
        simulated_time(clock, scenario.seed),
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
            player = MachinesPlayer(scenario, base, clock, gateway)
            player.killed_at = killed_at
            with player.in_place_of_the_system():
                return loop.run_until_complete(player.play(act))


class SimulatedShardProcess:
    """In place of ``ShardProcess``: a simulated process on the machine of its parent."""

    def __init__(
        self,
        player: MachinesPlayer,
        task: ShardTask,
        _settings: Settings | None = None,
        _options: Mapping[str, object] | None = None,
    ) -> None:
        parent = player.current()
        if player.ends_at(parent):
            raise KilledError
        shard = (task.digest, task.number)
        self.member = player.member(f"shard {task.number}", parent.machine, shard)
        parent.children.append(self.member)
        self._end = in_the_world(player.run_shard(self.member, task.watched))
        if player.ends_at(parent):
            raise KilledError

    async def ended(self) -> ShardEnd:
        try:
            return await asyncio.shield(self._end)
        except asyncio.CancelledError:
            self.wind_down()
            await self._end
            raise

    def wind_down(self) -> None:
        self.member.stop()

    def kill(self) -> int:
        self.member.process.kill()
        return 1


@dataclass(slots=True)
class CarelessEngine:
    """Starts shards on its machines, some twice at the same time, and loses sight of some."""

    player: MachinesPlayer
    count: int
    chance: random.Random
    turns: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.turns = asyncio.Semaphore(self.count)

    async def places(self) -> int:
        return self.count

    async def run(self, task: ShardTask) -> ShardEnd:
        async with self.turns:
            runs = [self._start(task)]
            if self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.uniform(0.0, 2.0))
                runs.append(self._start(task))
            if self.chance.random() < 0.2:
                await asyncio.sleep(self.chance.uniform(0.5, 30.0))
                raise EngineError("the scheduler is gone")
            return await asyncio.shield(runs[-1])

    def _start(self, task: ShardTask) -> asyncio.Task[ShardEnd]:
        machine = f"place-{self.chance.randrange(self.count)}"
        member = self.player.member(f"task {task.number}", machine, (task.digest, task.number))
        return in_the_world(self.player.run_shard(member, task.watched))

    async def close(self) -> None:
        pass


class MachinesPlayer:
    """The world of a play: its processes, and what befalls them."""

    def __init__(
        self, scenario: MachinesScenario, base: Path, clock: NightClock, gateway: NightGateway
    ) -> None:
        self.scenario = scenario
        self.clock = clock
        self.store = PlayStore(clock.monotonic, scenario.store_faults)
        self.killed_at: int | None = None
        self.effects = 0
        self.members: list[MachineMember] = []
        self.seen = Observations(clock.monotonic)
        self.is_calm = not scenario.events
        self.stop = asyncio.Event()
        self._gateway = gateway
        self._base = base
        self._computer = Computer()
        self._chance = random.Random(f"play {scenario.seed}")
        self._settings = Settings(
            KEY, API, state_directory=base / "state", accounts_directory=base / "accounts"
        )
        self._manifest = base / "fleet.yaml"
        self._by_process: dict[Process, MachineMember] = {}
        self._shards: dict[str, tuple[str, int]] = {}
        self._complaints: list[str] = []
        self._errors: list[str] = []
        self._troubles: Counter[Trouble] = Counter()
        self._zombies = 0
        self._keeping: list[asyncio.Task[list[int]]] = []

    @contextlib.contextmanager
    def in_place_of_the_system(self) -> Iterator[None]:
        """Have the product meet the world of this play: store, disks, clocks and processes."""
        ids = random.Random(f"tokens {self.scenario.seed}")
        machines = "crucible_batch.features.machines"
        start = partial(SimulatedShardProcess, self)
        with (
            patch.object(Objects, "at", self.objects),
            patch("crucible_batch.runs.paths.state_directory", lambda _environ: self._disk()),
            patch.object(SystemClock, "now", lambda _self: self.now()),
            patch.object(secrets, "token_hex", lambda size=16: ids.randbytes(size).hex()),
            patch.object(pictures, "render", plain_picture),
            patch("crucible_batch.journal.lock._LOOK_S", 0.0),
            patch(f"{machines}.engines.ShardProcess", start),
            patch(f"{machines}.worker.ShardProcess", start),
            patch.object(shard_process, "run_request", self._run_request),
            patch.object(coordinator_module, "engine_of", self._engine),
            patch.object(coordinator_module, "merge", partial(merge, clock=self.clock.now)),
            patch("crucible_batch.features.shards.stored_merge.in_thread", _in_thread),
        ):
            yield

    # -- what processes have

    def current(self) -> MachineMember:
        process = current_process()
        assert process is not None
        return self._by_process[process]

    def now(self) -> float:
        process = current_process()
        if process is None:
            return self.clock.now()
        return self.clock.now() - self._by_process[process].set_back_s

    def objects(self, url: ObjectUrl) -> ProcessObjects:
        return ProcessObjects(url, self.store, self.current().store)

    def _disk(self) -> Path:
        return self._base / "machines" / self.current().machine

    def _engine(self, _text: str, settings: Settings, _options: Mapping[str, object]) -> Engine:
        scenario = self.scenario
        if scenario.engine == "careless":
            chance = random.Random(f"engine {scenario.seed} {self.clock.monotonic()}")
            return CarelessEngine(self, scenario.workers, chance)
        if scenario.engine == "workers":
            return WaitingEngine(scenario.workers)
        return LocalProcesses(scenario.workers, settings)

    async def _run_request(
        self,
        request: RunRequest,
        kind_for: Callable[..., RunKind],
        *,
        handle_signals: bool = False,
        settings: Settings,
    ) -> RunResult:
        member = self.current()
        return await run_request(
            request,
            lambda request: kind_for(request, Stoppable(member)),
            settings=settings,
            transport=ProcessTransport(self._gateway, member.link),
        )

    # -- processes

    def member(
        self, name: str, machine: str, shard: tuple[str, int] | None = None
    ) -> MachineMember:
        number = len(self.members)
        chance = random.Random(f"process {self.scenario.seed} {number}")
        link = Link(f"{name} of {machine} ({number})", chance, self.seen)
        member = MachineMember(Process(link.process), link, machine=machine, shard=shard)
        member.store = StoreLink(random.Random(f"store {self.scenario.seed} {number}"))
        if shard is not None:
            self._shards[link.process] = shard
        self.members.append(member)
        self._by_process[member.process] = member
        return member

    def ends_at(self, member: MachineMember) -> bool:
        """Count an effect of a coordinator; return whether the process has ended there."""
        if not member.process.name.startswith("coordinator"):
            return False
        self.effects += 1
        if self.effects != self.killed_at:
            return False
        if isinstance(asyncio.get_running_loop(), NightLoop):
            member.process.kill()
        return True

    async def effect(self, member: MachineMember) -> None:
        """Count an effect of a coordinator. If it ends there, this never returns."""
        if self.ends_at(member):
            if not member.process.is_dead:
                raise KilledError
            await asyncio.get_running_loop().create_future()

    async def _live(
        self, member: MachineMember, main: Callable[[], Coroutine[Any, Any, T]]
    ) -> T | None:
        """Run a process to its end; return its result, None if it was killed."""
        member.store.effect = partial(self.effect, member)

        async def unless_killed() -> T:
            try:
                return await main()
            except BaseExceptionGroup as group:
                if group.split(KilledError)[0] is None:
                    raise
            except KilledError:
                pass
            if member.process.is_dead or member.process.ended.is_set():
                raise asyncio.CancelledError
            member.process.kill()
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

        try:
            return await self._computer.run(member.process, unless_killed)
        except CrucibleBatchError as error:
            text = f"{self.clock.monotonic():.1f} s: {member.process.name}: {error.message}"
            self._errors.append(text)
            raise
        except Exception:
            self._complaints.append(
                f"{member.process.name} ended with a bug: {traceback.format_exc()}"
            )
            raise
        finally:
            for child in member.children:  # its standard input ends
                if not child.process.ended.is_set():
                    child.stop()

    async def run_shard(self, member: MachineMember, watched: int = 0) -> ShardEnd:
        """Run a shard as ``shard_process.main`` does; return how its process has ended."""
        assert member.shard is not None
        digest, number = member.shard

        async def main() -> int:
            plan = await fetch_stored_plan(URL, digest)
            directory = plan.path.with_name(f"{number}.{secrets.token_hex(4)}")
            try:
                return await shard_process._run(
                    plan, number, directory, WatchedLog(watched), settings=self._settings
                )
            finally:
                shutil.rmtree(directory, ignore_errors=True)

        try:
            code = await self._live(member, main)
        except CrucibleBatchError as error:
            return ShardEnd(int(error.exit_code), f"{error.code}: {error.message}")
        except Exception as error:
            return ShardEnd(1, str(error))
        return ShardEnd(-9 if code is None else code, "")

    async def _keep_worker(self, number: int) -> None:
        """Run a worker on a machine, and start it again, until the end of the play."""
        machine = f"machine-{number}"
        while not self.stop.is_set():
            member = self.member(f"worker {number}", machine)
            stop = asyncio.Event()

            async def main(stop: asyncio.Event = stop) -> bool:
                await Worker(URL, self.objects(URL), stop, self._settings).serve()
                return True

            stopping = in_the_world(self._stop_with_the_play(stop))
            await self._live(member, main)
            stopping.cancel()
            await self.rest()

    async def _stop_with_the_play(self, stop: asyncio.Event) -> None:
        await self.stop.wait()
        stop.set()

    async def _keep_coordinator(self, number: int) -> list[int]:
        """Start the command again until it has ended for good in calm weather."""
        codes: list[int] = []
        while True:
            was_calm = self.is_calm
            with contextlib.suppress(CrucibleBatchError):
                result = await self._live(
                    self.member(f"coordinator {number}", "main"), self._coordinate
                )
                if result is not None:
                    codes.append(int(result.exit_code))
                    if was_calm and result.exit_code in LAST:
                        return codes
            await self.rest()
            if self.scenario.coordinators > 1:
                await asyncio.sleep(5.0)

    async def _until_one_has_ended(self) -> list[int]:
        """Keep all coordinators until one has ended for good; the others would find nothing."""
        numbers = range(self.scenario.coordinators)
        keeping = [in_the_world(self._keep_coordinator(number)) for number in numbers]
        await asyncio.wait(keeping, return_when=asyncio.FIRST_COMPLETED)
        ended = next(each for each in keeping if each.done())
        self._keeping = keeping
        return ended.result()

    async def _coordinate(self) -> RunResult:
        member = self.current()
        request = RunRequest(self._manifest, out_dir=Path(str(URL)), html=False)
        request = request.having(
            MachineOptions(on=self.scenario.engine, divide=self.scenario.shards)
        )
        return await run_on_machines(
            request,
            lambda request: kind_of(request, Stoppable(member)),
            settings=self._settings,
            transport=CountedTransport(self, member, ProcessTransport(self._gateway, member.link)),
        )

    async def rest(self) -> None:
        """Wait as a supervisor does before it starts a process again."""
        longest_s = 2.0 if self.is_calm else self.scenario.wait_s
        await asyncio.sleep(self._chance.uniform(0.5, 1.0) * longest_s)

    # -- the play

    async def play(
        self, act: Callable[[MachinesPlayer], Coroutine[Any, Any, None]] | None
    ) -> MachinesStory:
        scenario = self.scenario
        self._manifest.write_text(scenario.manifest, encoding="utf-8")
        self._gateway.strike(scenario.gateway_faults)
        befalling = in_the_world(self._befall())
        acting = in_the_world(act(self)) if act is not None else None
        workers = []
        if scenario.engine == "workers":
            workers = [in_the_world(self._keep_worker(n)) for n in range(scenario.workers)]
        endings: list[int] = []
        try:
            async with asyncio.timeout(scenario.longest_s):
                endings = await self._until_one_has_ended()
                if acting is not None:
                    await acting
        except TimeoutError:
            self._complaints.append(
                f"the run has not ended {scenario.longest_s} s later; {self._errors[-1:]}"
            )
        except Exception as error:
            self._complaints.append(f"{type(error).__name__}: {error}")
        finally:
            befalling.cancel()
        self.stop.set()
        story = self._story(endings)
        for member in self.members:
            member.process.kill()
        for _ in range(5):  # who waits for a process learns that it was killed
            await asyncio.sleep(0)
        for task in (*workers, *self._keeping, acting):
            if task is not None:
                task.cancel()
        await self._computer.bury()
        await asyncio.sleep(60.0)  # requests that are still on their way arrive
        return story

    def _story(self, endings: list[int]) -> MachinesStory:
        run_dir = self._stored_files()
        problems = [*self._complaints, *self._gateway.problems(), *self._gateway.violations]
        return MachinesStory(
            scenario=self.scenario,
            run_dir=run_dir,
            entries=self._gateway.entries(),
            jobs=self._gateway.jobs(),
            complaints=problems,
            endings=endings,
            troubles=self._troubles,
            deaths=sum(member.process.is_dead for member in self.members),
            zombies=self._zombies,
            starts=len(self.members),
            effects=self.effects,
            errors=self._errors,
            virtual_s=self.clock.monotonic(),
            evidence=self._evidence(run_dir, endings),
            store=self.store,
        )

    def _stored_files(self) -> Path:
        """Write what the store has into a directory, as the judges read it."""
        run_dir = self._base / "stored"
        for key, content in self.store.content.items():
            file = run_dir / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return run_dir

    def _evidence(self, run_dir: Path, endings: list[int]) -> Evidence:
        listed = sorted((run_dir / ".crucible" / "shards").glob("[0-9]*.json"))
        digests = dict.fromkeys(json.loads(file.read_text())["plan"]["digest"] for file in listed)
        plans = [run_dir / ".crucible" / "shards" / each[:8] / "plan.json" for each in digests]
        return Evidence(
            manifest=self._manifest,
            run_dir=run_dir,
            began=BEGIN.timestamp(),
            budget=self.scenario.budget,
            attempts=self.scenario.attempts,
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
            submits=self.seen.submits,
            plans=[plan for plan in plans if plan.is_file()],
            shards=self._shards,
            endings=endings,
            stored_at=dict(self.store.created_at),
            overwritten=list(self.store.overwritten),
            had_store_troubles=self.scenario.has_store_troubles,
        )

    # -- troubles

    async def _befall(self) -> None:
        events = self.scenario.events
        for event in events:
            await asyncio.sleep(max(0.0, event.at_s - self.clock.monotonic()))
            self.strike(event)
        await asyncio.sleep(max((event.for_s for event in events), default=0.0))
        await self._calm()

    def living(self, kind: str) -> list[MachineMember]:
        """The processes of a kind that are there, also frozen ones: ``shard``, ``worker``..."""
        return [
            member
            for member in self.members
            if not (member.process.is_dead or member.process.ended.is_set())
            and (
                member.shard is not None
                if kind == "shard"
                else member.process.name.startswith(kind)
            )
        ]

    def strike(self, event: TroubleEvent) -> None:
        """Have some trouble begin. It ends by itself."""
        loop, trouble = asyncio.get_running_loop(), event.trouble
        match trouble:
            case Trouble.SHARD_KILLED:
                self._each("shard", event, lambda member: member.process.kill())
            case Trouble.WORKER_KILLED:
                self._each("worker", event, lambda member: member.process.kill())
            case Trouble.MACHINE_LOST:
                self._each("worker", event, self.lose)
            case Trouble.FROZEN:
                self._each("shard", event, partial(self.freeze, for_s=event.for_s))
            case Trouble.STARTED_TWICE:
                self._each("shard", event, self._start_again)
            case Trouble.ASKED_TO_STOP:
                self._each("shard", event, lambda member: member.stop())
            case Trouble.NO_GATEWAY:
                self._each("shard", event, partial(self._cut_gateway, for_s=event.for_s))
            case Trouble.NO_STORE:
                self._each("", event, partial(self.cut_store, for_s=event.for_s))
            case Trouble.STORE_AWAY:
                self._troubles[trouble] += 1
                self.store.is_back.clear()
                loop.call_later(event.for_s, self.store.is_back.set)
            case Trouble.COORDINATOR_KILLED:
                self._each("coordinator", event, lambda member: member.process.kill())
            case Trouble.COORDINATOR_FROZEN:
                self._each("coordinator", event, partial(self.freeze, for_s=event.for_s))

    def _each(self, kind: str, event: TroubleEvent, act: Callable[[MachineMember], None]) -> None:
        members = self.living(kind)
        count = min(len(members), max(1, round(event.share * len(members))))
        for member in self._chance.sample(members, count):
            self._troubles[event.trouble] += 1
            act(member)

    def lose(self, worker: MachineMember) -> None:
        """End all processes of a machine, and all that is on its disk."""
        for member in self.members:
            if member.machine == worker.machine:
                member.process.kill()
        disk = self._base / "machines" / worker.machine
        if disk.exists():
            disk.rename(disk.with_name(f"lost-{len(self.members)}-{worker.machine}"))

    def freeze(self, member: MachineMember, *, for_s: float) -> None:
        member.process.freeze()
        asyncio.get_running_loop().call_later(for_s, self._wake, member)

    def _wake(self, member: MachineMember) -> None:
        if member.process.is_frozen and not member.process.is_dead:
            self._zombies += 1
            member.set_back_s += _SET_BACK_S
            member.process.wake()

    def _start_again(self, member: MachineMember) -> None:
        machine = f"elsewhere-{self._chance.randrange(3)}"
        second = self.member("second", machine, member.shard)
        in_the_world(self.run_shard(second))

    def _cut_gateway(self, member: MachineMember, *, for_s: float) -> None:
        member.link.has_gateway = False
        asyncio.get_running_loop().call_later(for_s, setattr, member.link, "has_gateway", True)

    def cut_store(self, member: MachineMember, *, for_s: float) -> None:
        member.store.has_store = False
        asyncio.get_running_loop().call_later(for_s, setattr, member.store, "has_store", True)

    async def _calm(self) -> None:
        """End all troubles."""
        self.is_calm = True
        self._gateway.strike("")
        self.store.is_back.set()
        self.store.faults = type(self.store.faults)()
        for member in self.members:
            self._wake(member)
            member.link.has_gateway = member.store.has_store = True


@dataclass(eq=False)
class CountedTransport(ProcessTransport):
    """The gateway as a coordinator reaches it: each request is one of its effects."""

    def __init__(
        self, player: MachinesPlayer, member: MachineMember, transport: ProcessTransport
    ) -> None:
        super().__init__(transport.gateway, transport.link)
        self._player = player
        self._member = member

    async def handle_async_request(self, request: Any) -> Any:
        await self._player.effect(self._member)
        response = await super().handle_async_request(request)
        await self._player.effect(self._member)
        return response


def _in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread as the product does, for the same process."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(copy_context().run, asyncio.run, work).result()
