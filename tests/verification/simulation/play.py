"""One seed played through: processes are born, die and are born again on the same directory, until
the sky is clear.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import Image

import crucible_batch as api
from crucible_batch.core.credits import format_credits
from crucible_batch.core.outcome import Ending
from crucible_batch.core.plan import InputImage
from crucible_batch.engine import EngineOptions, Runner, RunnerPorts, SystemClock
from crucible_batch.errors import ExitCode, GatewayError, OtherAccountError
from crucible_batch.gateway import Retrier
from crucible_batch.input_images import read_input
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.journal import store as journal_store
from crucible_batch.outputs import RECEIPTS_FILE, Receipts
from crucible_batch.runs import connecting
from crucible_batch.runs.control_desk import ControlDesk
from crucible_batch.runs.observers import Observers
from crucible_batch.settings import Settings
from tests.verification.simulation.commands import give
from tests.verification.simulation.gateway import SimulatedGateway
from tests.verification.simulation.judge import Finished, Judge
from tests.verification.simulation.mortality import (
    Crashed,
    Process,
    VirtualWriter,
    mortal_publishing,
)
from tests.verification.simulation.scenario import NAME, Life, Mishap, Scenario
from tests.verification.simulation.scenes import scene
from tests.verification.simulation.stages import SeenDerivation, note
from tests.verification.simulation.surroundings import KEY, Surroundings
from tests.verification.simulation.virtual_time import SimulatedClock, VirtualLoop
from tests.verification.simulation.weather import Weather

_SETTINGS = Settings(api_key=KEY, base_url="https://simulated.example")
_NOT_COPIED = shutil.ignore_patterns("*-shm", "*.sock")
_REFUND_PATIENCE_S = EngineOptions().refund_patience_s
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
        return sum(
            " has outputs " in text or "not what the gateway made" in text for text in self.broken
        )

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
        runner.run(player.play())
    return player.tally


class _Player:
    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self._scenario = scenario
        self._base = directory
        self._generation = 0
        self._copy: Path | None = None
        self._same_account = False
        self._chance = random.Random(f"lives {scenario.seed}")
        self._clock = SimulatedClock(scenario.clock_jumps)
        self._nonces = random.Random(f"nonces {scenario.seed}")
        self.tally = Tally(seeds=1)

    @property
    def _directory(self) -> Path:
        return self._base / str(self._generation) / "out"

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
        tally.faults = weather.fired + Counter(
            {kind: n for (_, kind), n in self._around.faults.fired.items()}
        )
        tally.pauses = self._judge.pauses.count
        tally.derived = (
            sum(" from " in word for word in self._around.ours())
            if self._judge.stages is not None
            else 0
        )
        tally.broken = self._judge.broken

    async def _calm(self) -> None:
        """The faults end.

        The same command again and again comes to an end, and then buys nothing more.
        """
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
            # What failed is tried again a few times; a job that fails for good would else be bought
            # for ever.
            retry = number < _CALM_RETRIES and (last is None or last.head.counts.failed > 0)
            finished = await self._live(replace(calm, retry_failed=retry))
            if finished is None:
                return
            number += 1
            lives += not self._judge.was_ended_by_the_ceiling(answers)
            is_still = (
                last is not None
                and len(self._around.world.entries) == before
                and finished.same_as(last)
            )
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
            shutil.copytree(self._directory, self._copy, ignore=_NOT_COPIED)

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
            self.tally.trace.append(
                (f"exit {finished.exit_code}", str(head.credits), str(head.counts))
            )
            self._judge.ended(finished)
        return finished

    def _die(self) -> None:
        """Keep what a kill leaves: what was durable, and mostly what was just being synced."""
        if self._writer is not None and self._chance.random() < 0.5:
            self._writer.flush()
        if self._directory.exists():
            shutil.copytree(
                self._directory, self._base / str(self._generation + 1) / "out", ignore=_NOT_COPIED
            )

    async def _run(self, life: Life, process: Process) -> Finished | None:
        """Run as a caller of the API does, with a world of our own."""
        self._writer, self._was_interrupted = None, False
        with ExitStack() as stack:
            self._plant(stack, life, process)
            try:
                result = await api.run(
                    self._written_manifest(life),
                    out_dir=self._directory,
                    budget=life.budget,
                    yes=True,
                    concurrency=life.concurrency,
                    job_timeout_s=life.job_timeout_s,
                    wait_for_gateway_s=life.retries.outage_s,
                    retry_failed=life.retry_failed,
                    same_account=self._same_account,
                    resubmit_unknown=life.resubmit_unknown,
                    html=False,
                    sidecars=False,
                    settings=_SETTINGS,
                )
            except GatewayError:  # the command is refused, with nothing spent
                return None
            except OtherAccountError:  # right if the gateway has forgotten the jobs of the plan
                if self._same_account or not self._is_a_receipted_job_lost():
                    raise
                self._same_account = True
                return None
        with Journal.read(self._directory) as journal:
            events = tuple(journal.events())
        return Finished(
            int(result.exit_code),
            result.report,
            tuple(result.jobs()),
            events,
            self._directory,
            self._was_interrupted,
        )

    def _is_a_receipted_job_lost(self) -> bool:
        """Whether the gateway has forgotten a job that the directory's receipts name.

        Those of jobs that the manifest no longer has are not asked for.
        """
        named = {receipt.job_id for receipt in Receipts(self._directory).read()}
        return bool(named & self._around.requests.lost_jobs)

    def _written_manifest(self, life: Life) -> Path:
        """Write the manifest of a process.

        Without stages its jobs are those of the seed, whatever it has.
        """
        terms, staged = self._scenario.terms, self._scenario.staged
        ceilings = {
            "max_credits_per_job": terms.ceiling,
            "max_credits_per_upload": terms.upload_ceiling,
        }
        declared = ", ".join(
            f"{name}: {format_credits(value)}" for name, value in ceilings.items() if value
        )
        lines = [f"budget: {{{declared}}}", f"retry: {{attempts: {terms.attempts}}}"]
        if staged is not None and life.edition is not None:
            return staged.write(life.edition, self._base, lines)
        path = self._base / "simulation.yaml"
        lines += ["jobs: [{name: job, workflow: zimage-base, prompt: any}]", ""]
        path.write_text("\n".join(("version: 1", f"name: {NAME}", *lines)), encoding="utf-8")
        return path

    def _plant(self, stack: ExitStack, life: Life, process: Process) -> None:
        """Put the gateway, the clock, the journal's writer and the jobs of the seed in the place of
        the real ones."""
        purse, clock, chance = self._judge.purse, self._clock, self._chance
        started, run = Runner.__init__, Runner.run
        begin_run, connected, adopt = Journal.begin_run, Journal._connect, Journal.adopt
        fill, derive_key = PlanFile.fill, hashlib.pbkdf2_hmac

        @asynccontextmanager
        async def open_gateway(
            *_given: object, retry: Retrier, **_named: object
        ) -> AsyncIterator[SimulatedGateway]:
            retrier = Retrier(
                life.retries,
                sleep=clock.sleep,
                clock=clock.monotonic,
                jitter=chance.random,
                outage=retry.outage,
            )
            yield SimulatedGateway(self._around, process, retrier, chance, purse)

        def start(
            runner: Runner, *, ports: RunnerPorts, options: EngineOptions, **rest: Any
        ) -> None:
            ports = replace(
                ports, nonce=lambda: f"{self._nonces.getrandbits(128):032x}", jitter=chance.random
            )
            if ports.derivation is not None:
                ports = replace(
                    ports, derivation=SeenDerivation(ports.derivation, self._judge.jobs)
                )
            # Both would depend on the time that planning takes, or on how long outages are waited
            # for.
            options = replace(
                options, deadline_s=life.deadline_s, refund_patience_s=_REFUND_PATIENCE_S
            )
            started(runner, ports=ports, options=options, **rest)

        def begin(journal: Journal, *given: Any, **named: Any) -> int:
            purse.opened(journal)
            number = begin_run(journal, *given, **named)
            self._begun = (journal, number)
            return number

        async def run_to_end(runner: Runner) -> tuple[Ending, bool]:
            """Note at its end whether it was interrupted: a stop may be given once more while that
            is written.
            """
            ending = await run(runner)
            return ending, bool(runner.stop.reasons & {ExitCode.SIGINT})

        async def conduct(runner: Runner) -> Ending:
            journal, number = self._begun
            desk = ControlDesk(
                control=runner.control,
                journal=journal,
                number=number,
                clock=clock,
                observer=Observers(),
                on_deadline=lambda _seconds: None,
            )
            ending, self._was_interrupted = await self._conduct(
                run_to_end(runner), runner, life, process, desk
            )
            return ending

        def connect(journal: Journal) -> sqlite3.Connection:
            connection = connected(journal)
            connection.execute("PRAGMA synchronous = OFF")
            return connection

        def writer(connect: Callable[[], sqlite3.Connection]) -> VirtualWriter:
            self._writer = VirtualWriter(connect(), process, chance, purse.watch)
            return self._writer

        def adopting(journal: Journal, plan: PlanFile) -> None:
            adopt(journal, plan)
            note(self._judge.jobs, list(plan.jobs()))

        replaced: list[tuple[Any, str, object]] = [
            (connecting, "open_gateway", open_gateway),
            (Runner, "__init__", start),
            (Runner, "run", conduct),
            (Journal, "begin_run", begin),
            (Journal, "_connect", connect),
            (journal_store, "GroupCommitWriter", writer),
            (SystemClock, "now", lambda _clock: clock.now()),
            (SystemClock, "monotonic", lambda _clock: clock.monotonic()),
            (SystemClock, "sleep", lambda _clock, seconds: clock.sleep(seconds)),
            # A fingerprint of the key takes as long as a run.
            (
                hashlib,
                "pbkdf2_hmac",
                lambda name, secret, salt, _rounds: derive_key(name, secret, salt, 1),
            ),
        ]
        if self._scenario.staged is None:
            replaced.append((PlanFile, "fill", lambda plan, _jobs: fill(plan, self._scenario.jobs)))
        else:
            replaced.append((Journal, "adopt", adopting))
        for owner, name, value in replaced:
            stack.enter_context(patch.object(owner, name, value))
        stack.enter_context(patch.dict(os.environ, {"HOME": "", "XDG_STATE_HOME": ""}))

    async def _conduct(
        self,
        run: Coroutine[Any, Any, tuple[Ending, bool]],
        runner: Runner,
        life: Life,
        process: Process,
        desk: ControlDesk,
    ) -> tuple[Ending, bool]:
        """Return how the run ended, and whether it had been interrupted by then."""
        loop = asyncio.get_running_loop()
        signals = [
            loop.call_later(at_s, runner.control.interrupt, ExitCode.SIGINT)
            for at_s in life.interrupt_at_s
        ]
        try:
            async with asyncio.timeout(_LONGEST_RUN_S):
                return await (self._commanded(run, life, process, desk) if life.orders else run)
        except TimeoutError:
            raise AssertionError(
                f"a run has not ended after {_LONGEST_RUN_S} virtual seconds"
            ) from None
        finally:
            for signal in signals:
                signal.cancel()

    async def _commanded(
        self,
        run: Coroutine[Any, Any, tuple[Ending, bool]],
        life: Life,
        process: Process,
        desk: ControlDesk,
    ) -> tuple[Ending, bool]:
        """Run, and give commands meanwhile.

        A process that dies while it takes one is dead as a whole.
        """
        running = asyncio.ensure_future(run)
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
            if (
                not giving.cancelled()
                and (error := giving.exception()) is not None
                and not process.is_dead
            ):
                raise error
