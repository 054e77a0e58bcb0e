"""A run by itself, with its journal in memory: what it leaves held, and what it may not buy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from crucible_batch.domain.asset import Asset
from crucible_batch.domain.engine_options import EngineOptions
from crucible_batch.domain.events import Accepted, AssetEvent, Event, Failed, Held, HoldReleased, JobEvent
from crucible_batch.domain.gateway_types import Account, AssetSpec, ErrorInfo, JobSnapshot, JobStatus
from crucible_batch.domain.job import Job, replay
from crucible_batch.domain.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.domain.retry_rule import RetryRule
from crucible_batch.domain.service_times import ServiceTimes
from crucible_batch.engine import Runner, RunnerPorts, SystemClock
from crucible_batch.errors import ExitCode, GatewayError

D = Decimal
FOX = PlannedJob(0, "fox", "fox", "w", {})
IMAGE = InputImage(AssetSpec("ab" * 32, 3, "image/png", "a.png"), Path("a.png"))
ERROR = ErrorInfo("X", "x")
TERMS = RunTerms(
    "m", "m.yaml", "0" * 64, "default", D(100), D(4), attempts=3, never=frozenset(), sidecars=False, upload_ceiling=D(1)
)


class History:
    """A journal in memory. ``retired`` are jobs that are no longer in the plan."""

    def __init__(self, *planned: PlannedJob, retired: tuple[PlannedJob, ...] = (), events: tuple[Event, ...] = ()):
        self.planned, self.dropped = planned, retired
        self.written: list[tuple[str, Event]] = [("fox", event) for event in events]

    async def append(self, subject: str, event: Event) -> None:
        self.written.append((subject, event))

    async def drain(self) -> None:
        """Everything is durable."""

    def events(self) -> Iterator[tuple[str, Event]]:
        return iter(tuple(self.written))

    def of(self, identity: str) -> list[JobEvent]:
        return [event for subject, event in self.written if subject == identity and not isinstance(event, AssetEvent)]

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        yield from ((each, self.job(each, rule)) for each in self.planned)

    def started_jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        yield from (found for found in self.jobs(rule) if self.of(found[1].identity))

    def unstarted_jobs(self) -> Iterator[tuple[str, bool]]:
        yield from ((each.name, bool(each.images)) for each in self.planned if not self.of(each.identity))

    def retired(self) -> Iterator[tuple[PlannedJob, Job]]:
        yield from ((each, self.job(each, RetryRule())) for each in self.dropped)

    def job(self, planned: PlannedJob, rule: RetryRule) -> Job:
        fresh = Job(planned.identity, has_images=bool(planned.images), rule=rule)
        return replay(fresh, self.of(planned.identity))

    def accepted_as(self, _job_id: str) -> list[str]:
        return []

    def asset(self, sha256: str) -> Asset:
        return Asset(sha256)


class Gateway:
    """A gateway on which every job fails, and whose answer to an upload never comes."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.is_uploading = asyncio.Event()

    async def account(self) -> Account:
        return Account(D(1000), D(0), D(1000))

    async def assets(self) -> list[Any]:
        return []

    async def create_asset(self, *_args: object, **_named: object) -> None:
        self.is_uploading.set()
        await asyncio.Event().wait()

    async def submit(self, *_args: object, key: str, **_named: object) -> None:
        self.submitted.append(key)
        raise GatewayError("refused", code="NO", status=400)

    async def job(self, job_id: str, **_named: object) -> JobSnapshot:
        return JobSnapshot(job_id, JobStatus.FAILED, D(2), error=ERROR)


def runner_of(history: History, gateway: Gateway) -> Runner:
    async def content(_image: InputImage) -> bytes:
        return b"abc"

    store = SimpleNamespace(shortage=lambda: None, sidecars=lambda: None, has=lambda *_file: True)
    ports = RunnerPorts(
        gateway=gateway,  # type: ignore[arg-type]
        history=history,  # type: ignore[arg-type]
        store=store,  # type: ignore[arg-type]
        receipts=SimpleNamespace(add=lambda _receipt: None, close=lambda: None),  # type: ignore[arg-type]
        clock=SystemClock(),
        observer=SimpleNamespace(notify=lambda _message: None),
        nonce=lambda: "n",
        load_image=content,
    )
    return Runner(ports=ports, terms=TERMS, times=ServiceTimes(), options=EngineOptions(concurrency=2))


async def test_a_job_whose_upload_is_cut_off_by_the_end_of_the_run_holds_nothing_after_it() -> None:
    history, gateway = History(PlannedJob(0, "fox", "fox", "w", {}, images={"image": IMAGE})), Gateway()
    runner = runner_of(history, gateway)
    async with asyncio.timeout(60):
        run = asyncio.create_task(runner.run())
        await gateway.is_uploading.wait()
        assert runner.accounting.ledger.hold_of("fox") == 4
        runner.stop.leave(ExitCode.SIGINT, ERROR)
        await run
    assert [type(event) for event in history.of("fox")] == [Held, HoldReleased]
    assert runner.accounting.ledger.hold_of("fox") == 0


async def test_a_job_that_left_the_plan_is_collected_and_not_bought_again_when_it_has_failed() -> None:
    held = Held(at=1.0, attempt=1, key=Job("fox").key, credits=D(4), price_class="workflow:w", images=False)
    accepted = Accepted(at=2.0, job_id="g", credits=D(2), reused=False)
    history, gateway = History(retired=(FOX,), events=(held, accepted)), Gateway()
    async with asyncio.timeout(60):
        await runner_of(history, gateway).run()
    assert [type(event) for event in history.of("fox")] == [Held, Accepted, Failed]
    assert gateway.submitted == []
