"""One seed played through: processes are born, die and are born again on the same directory, until the sky is clear."""

from __future__ import annotations

import asyncio
import io
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from crucible_batch.api.control_desk import ControlDesk
from crucible_batch.api.observers import Observers
from crucible_batch.api.reporting import write_report_of
from crucible_batch.domain.outage import Outage
from crucible_batch.domain.outcome import Ending
from crucible_batch.domain.plan import InputImage, RunTerms
from crucible_batch.engine import EngineOptions, Runner, RunnerPorts, restore
from crucible_batch.errors import ExitCode, GatewayError
from crucible_batch.gateway import Retrier
from crucible_batch.input_images import read_input
from crucible_batch.journal import Binding, Journal, PlanFile, lock_run_directory
from crucible_batch.outputs import RECEIPTS_FILE, OutputStore, Receipts
from crucible_batch.pace.polls import ServiceTimes
from crucible_batch.report.build import build_rows
from tests.verification.simulation.commands import give
from tests.verification.simulation.gateway import SimulatedGateway
from tests.verification.simulation.judge import Finished, Judge
from tests.verification.simulation.mortality import Crashed, Process, VirtualWriter, mortal_publishing
from tests.verification.simulation.scenario import NAME, Life, Mishap, Scenario
from tests.verification.simulation.scenes import scene
from tests.verification.simulation.stages import SeenDerivation, plan_stages
from tests.verification.simulation.surroundings import Surroundings
from tests.verification.simulation.virtual_time import SimulatedClock, VirtualLoop
from tests.verification.simulation.weather import Weather

_BINDING = Binding(NAME, "default", "https://simulated.example")
_LONGEST_RUN_S = 14 * 86400.0
_CALM_LIVES = 10
_CALM_RETRIES = 5


@dataclass
class Tally:
    """What one seed, or many, came to."""

    seeds: int = 0
    runs: int = 0
    crashes: int = 0
    virtual_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    endings: Counter[int] = field(default_factory=Counter)
    wall_s: float = 0.0
    pauses: int = 0
    derived: int = 0
    """Jobs of later stages that the gateway has accepted."""
    broken: list[str] = field(default_factory=list)
    trace: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def double_charges(self) -> int:
        return sum("was bought" in text for text in self.broken)

    @property
    def lost_outputs(self) -> int:
        return sum(" has outputs " in text or "not what the gateway made" in text for text in self.broken)

    @property
    def over_budget(self) -> int:
        return sum("were gone after" in text for text in self.broken)

    @property
    def story(self) -> str:
        """What happened, in words that are the same each time."""
        return f"{self.trace} {self.virtual_s} {self.faults}"

    def add(self, other: Tally) -> None:
        self.seeds += other.seeds
        self.runs += other.runs
        self.crashes += other.crashes
        self.virtual_s += other.virtual_s
        self.faults += other.faults
        self.deaths += other.deaths
        self.endings += other.endings
        self.pauses += other.pauses
        self.derived += other.derived
        self.broken += other.broken
        self.trace += other.trace


def make_images(directory: Path, count: int = 4) -> list[InputImage]:
    """A few small pictures; four for all seeds to choose from."""
    images: list[InputImage] = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (60 * number % 256, 20, 200 - number)).save(buffer, "PNG")
        path = directory / f"{number}.png"
        path.write_bytes(buffer.getvalue())
        images.append(read_input(path))
    return images


def play(seed: int, directory: Path, images: Sequence[InputImage]) -> Tally:
    """Play one seed in an empty directory of its own, and have it judged. Same seed, same story."""
    return play_out(scene(seed, images), directory)


def play_out(scenario: Scenario, directory: Path) -> Tally:
    """Play one scenario in an empty directory of its own, and have it judged."""
    directory.mkdir()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        player = _Player(scenario, directory)
        try:
            runner.run(player.play())
        finally:
            player.close()
    return player.tally


