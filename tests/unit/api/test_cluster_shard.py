"""A claimed shard in a worker: what ends its run, and what is reported then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.api.cluster import claimed_shard as cluster_shard
from crucible_batch.api.cluster.claimed_shard import FigureCounter, ShardClaim, WorkerTools
from crucible_batch.api.request import RunRequest
from crucible_batch.cluster import ClaimedShard, ShardFigures, ShardKey
from crucible_batch.domain.cluster_control import ASK_S, GivenControl
from crucible_batch.domain.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.domain.events import Failed, Succeeded
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.job import Phase
from crucible_batch.domain.outcome import Ending, Outcome, RunStatus
from crucible_batch.domain.progress import Balance, JobAdvanced, RunBegan, RunEnded
from crucible_batch.domain.shard_lease import ClaimAnswer, FencedAnswer
from crucible_batch.errors import (
    ClusterSetupError,
    ClusterUnreachableError,
    CrucibleBatchError,
    DeadlineError,
    ExitCode,
    RunBusyError,
    SavedPlanError,
)
from crucible_batch.settings import Settings

KEY = ShardKey("run", "ab" * 32, 3)
CLAIMED = ClaimedShard(KEY, ClaimAnswer.CLAIMED, 2, Decimal(10), "/outputs", "https://gateway.test")


class Runner:
    """A run that ends when it is interrupted, or by itself."""

    def __init__(self) -> None:
        self.interrupted = asyncio.Event()
        self.at = 0.0
        self.check: Callable[[], None] = lambda: None

    def before_each_purchase(self, check: Callable[[], None]) -> None:
        self.check = check

    def interrupt(self, code: ExitCode) -> None:
        assert code is ExitCode.SIGTERM
        self.interrupted.set()


@dataclass
class Database:
    """``answers`` are those to renewals: an answer, or None if the database is away. The last one is repeated."""

    answers: list[FencedAnswer | None] = field(default_factory=lambda: [FencedAnswer.ACCEPTED])
    calls: list[str] = field(default_factory=list)
    released: FencedAnswer = FencedAnswer.ACCEPTED
    given: list[GivenControl] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    reported: ShardFigures = field(default_factory=ShardFigures)
    renewed: list[ShardFigures] = field(default_factory=list)

    async def renew_shard(self, key: ShardKey, epoch: int, figures: ShardFigures) -> FencedAnswer:
        assert (key, epoch) == (KEY, 2)
        self.renewed.append(figures)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise ClusterUnreachableError("it is away")
        return answer

    async def take_controls(self, key: ShardKey, epoch: int, taken: int, _in_flight: int) -> list[GivenControl]:
        assert (key, epoch) == (KEY, 2)
        self.asked.append(taken)
        return [each for each in self.given if each.number > taken]

    async def report_shard(self, key: ShardKey, epoch: int, ending: str, figures: ShardFigures) -> FencedAnswer:
        assert (key, epoch) == (KEY, 2)
        self.reported = figures
        self.calls.append(f"report {ending}")
        return FencedAnswer.ACCEPTED

    async def release_shard(self, key: ShardKey, epoch: int, figures: ShardFigures) -> FencedAnswer:
        assert (key, epoch) == (KEY, 2)
        self.reported = figures
        self.calls.append("release")
        return self.released


@dataclass
class Ground:
    """A claim with a database and a clock. ``end`` ends the run by itself."""

    database: Database
    runner: Runner = field(default_factory=Runner)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    end: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    now: float = 0.0
    step_s: float = 4.0
    exit_code: ExitCode = ExitCode.SIGTERM
    renewals: int = 0
    stops_worker: bool = False
    left_s: float | None = None
    known: ShardFigures = field(default_factory=ShardFigures)
    deadlines: list[float | None] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        await self.began.wait()
        self.now += self.step_s if self.step_s else seconds
        self.renewals += 1
        if not self.runner.interrupted.is_set():
            self.runner.at = self.now
        await asyncio.sleep(0)
        if self.renewals > 20:  # nothing has stopped it
            self.end.set()
            await asyncio.Event().wait()

    async def slept(self, seconds: float) -> None:
        """Sleep between renewals. Asking for commands is tested in test_command_feed.py."""
        await (asyncio.Event().wait() if seconds == ASK_S else self.sleep(seconds))

    async def run(self, request: Any, *, on_runner: Callable[[Runner], None], **_: object) -> Any:
        self.deadlines.append(request.deadline_s)
        on_runner(self.runner)
        self.began.set()
        if self.stops_worker:
            self.stop.set()
        waits = [asyncio.ensure_future(each.wait()) for each in (self.runner.interrupted, self.end)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        code = ExitCode.OK if self.end.is_set() else self.exit_code
        return SimpleNamespace(exit_code=code, report=SimpleNamespace(status="succeeded"))

    async def work(self) -> None:
        settings = Settings(None, base_url="https://gateway.test")
        database: Any = self.database
        tools = WorkerTools(database, database, settings, monotonic=lambda: self.now, sleep=self.slept)
        await ShardClaim(CLAIMED, tools, claimed_at=0.0, left_s=self.left_s, known=self.known).work(self.stop)


def request() -> RunRequest:
    return RunRequest(Path("m.yaml"))


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[Ground]]:
    async def play(database: Database | None = None, prepared: Callable[[], object] = request, **more: Any) -> Ground:
        ground = Ground(database or Database(), **more)
        monkeypatch.setattr(ShardClaim, "_prepared", lambda _self: prepared())
        monkeypatch.setattr(cluster_shard, "run_request", ground.run)
        return ground

    return play


Play = Callable[..., Awaitable[Ground]]


async def test_a_run_that_ends_is_reported(play: Play) -> None:
    ground = await play()
    ground.end.set()
    await ground.work()
    assert ground.database.calls == ["report succeeded"]
    assert not ground.runner.interrupted.is_set()


async def test_a_shard_that_another_worker_has_is_stopped_and_not_reported(play: Play) -> None:
    ground = await play(Database([FencedAnswer.ACCEPTED, FencedAnswer.SUPERSEDED]))
    await ground.work()
    assert ground.runner.interrupted.is_set()
    assert ground.database.calls == []


async def test_a_run_that_is_done_is_not_reported_if_another_worker_has_its_shard(play: Play) -> None:
    ground = await play(Database([FencedAnswer.SUPERSEDED]), exit_code=ExitCode.OK)
    await ground.work()
    assert ground.database.calls == []


async def test_a_worker_that_can_not_run_a_lost_shard_does_not_release_it(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = await play(Database([FencedAnswer.SUPERSEDED]))
    run = ground.run

    async def failing(*args: Any, **more: Any) -> Any:
        await run(*args, **more)
        raise RunBusyError("another process has the directory")

    monkeypatch.setattr(cluster_shard, "run_request", failing)
    with pytest.raises(RunBusyError):
        await ground.work()
    assert ground.database.calls == []


async def test_without_a_renewal_for_the_time_of_a_lease_the_run_stops_and_the_shard_is_returned(play: Play) -> None:
    ground = await play(Database([FencedAnswer.ACCEPTED, None]))
    await ground.work()
    assert ground.runner.interrupted.is_set()
    assert ground.database.calls == ["release"]
    assert 4 + 15 <= ground.runner.at <= 4 + 15 + 4


async def test_a_worker_that_was_frozen_stops_its_run_even_if_nobody_has_its_shard(play: Play) -> None:
    ground = await play(step_s=60.0)
    await ground.work()
    assert ground.runner.interrupted.is_set()
    assert ground.database.calls == ["release"]


async def test_a_worker_that_finds_at_its_release_that_another_has_the_shard_reports_it(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    ground = await play(Database([None], released=FencedAnswer.SUPERSEDED), step_s=60.0)
    await ground.work()
    assert ground.database.calls == ["release"]
    assert "was taken over by another worker" in caplog.text
    assert "returned to the queue" not in caplog.text


@pytest.mark.parametrize(("passed_s", "is_stopped"), [(14.9, False), (15.0, True), (3600.0, True)])
async def test_nothing_is_sent_after_the_lease_even_before_its_renewal_is_due(
    play: Play, passed_s: float, is_stopped: bool
) -> None:
    """A process that was frozen may come to a purchase before it comes to its lease."""
    ground, found = await play(), list[bool]()

    async def frozen(_seconds: float) -> None:
        await ground.began.wait()
        ground.now += passed_s
        ground.runner.check()
        found.append(ground.runner.interrupted.is_set())
        ground.end.set()
        await asyncio.Event().wait()

    ground.sleep = frozen  # type: ignore[method-assign]
    await ground.work()
    assert found == [is_stopped]


async def test_an_accepted_renewal_extends_the_lease_from_when_it_was_sent(play: Play) -> None:
    ground, found, sent = await play(), list[bool](), list[float]()
    sleep, renew = ground.sleep, ground.database.renew_shard

    async def slow(*given: Any) -> FencedAnswer:
        sent.append(ground.now)
        ground.now += 3.0
        return await renew(*given)

    async def late(seconds: float) -> None:
        await sleep(seconds)
        if ground.renewals == 3:
            for ground.now in (sent[-1] + 14.9, sent[-1] + 15.0):
                ground.runner.check()
                found.append(ground.runner.interrupted.is_set())

    ground.sleep = late  # type: ignore[method-assign]
    ground.database.renew_shard = slow  # type: ignore[method-assign]
    await ground.work()
    assert found == [False, True]
    assert ground.database.calls == ["release"]


async def test_renewals_that_are_late_but_within_the_lease_stop_nothing(play: Play) -> None:
    ground = await play(step_s=14.0)
    await ground.work()
    assert not ground.runner.interrupted.is_set()
    assert ground.database.calls == ["report succeeded"]


async def test_a_worker_that_is_to_stop_returns_its_shard(play: Play) -> None:
    ground = await play(stops_worker=True)
    await ground.work()
    assert ground.runner.interrupted.is_set()
    assert ground.database.calls == ["release"]


async def test_a_run_that_was_done_when_it_was_stopped_is_reported(play: Play) -> None:
    ground = await play(exit_code=ExitCode.OK, stops_worker=True)
    await ground.work()
    assert ground.database.calls == ["report succeeded"]


async def test_a_worker_that_is_cancelled_while_its_shard_stops_ends(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a second Ctrl-C. Otherwise it would return the shard, and wait for a database that is away."""
    ground = await play(stops_worker=True)
    monkeypatch.setattr(ground.runner, "interrupt", lambda _code: None)  # jobs in flight are awaited
    working = asyncio.ensure_future(ground.work())
    await ground.stop.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ground.database.calls == []


