"""One seed played: the scheduler starts runs at their times, mishaps happen, and an operator
resumes what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import traceback
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from crucible_batch.errors import CrucibleBatchError, ExitCode, RunBusyError
from crucible_batch.features.periods.budgets import budget_states
from crucible_batch.features.registry import kind_of
from crucible_batch.features.schedule.catch_up import DueRun, ends_all, first_code
from crucible_batch.features.schedule.scheduled_runs import (
    PreparedRun,
    due_runs,
    hold_results,
    prepare_run,
)
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import run_request
from crucible_batch.sandbox import pictures
from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.records import Entry, Job
from crucible_batch.settings import Settings
from tests.verification.nights.calendar import BERLIN
from tests.verification.nights.gateway import API, KEY, NightGateway, plain_picture
from tests.verification.nights.machine import (
    Computer,
    NightClock,
    NightLoop,
    Process,
    in_the_world,
    virtual_kernel,
)
from tests.verification.nights.mailbox import SECRET, URL, Mailbox, Message, delivering_to
from tests.verification.nights.scenario import NIGHTLIES, Event, Mishap, Nightly, Scenario
from tests.verification.nights.scheduler import Cron, Line, crontab

_BUG = 70
_FINISHED = (ExitCode.OK, ExitCode.SOME_FAILED)
_JOB_TIMEOUT_S = 48 * 3600.0
_POLLS_PER_S = 1 / 60
"""As few as in a night that lasts a day: each poll costs the play a millisecond."""


@dataclass
class Command:
    """One process: the command of a line of the crontab, or ``run MANIFEST --scheduled-at TIME`` by
    hand.

    ``catch_up`` is that of the manifest for cron's commands, and 0 for those by hand. ``exit_code``
    is None while it runs, and if it was killed. ``is_skipped``: another run of the manifest was
    active.
    """

    nightly: Nightly
    scheduled_at: datetime
    by: str
    began: datetime
    catch_up: int = 0
    deadline_s: float | None = None
    exit_code: int | None = None
    is_skipped: bool = False
    is_killed: bool = False
    runs: list[Ran] = field(default_factory=list)


@dataclass
class Ran:
    """One run of a command: that of its own time, or a missed one. ``exit_code`` is None if it was
    killed.

    ``pictures`` are the outputs on the disk of this night when it ended.
    """

    nightly: Nightly
    scheduled_at: datetime
    began: datetime
    ended: datetime
    exit_code: int | None = None
    pictures: int = 0

    def __str__(self) -> str:
        code = "killed" if self.exit_code is None else f"exit {self.exit_code}"
        at = self.scheduled_at.astimezone(BERLIN)
        return f"{self.nightly.name} of {at:%m-%d %H:%M%z}, begun {self.began:%m-%d %H:%M}Z, {code}"


@dataclass
class Story:
    """All that the judge reads."""

    scenario: Scenario
    commands: list[Command]
    messages: Sequence[Message]
    entries: Sequence[Entry]
    all_entries: Sequence[Entry]
    """With the rows of the account's other client."""
    jobs: Sequence[Job]
    complaints: list[str]
    uptimes: list[tuple[datetime, datetime]]
    left_set_aside: Decimal

    @property
    def runs(self) -> list[Ran]:
        """All runs, in the order of their ends."""
        return sorted(
            (ran for command in self.commands for ran in command.runs), key=lambda ran: ran.ended
        )


def play(scenario: Scenario, base: Path) -> Story:
    """Play a scenario in an empty directory. The same scenario, the same story."""
    loop = NightLoop(scenario.begin)
    clock = NightClock(loop)
    with virtual_kernel(), _in_directory(base), contextlib.closing(loop):
        config = SandboxConfig(
            accounts={KEY: scenario.balance},
            seed=scenario.seed,
            slow_queue_s=scenario.slow_queue_s,
            time_scale=60.0,
            prices={each.workflow: each.price for each in NIGHTLIES},
            runners=8,
        )
        with contextlib.closing(NightGateway(clock, config)) as gateway:
            mailbox = Mailbox(clock, random.Random(f"mailbox {scenario.seed}"))
            with delivering_to(mailbox), patch.object(pictures, "render", plain_picture):
                return loop.run_until_complete(
                    _Player(scenario, base, clock, gateway, mailbox).play()
                )


