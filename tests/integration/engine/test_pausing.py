"""Runs that are paused and resumed under load.

The judge is what reached the gateway, and its ledger.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.core.events import Accepted
from crucible_batch.core.job import Phase
from crucible_batch.core.progress import Controlled, JobAdvanced, Stopping
from crucible_batch.errors import ControlError, ExitCode
from crucible_batch.gateway import exchange
from crucible_batch.journal import Journal
from crucible_batch.runs import control_desk

ANNA = ControlSource("anna@host", "terminal")


def jobs(count: int, more: str = "") -> str:
    return "\n".join(f"{{name: j{number}, prompt: fox {number}{more}}}" for number in range(count))


class Log:
    """The requests that buy, as they reach the gateway: the key or digest of each, and whether the
    run was paused.
    """

    def __init__(
        self, faults: Callable[[int], httpx.Response | None] = lambda _number: None
    ) -> None:
        self.is_paused = False
        self.sent: list[tuple[str, bool]] = []
        self.reads_in_pause = 0
        self._faults = faults

    async def __call__(
        self, request: httpx.Request, send: Callable[[], Awaitable[httpx.Response]]
    ) -> Any:
        path = request.url.path
        if request.method == "POST" and path.endswith(("/generate", "/assets")):
            body = json.loads(await request.aread())
            self.sent.append((body.get("idempotency_key") or json.dumps(body), self.is_paused))
            if (fault := self._faults(len(self.sent))) is not None:
                return fault
        elif self.is_paused:
            self.reads_in_pause += 1
        return await send()

    def begun_in_pause(self) -> set[str]:
        """What was first sent in the pause.

        A submit without an answer is repeated under its key, and is not new.
        """
        before = {key for key, is_paused in self.sent if not is_paused}
        first: set[str] = set()
        for key, is_paused in self.sent:
            if is_paused and key not in before:
                first.add(key)
        return first


class Hand:
    """Gives commands to a run at moments of its progress: an observer that knows the run's desk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.desk: control_desk.ControlDesk | None = None
        self.messages: list[object] = []
        self.answers: list[str] = []
        self.accepted = 0
        self.script: Callable[[Any], Awaitable[None]] | None = None
        self.after = 6
        self._tasks: list[Any] = []
        made = control_desk.ControlDesk.__init__

        def noted(desk: Any, **run: Any) -> None:
            made(desk, **run)
            self.desk = desk

        monkeypatch.setattr(control_desk.ControlDesk, "__init__", noted)

    def notify(self, message: object) -> None:
        import asyncio

        self.messages.append(message)
        if isinstance(message, JobAdvanced) and isinstance(message.event, Accepted):
            self.accepted += 1
            if self.accepted == self.after and self.script is not None:
                self._tasks.append(asyncio.get_running_loop().create_task(self.script(self)))

    async def give(
        self, action: str, value: float | None = None, names: tuple[str, ...] = ()
    ) -> str:
        assert self.desk is not None
        answer = (
            await self.desk.perform(ControlCommand(ControlAction(action), value, names), ANNA)
        ).message
        self.answers.append(answer)
        return answer

    def ended(self) -> None:
        for task in self._tasks:
            task.result()


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    return Hand(monkeypatch)


def pausing(log: Log, clock: Any, seconds: float = 300.0) -> Callable[[Hand], Awaitable[None]]:
    async def script(hand: Hand) -> None:
        await hand.give("pause")
        log.is_paused = True  # from the answer on
        await clock.sleep(seconds)
        log.is_paused = False
        await hand.give("resume")

    return script


async def test_not_one_job_is_bought_in_a_pause_and_all_that_is_in_flight_is_collected(
    start, tampered, hand
):
    log = Log()
    async with start(runners=8) as bench:
        hand.script = pausing(log, bench.clock)
        manifest = bench.manifest(jobs(24), budget=48)
        result = await bench.run(manifest, transport=tampered(log), concurrency=8, observer=hand)
        await bench.agree(result)
    hand.ended()
    assert result.exit_code is ExitCode.OK
    assert not [key for key, is_paused in log.sent if is_paused]
    assert len({key for key, _ in log.sent}) == len(log.sent) == 24
    assert log.reads_in_pause > 0
    assert hand.answers[0].startswith("paused; ")
    assert hand.answers[1].startswith("resumed after 0:05")
    shown = [message for message in hand.messages if isinstance(message, Controlled)]
    assert [(message.action, message.by) for message in shown] == [
        ("pause", "anna@host"),
        ("resume", "anna@host"),
    ]
    with Journal.read(bench.path / "out") as journal:
        assert [(entry.command.action, entry.source) for entry in journal.controls()] == [
            (ControlAction.PAUSE, ANNA),
            (ControlAction.RESUME, ANNA),
        ]