class _Player:
    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self._scenario = scenario
        self._base = directory
        self._generation = 0
        self._copy: Path | None = None
        self._chance = random.Random(f"lives {scenario.seed}")
        self._clock = SimulatedClock(scenario.clock_jumps)
        self._nonces = random.Random(f"nonces {scenario.seed}")
        self._plan = PlanFile()
        self._plan.fill(scenario.jobs)
        self.tally = Tally(seeds=1)

    def close(self) -> None:
        self._plan.close()

    @property
    def _directory(self) -> Path:
        return self._base / str(self._generation)

    async def play(self) -> None:
        scenario = self._scenario
        weather = Weather(
            scenario.weather,
            random.Random(f"weather {scenario.seed}"),
            longest_partition_s=scenario.longest_partition_s,
        )
        self._around = Surroundings.of(
            scenario.world,
            scenario.world_faults,
            weather,
            random.Random(f"surroundings {scenario.seed}"),
            forgets=scenario.forgets_for_ever,
        )
        self._around.ids_in_text = scenario.refunds.ids_in_text
        for image in scenario.known_images:
            self._around.has_ready(image.spec.sha256, image.spec.byte_size)
        self._judge = Judge(scenario, self._around)
        for life in scenario.lives:
            self._befall(life.mishap)
            await asyncio.sleep(life.rest_s)
            if life.dearer is not None:
                self._around.world.jobs.prices[life.dearer] *= 2
            await self._live(life)
        await self._calm()
        self._judge.close()
        self._sum_up(weather)

    def _sum_up(self, weather: Weather) -> None:
        tally = self.tally
        tally.virtual_s = asyncio.get_running_loop().time()
        tally.faults = weather.fired + Counter({kind: n for (_, kind), n in self._around.faults.fired.items()})
        tally.pauses = self._judge.pauses.count
        tally.derived = sum(" from " in word for word in self._around.ours()) if self._judge.stages is not None else 0
        tally.broken = self._judge.broken

    async def _calm(self) -> None:
        """The faults end. The same command again and again comes to an end, and then buys nothing more."""
        self._around.clear_up()
        if self._scenario.top_up is not None:
            self._around.grant(self._scenario.top_up)
        calm = Life(
            budget=self._scenario.terms.budget,
            job_timeout_s=6 * 3600.0,
            resubmit_unknown=True,
            edition=self._scenario.last,
        )
        last: Finished | None = None
        number = lives = 0
        while lives < _CALM_LIVES:
            before, answers = len(self._around.world.entries), self._judge.purse.answers()
            # What failed is tried again a few times; a job that fails for good would else be bought for ever.
            retry = number < _CALM_RETRIES and (last is None or last.head.counts.failed > 0)
            finished = await self._live(replace(calm, retry_failed=retry))
            if finished is None:
                return
            number += 1
            lives += not self._judge.was_ended_by_the_ceiling(answers)
            is_still = last is not None and len(self._around.world.entries) == before and finished.same_as(last)
            last = finished
            if is_still and not retry:
                break
        else:
            self._judge.complain("the same command again and again came to no end")
        if last is not None:
            self._judge.conclude(last)

    def _befall(self, mishap: Mishap) -> None:
        """Let something happen to the run directory, or keep a copy for a later day."""
        if mishap is Mishap.RESTORED and self._copy is None:
            mishap = Mishap.DELETED
        if mishap is Mishap.DELETED:
            self._generation += 1
            self._judge.purse.past_is_lost()
        elif mishap in (Mishap.JOURNAL_LOST, Mishap.STATE_LOST):
            shutil.rmtree(self._directory / ".crucible", ignore_errors=True)
            if mishap is Mishap.STATE_LOST:
                (self._directory / RECEIPTS_FILE).unlink(missing_ok=True)
            self._judge.purse.past_is_lost()
        elif mishap is Mishap.FILES_LOST:
            for path in sorted(self._directory.glob("*/*")):
                if path.parent.name != ".crucible" and self._chance.random() < 0.5:
                    path.unlink()
                    self._judge.removed.add(str(path.relative_to(self._directory)))
        elif mishap is Mishap.RESTORED and self._copy is not None:
            self._generation += 1
            shutil.copytree(self._copy, self._directory)
            self._judge.purse.past_is_lost()
        elif self._copy is None and self._directory.exists():
            self._copy = self._base / "yesterday"
            shutil.copytree(self._directory, self._copy)

    async def _live(self, life: Life) -> Finished | None:
        """One process, from its birth to its end; None where it was killed, or found a bug."""
        self.tally.runs += 1
        process = Process(life.effects, self._die)
        self._judge.born(life)
        try:
            with mortal_publishing(process):
                finished = await self._run(life, process)
        except BaseExceptionGroup as group:
            if group.subgroup(Crashed) is None or not process.is_dead:
                raise
            finished = None
        except Crashed:
            finished = None
        if process.is_dead:
            self.tally.crashes += 1
            self.tally.deaths[process.died_at] += 1
            self.tally.trace.append(("killed", process.died_at))
            self._generation += 1
            return None
        if finished is not None:
            self.tally.endings[finished.exit_code] += 1
            head = finished.head
            self.tally.trace.append((f"exit {finished.exit_code}", str(head.credits), str(head.counts)))
            self._judge.ended(finished)
        return finished

    def _die(self) -> None:
        """Keep what a kill leaves: what was durable, and mostly what was just being synced."""
        if self._writer is not None and self._chance.random() < 0.5:
            self._writer.flush()
        if self._directory.exists():
            shutil.copytree(
                self._directory, self._base / str(self._generation + 1), ignore=shutil.ignore_patterns("*-shm")
            )

    async def _run(self, life: Life, process: Process) -> Finished | None:
        """What ``api.run`` does, with a world of our own."""
        directory = self._directory
        terms = replace(self._scenario.terms, budget=life.budget)
        self._writer: VirtualWriter | None = None
        with (
            lock_run_directory(directory),
            Journal.open(directory, _BINDING, now=self._clock.now()) as journal,
        ):
            derivation = self._adopt(life, journal, directory)
            connection = journal._connect()
            connection.execute("PRAGMA synchronous = OFF")
            self._writer = VirtualWriter(connection, process, self._chance, self._judge.purse.watch)
            journal._writer = self._writer  # type: ignore[assignment]
            store = OutputStore(directory)
            store.sweep()
            ports = self._ports(life, process, journal, store)
            receipts, gateway = Receipts(directory), ports.gateway
            try:
                while (
                    await restore(journal, receipts, store, gateway, ceiling=terms.ceiling) and derivation is not None
                ):
                    derivation = self._adopt(life, journal, directory)
            except GatewayError:  # the command is refused, with nothing spent
                return None
            runner = _runner(life, replace(ports, derivation=derivation), terms)
            self._judge.purse.opened(journal)
            number = journal.begin_run(terms, now=self._clock.now())
            desk = ControlDesk(
                control=runner.control,
                journal=journal,
                number=number,
                clock=self._clock,
                observer=ports.observer,
                on_deadline=lambda _seconds: None,
            )
            ending, was_interrupted = await self._conduct(runner, life, process, desk)
            journal.end_run(number, ending, now=self._clock.now())
            head = write_report_of(journal, directory)
            rows = tuple(build_rows(journal.jobs(runner._rule), ending.stops))
            events = tuple(journal.events())
        return Finished(ending.exit_code, head, rows, events, directory, was_interrupted)

    def _adopt(self, life: Life, journal: Journal, directory: Path) -> SeenDerivation | None:
        """Plan the jobs; return the later stages of the plan."""
        staged = self._scenario.staged
        if staged is None or life.edition is None:
            journal.adopt(self._plan)
            return None
        return plan_stages(staged.write(life.edition, self._base), journal, directory, self._judge.jobs)

    def _ports(self, life: Life, process: Process, journal: Journal, store: OutputStore) -> RunnerPorts:
        clock, chance = self._clock, self._chance
        outage = Outage()
        retrier = Retrier(life.retries, sleep=clock.sleep, clock=clock.monotonic, jitter=chance.random, outage=outage)
        purse = self._judge.purse
        return RunnerPorts(
            gateway=SimulatedGateway(self._around, process, retrier, chance, purse),
            history=journal,
            store=store,
            receipts=Receipts(self._directory),
            clock=clock,
            observer=Observers(),
            nonce=lambda: f"{self._nonces.getrandbits(128):032x}",
            jitter=chance.random,
            outage=outage,
        )

    async def _conduct(self, runner: Runner, life: Life, process: Process, desk: ControlDesk) -> tuple[Ending, bool]:
        """Return how the run ended, and whether it had been interrupted by then."""
        loop = asyncio.get_running_loop()
        signals = [loop.call_later(at_s, runner.control.interrupt, ExitCode.SIGINT) for at_s in life.interrupt_at_s]
        try:
            async with asyncio.timeout(_LONGEST_RUN_S):
                return await (self._commanded(runner, life, process, desk) if life.orders else _run(runner))
        except TimeoutError:
            raise AssertionError(f"a run has not ended after {_LONGEST_RUN_S} virtual seconds") from None
        finally:
            for signal in signals:
                signal.cancel()

    async def _commanded(self, runner: Runner, life: Life, process: Process, desk: ControlDesk) -> tuple[Ending, bool]:
        """Run, and give commands meanwhile. A process that dies while it takes one is dead as a whole."""
        running = asyncio.ensure_future(_run(runner))
        giving = asyncio.ensure_future(give(life.orders, desk, self._judge))
        giving.add_done_callback(lambda _: running.cancel() if process.is_dead else None)
        try:
            return await running
        except asyncio.CancelledError:
            if process.is_dead:
                raise Crashed(process.died_at) from None
            raise
        finally:
            giving.cancel()
            await asyncio.wait({giving})
            if not giving.cancelled() and (error := giving.exception()) is not None and not process.is_dead:
                raise error


def _runner(life: Life, ports: RunnerPorts, terms: RunTerms) -> Runner:
    options = EngineOptions(
        concurrency=life.concurrency,
        job_timeout_s=life.job_timeout_s,
        deadline_s=life.deadline_s,
        retry_failed=life.retry_failed,
        resubmit_unknown=life.resubmit_unknown,
    )
    return Runner(ports=ports, terms=terms, times=ServiceTimes(), options=options)


async def _run(runner: Runner) -> tuple[Ending, bool]:
    """Run, and note at its end whether it was interrupted: a stop may be given once more while that is written."""
    ending = await runner.run()
    return ending, bool(runner.stop.reasons & {ExitCode.SIGINT})