@contextlib.contextmanager
def _in_directory(base: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(base)
    try:
        with patch.dict(os.environ, {"NIGHTS_URL": URL, "NIGHTS_SECRET": SECRET}):
            yield
    finally:
        os.chdir(before)


class _Player:
    def __init__(
        self,
        scenario: Scenario,
        base: Path,
        clock: NightClock,
        gateway: NightGateway,
        mailbox: Mailbox,
    ) -> None:
        self._scenario = scenario
        self._base = base
        self._clock = clock
        self._gateway = gateway
        self._computer = Computer()
        self._live: set[asyncio.Task[None]] = set()
        self._processes: set[Process] = set()
        self._chance = random.Random(f"play {scenario.seed}")
        self._mailbox = mailbox
        self._commands: list[Command] = []
        self._complaints: list[str] = []
        self._settings = Settings(
            KEY, API, state_directory=base / "state", accounts_directory=base / "accounts"
        )
        self._up_since: datetime | None = None
        self._uptimes: list[tuple[datetime, datetime]] = []
        self._cron: Cron | None = None

    async def play(self) -> Story:
        for nightly in NIGHTLIES:
            (self._base / f"{nightly.name}.yaml").write_text(nightly.text(self._scenario))
        self._gateway.conditions.outages += self._scenario.outages
        self._start_scheduler()
        for event in self._scenario.events:
            await self._clock.sleep_until(event.at)
            await self._befall(event)
        await self._clock.sleep_until(self._scenario.end)
        self._stop_scheduler()
        await self._settle()
        problems = [
            *self._complaints,
            *self._gateway.problems(),
            *self._gateway.violations,
            *self._mailbox.complaints,
        ]
        story = Story(
            scenario=self._scenario,
            commands=self._commands,
            messages=tuple(self._mailbox.messages),
            entries=self._gateway.entries(),
            all_entries=self._gateway.world.entries,
            jobs=self._gateway.jobs(),
            complaints=problems,
            uptimes=self._uptimes,
            left_set_aside=self._set_aside(),
        )
        await self._computer.bury()
        return story

    def _set_aside(self) -> Decimal:
        """Return what ``budget show`` shows as set aside now."""
        states = budget_states(self._settings, now=self._clock.now())
        return sum((state.shares.set_aside for state in states), Decimal(0))

    # -- mishaps

    async def _befall(self, event: Event) -> None:
        gateway = self._gateway
        match event.mishap:
            case Mishap.HOST_DIES:
                gateway.after_requests(int(event.amount), self._host_dies)
            case Mishap.SCHEDULER_STOPS:
                self._stop_scheduler()
            case Mishap.SCHEDULER_STARTS:
                gateway.after_requests(0, None)
                self._start_scheduler()
            case Mishap.ACCOUNT_EMPTY:
                gateway.drain()
            case Mishap.TOP_UP:
                gateway.top_up(event.amount)
            case Mishap.FAULTS:
                gateway.strike(event.text)
            case Mishap.PRICE:
                gateway.price(event.text, event.amount)
            case Mishap.RESUME:
                self._spawn(self._resume_all("operator"))

    def _host_dies(self) -> None:
        """Kill all processes of the host, the scheduler included. The gateway lives elsewhere."""
        self._stop_scheduler()
        for process in list(self._processes):
            process.kill()

    def _start_scheduler(self) -> None:
        if self._cron is None:
            self._up_since = self._clock.moment()
            self._cron = Cron(self._clock, self._by_cron, crontab(self._base, self._up_since))

    def _stop_scheduler(self) -> None:
        """Kill the scheduler alone: its runs go on."""
        if self._cron is not None and self._up_since is not None:
            self._cron.kill()
            self._uptimes.append((self._up_since, self._clock.moment()))
            self._cron = self._up_since = None

    async def _settle(self) -> None:
        """Let all runs end in calm weather, and let an operator resume what is not finished, until
        nothing changes."""
        self._gateway.strike("")
        self._gateway.top_up(self._scenario.balance)
        await asyncio.sleep(60)
        while self._processes:
            await asyncio.sleep(3600)
        await self._resume_all("end")

    # -- runs

    async def _resume_all(self, by: str) -> None:
        """Run again, one after the other, each night that was begun and is neither finished nor
        active."""
        newest = {
            (ran.nightly.name, ran.scheduled_at): ran
            for command in self._commands
            for ran in command.runs
        }
        for ran in sorted(newest.values(), key=lambda ran: ran.scheduled_at):
            if ran.exit_code not in _FINISHED:
                await self._start(Command(ran.nightly, ran.scheduled_at, by, self._clock.moment()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = in_the_world(work)
        self._live.add(task)
        task.add_done_callback(self._live.discard)

    async def _by_cron(self, line: Line, moment: datetime) -> int | None:
        catch_up = self._scenario.catch_up
        return await self._start(
            Command(line.nightly, moment, "cron", moment, catch_up, line.deadline_s)
        )

    async def _start(self, command: Command) -> int | None:
        """Run a command as a process. Return its exit code; None if it was killed."""
        self._commands.append(command)
        process = Process(f"{command.nightly.name} {command.scheduled_at.isoformat()}")
        self._processes.add(process)
        try:
            command.exit_code = await self._computer.run(
                process, partial(self._run_command, command)
            )
        except Exception:
            command.exit_code = _BUG
            self._complaints.append(f"{process.name} ended with a bug: {traceback.format_exc()}")
        finally:
            self._processes.discard(process)
        command.is_killed = process.is_dead
        if process.is_dead and command.runs:
            command.runs[-1].ended = self._clock.moment()
        return command.exit_code

    async def _run_command(self, command: Command) -> int:
        """Do what the command line does: the lock of the manifest, the missed runs, and the current
        one.
        """
        request = RunRequest(
            Path(f"{command.nightly.name}.yaml"),
            scheduled_at=command.scheduled_at,
            html=False,
            concurrency=2,
            polls_per_s=_POLLS_PER_S,
            job_timeout_s=_JOB_TIMEOUT_S,
            deadline_s=command.deadline_s,
            wait_for_gateway_s=self._scenario.wait_for_gateway_s[command.nightly.name],
        )
        codes: list[int] = []
        try:
            prepared = prepare_run(request)
            folder, directory, deadline = prepared.folder, prepared.run_dir, prepared.deadline
            with hold_results(folder, directory, deadline, wait=False, on_wait=lambda _: None):
                for due in due_runs(prepared, None if command.by == "cron" else 0):
                    codes.append(await self._run_one(command, prepared, due))
                    if ends_all(codes[-1]):
                        break
        except RunBusyError:
            command.is_skipped = True
            return ExitCode.OK
        except CrucibleBatchError as error:
            return int(error.exit_code)
        return first_code(codes)

    async def _run_one(self, command: Command, prepared: PreparedRun, due: DueRun) -> int:
        now = self._clock.moment()
        ran = Ran(command.nightly, due.scheduled_at, now, now)
        command.runs.append(ran)
        request, manifest = prepared.at(due)
        try:
            result = await run_request(
                request,
                kind_of,
                manifest=manifest,
                settings=self._settings,
                transport=self._gateway,
                clock=self._clock,
            )
            ran.exit_code = int(result.exit_code)
        except CrucibleBatchError as error:
            ran.exit_code = int(error.exit_code)
        ran.ended, ran.pictures = self._clock.moment(), self._pictures(ran)
        return ran.exit_code

    def _pictures(self, ran: Ran) -> int:
        folder = (
            self._base / "outputs" / ran.nightly.name / ran.nightly.name_of_run(ran.scheduled_at)
        )
        return sum(1 for _ in folder.glob("*/*.png"))