async def test_what_waits_for_one_of_the_connections_is_not_sent_in_a_pause(
    start, tampered, hand, monkeypatch
):
    monkeypatch.setattr(exchange, "MAX_CONNECTIONS", 4)
    log = Log()
    async with start(runners=40) as bench:

        async def slow(request: httpx.Request, send: Any) -> Any:
            answer = await log(request, send)
            if request.method == "POST":
                await bench.clock.sleep(20)
            return answer

        hand.after = 5
        hand.script = pausing(log, bench.clock)
        lines = f"{jobs(30)}\n" + "\n".join(
            (
                f"{{name: e{number}, prompt: a fox, workflow: qwen-edit, "
                f"image: {bench.picture(f'{number}.png', colour)}}}"
            )
            for number, colour in enumerate(["teal", "red", "blue"])
        )
        # With bounds of its prices, none of them waits for the answer to another.
        bounds = "budget: {credits: 900, max_credits_per_job: 20, max_credits_per_upload: 5}\n"
        manifest = bench.manifest(lines, budget=None, head=bounds)
        result = await bench.run(manifest, transport=tampered(slow), concurrency=40, observer=hand)
        await bench.agree(result)
    hand.ended()
    assert result.exit_code is ExitCode.OK
    assert not [key for key, is_paused in log.sent if is_paused]


@pytest.mark.parametrize("kind", ["429", "503", "no answer"])
async def test_stray_failures_buy_nothing_new_in_a_pause(start, tampered, hand, kind):
    def fault(number: int) -> httpx.Response | None:
        if number % 3:
            return None
        if kind == "no answer":
            raise httpx.ReadError("cut")
        headers = {"content-type": "application/json", "retry-after": "2"}
        return httpx.Response(
            int(kind), json={"error": {"code": "BUSY", "message": "later"}}, headers=headers
        )

    log = Log(fault)
    async with start(runners=8) as bench:
        hand.script = pausing(log, bench.clock)
        manifest = bench.manifest(jobs(20), budget=40)
        result = await bench.run(manifest, transport=tampered(log), concurrency=8, observer=hand)
        await bench.agree(result)
    hand.ended()
    assert result.exit_code is ExitCode.OK
    assert log.begun_in_pause() == set()
    if kind == "429":  # a definite refusal: it is not repeated either
        assert not [key for key, is_paused in log.sent if is_paused]


async def test_a_paused_run_that_is_stopped_ends_and_the_next_one_is_not_paused(
    start, tampered, hand
):
    log = Log()
    async with start(runners=4) as bench:

        async def script(hand: Hand) -> None:
            await hand.give("pause")
            log.is_paused = True
            await hand.give("stop")
            with pytest.raises(ControlError, match="stopping"):
                await hand.give("pause")

        hand.script = script
        manifest = bench.manifest(jobs(20), budget=40)
        first = await bench.run(manifest, transport=tampered(log), concurrency=4, observer=hand)
        hand.ended()
        assert first.exit_code is ExitCode.SIGINT
        assert first.report.stops["*"].message == "stopped by anna@host from a terminal"
        assert not [key for key, is_paused in log.sent if is_paused]
        assert [message.message for message in hand.messages if isinstance(message, Stopping)]
        hand.script = None
        log.is_paused = False
        second = await bench.run(manifest, transport=tampered(log), concurrency=4)
        assert second.exit_code is ExitCode.OK
        assert len({key for key, _ in log.sent}) == 20


async def test_the_concurrency_is_raised_and_lowered(start, tampered, hand):
    async with start(runners=64) as bench:

        async def script(hand: Hand) -> None:
            await hand.give("concurrency", 12)

        hand.after = 4
        hand.script = script
        result = await bench.run(bench.manifest(jobs(30), budget=60), concurrency=2, observer=hand)
        state = await bench.agree(result)
    hand.ended()
    assert hand.answers == ["at most 12 jobs in flight; it was 2"]
    assert result.exit_code is ExitCode.OK
    del state


def once_failed(hand: Hand, name: str) -> bool:
    return any(
        isinstance(message, JobAdvanced) and message.name == name and message.phase is Phase.FAILED
        for message in hand.messages
    )


@pytest.mark.parametrize("retry_failed", [False, True])
async def test_a_failed_job_is_tried_again_on_a_command_once(start, hand, retry_failed):
    async with start(runners=2) as bench:
        manifest = bench.manifest(f"{{name: bad, prompt: nsfw fox}}\n{jobs(12)}", budget=100)

        async def script(hand: Hand) -> None:
            while not once_failed(hand, "bad"):
                await bench.clock.sleep(1)
            assert await hand.give("retry", names=("b*",)) == "tried again: bad"
            with pytest.raises(ControlError, match="no failed job"):
                await hand.give("retry", names=("bad",))
            with pytest.raises(ControlError, match="no failed job"):
                await hand.give("retry", names=("j1",))

        hand.after = 2
        hand.script = script
        result = await bench.run(manifest, concurrency=1, observer=hand, retry_failed=retry_failed)
        await bench.agree(result)
    hand.ended()
    assert result.exit_code is ExitCode.SOME_FAILED
    (bad,) = [row for row in result.jobs() if row.name == "bad"]
    assert len(bad.attempts) == 2
    assert hand.answers == ["tried again: bad"]