async def test_a_run_that_begins_although_its_worker_stops_buys_nothing(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cancelled before it could be interrupted, and something in it did not pass that on."""
    ground = await play()
    run = ground.run

    async def late(*args: Any, **more: Any) -> Any:
        ground.stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return await run(*args, **more)

    monkeypatch.setattr(cluster_shard, "run_request", late)
    await ground.work()
    assert ground.runner.interrupted.is_set()
    assert ground.database.calls == ["release"]


async def test_an_error_of_this_worker_returns_the_shard_and_ends_the_worker(play: Play) -> None:
    def refused() -> object:
        raise ClusterSetupError("another gateway")

    ground = await play(prepared=refused)
    with pytest.raises(ClusterSetupError):
        await ground.work()
    assert ground.database.calls == ["release"]


async def test_a_shard_that_can_not_be_run_is_reported_as_refused(play: Play) -> None:
    def refused() -> object:
        raise SavedPlanError("it was edited")

    ground = await play(prepared=refused)
    await ground.work()
    assert ground.database.calls == ["report refused"]
    assert ground.database.reported == ShardFigures(held=Decimal(10))  # what earlier owners spent was not read


EARLIER = ShardFigures(Decimal(4), Decimal(2), succeeded=2, failed=1, pending=1)
"""What an earlier owner has reported."""


@pytest.mark.parametrize(
    ("error", "call"), [(SavedPlanError("it was edited"), "report refused"), (DeadlineError(), "report stopped")]
)
async def test_a_shard_that_can_not_be_run_has_still_spent_what_its_earlier_owner_has_reported(
    play: Play, error: CrucibleBatchError, call: str
) -> None:
    """If the directories were deleted, nothing else tells the coordinator that it can't return the allowance."""

    def refused() -> object:
        raise error

    ground = await play(prepared=refused, known=EARLIER)
    await ground.work()
    assert (ground.database.calls, ground.database.reported) == ([call], replace(EARLIER, held=Decimal(6)))


async def test_a_worker_that_can_not_run_shards_returns_one_with_the_figures_of_its_earlier_owner(play: Play) -> None:
    def refused() -> object:
        raise ClusterSetupError("another gateway")

    ground = await play(prepared=refused, known=EARLIER)
    with pytest.raises(ClusterSetupError):
        await ground.work()
    assert (ground.database.calls, ground.database.reported) == (["release"], EARLIER)


async def test_the_figures_of_an_earlier_owner_are_renewed_until_its_journal_is_read(play: Play) -> None:
    ground = await play(known=EARLIER)
    await ground.work()
    assert set(ground.database.renewed) == {EARLIER}


async def test_a_run_has_the_time_that_is_left_since_the_claim_was_sent(play: Play) -> None:
    ground = await play(left_s=60.0, now=25.0)
    ground.end.set()
    await ground.work()
    assert (ground.deadlines, ground.database.calls) == ([35.0], ["report succeeded"])
    ground = await play()
    ground.end.set()
    await ground.work()
    assert ground.deadlines == [None]


@pytest.mark.parametrize("now", [60.0, 61.0])
async def test_a_shard_is_not_begun_after_the_deadline_and_keeps_its_allowance(play: Play, now: float) -> None:
    prepared: list[bool] = []
    ground = await play(prepared=lambda: prepared.append(True), left_s=60.0, now=now)
    await ground.work()
    assert (ground.deadlines, prepared, ground.database.calls) == ([], [], ["report stopped"])
    assert ground.database.reported == ShardFigures(held=Decimal(10))


async def test_a_deadline_that_passes_while_an_earlier_journal_is_copied_begins_nothing(play: Play) -> None:
    def slowly() -> RunRequest:
        ground.now = 60.0
        return request()

    ground = await play(prepared=slowly, left_s=60.0)
    await ground.work()
    assert (ground.deadlines, ground.database.calls) == ([], ["report stopped"])


def test_figures_are_those_of_the_run_so_far() -> None:
    counter, balance = FigureCounter(ShardFigures(blocked=7, pending=1)), Balance(Decimal(10), Decimal(4), Decimal(2))
    counter.notify(RunBegan(0.0, 5, {Outcome.SUCCEEDED: 1}, balance))
    for before, phase, event in (
        (Phase.IN_FLIGHT, Phase.SUCCEEDED, Succeeded(at=0.0, outputs=1)),
        (Phase.IN_FLIGHT, Phase.FAILED, Failed(at=0.0, error=ErrorInfo("X", "x"))),
        (Phase.SUCCEEDED, Phase.SUCCEEDED, Succeeded(at=0.0, outputs=1)),
    ):
        counter.notify(JobAdvanced(0.0, "a", "a", event, before, phase, balance))
    assert counter.figures == ShardFigures(Decimal(4), Decimal(2), succeeded=2, failed=1, pending=2)
    # None of the counts is the earlier owner's.
    counter.notify(RunEnded(0.0, Ending(RunStatus.PARTIAL, 1), {Outcome.SUCCEEDED: 3, Outcome.BLOCKED: 2}, balance))
    assert counter.figures == ShardFigures(Decimal(4), Decimal(2), succeeded=3, blocked=2)


async def test_commands_are_asked_for_before_the_run_begins_and_come_to_its_desk(play: Play) -> None:
    pause = GivenControl(1, ControlCommand(ControlAction.PAUSE), ControlSource("anna@host", "terminal"), 5.0)
    ground = await play(Database(given=[pause]))
    run, found = ground.run, list[Any]()

    async def commanded_run(*args: Any, commanded: Any, **more: Any) -> Any:
        assert ground.database.asked == [0, 1]

        async def perform(command: ControlCommand, source: ControlSource) -> None:
            found.append((command, source))

        desk = SimpleNamespace(perform=perform, before_each_purchase=found.append, hold=found.append)
        async with commanded(desk):
            assert found[0] == (pause.command, pause.source)
            assert callable(found[1])
        return await run(*args, **more)

    cluster_shard.run_request = commanded_run  # type: ignore[attr-defined]  # restored by ``play``
    ground.end.set()
    await ground.work()
    assert ground.database.calls == ["report succeeded"]


async def test_without_an_answer_about_commands_the_run_does_not_begin(play: Play) -> None:
    ground = await play()

    async def away(*_: object) -> list[GivenControl]:
        raise ClusterUnreachableError("it is away")

    ground.database.take_controls = away  # type: ignore[method-assign]
    with pytest.raises(ClusterUnreachableError):
        await ground.work()
    assert not ground.began.is_set()
    assert ground.database.calls == ["release"]


async def test_a_run_that_a_command_stops_is_reported(play: Play) -> None:
    """Its worker goes on, so the shard is not returned to the queue: another worker would continue it."""
    ground = await play(exit_code=ExitCode.SIGINT)
    ground.runner.interrupted.set()
    await ground.work()
    assert ground.database.calls == ["report succeeded"]
