"""A run by itself, with its journal in memory: what it leaves held, and what it may not buy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.core.asset import Asset
from crucible_batch.core.engine_options import EngineOptions
from crucible_batch.core.events import (
    Accepted,
    AssetEvent,
    Event,
    Failed,
    Held,
    HoldReleased,
    JobEvent,
    Listed,
    Missed,
    Saved,
    Succeeded,
    Unavailable,
)
from crucible_batch.core.gateway_types import (
    Account,
    AssetSpec,
    ErrorInfo,
    JobSnapshot,
    JobStatus,
    OutputLink,
)
from crucible_batch.core.job import Job, replay
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.engine import Runner, RunnerPorts, SystemClock
from crucible_batch.errors import ExitCode, GatewayError
from crucible_batch.outputs import SavedFile
from crucible_batch.outputs.image_check import Picture
from crucible_batch.pace.polls import ServiceTimes
from tests.harness.job_events import accepted_event, held_event, saved_event
from tests.harness.run_terms import run_terms
from tests.unit.engine.readings import Readings

D = Decimal
FOX = PlannedJob(0, "fox", "fox", "w", {})
IMAGE = InputImage(AssetSpec("ab" * 32, 3, "image/png", "a.png"), Path("a.png"))
ERROR = ErrorInfo("X", "x")
TERMS = run_terms(100, 4, sidecars=False, upload_ceiling=D(1))


class History(Readings):
    """A journal in memory. ``retired`` are jobs that are no longer in the plan."""

    def __init__(
        self,
        *planned: PlannedJob,
        retired: tuple[PlannedJob, ...] = (),
        events: tuple[Event, ...] = (),
    ):
        super().__init__()
        self.planned, self.dropped = planned, retired
        self.written: list[tuple[str, Event]] = [("fox", event) for event in events]

    async def append(self, subject: str, event: Event) -> None:
        self.written.append((subject, event))

    async def drain(self) -> None:
        """Everything is durable."""

    def sent_elsewhere(self) -> frozenset[str]:
        return frozenset()

    def run_starts(self) -> list[float]:
        return []

    def events(self) -> Iterator[tuple[str, Event]]:
        return iter(tuple(self.written))

    def of(self, identity: str) -> list[JobEvent]:
        return [
            event
            for subject, event in self.written
            if subject == identity and not isinstance(event, AssetEvent)
        ]

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        yield from ((each, self.job(each, rule)) for each in self.planned)

    def started_jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        yield from (found for found in self.jobs(rule) if self.of(found[1].identity))

    def unstarted_jobs(self) -> Iterator[tuple[str, bool]]:
        yield from (
            (each.name, bool(each.images)) for each in self.planned if not self.of(each.identity)
        )

    def retired(self) -> Iterator[tuple[PlannedJob, Job]]:
        yield from ((each, self.job(each, RetryRule())) for each in self.dropped)

    def job(self, planned: PlannedJob, rule: RetryRule) -> Job:
        fresh = Job(planned.identity, has_images=bool(planned.images), rule=rule)
        return replay(fresh, self.of(planned.identity))

    def accepted_as(self, _job_id: str) -> list[str]:
        return []

    def known(self, _identity: str) -> None:
        """Its name is not asked for."""

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


class FullGateway(Gateway):
    """A gateway on which every job has succeeded, with two outputs."""

    async def job(self, job_id: str, **_named: object) -> JobSnapshot:
        return JobSnapshot(
            job_id, JobStatus.SUCCEEDED, D(2), outputs=(OutputLink(0, "/0"), OutputLink(1, "/1"))
        )

    @asynccontextmanager
    async def download(self, _url: str) -> AsyncIterator[tuple[None, None]]:
        yield None, None


class Store:
    """Outputs on a disk. ``keeps``: whether a file that is saved stays there."""

    def __init__(self, *paths: str, keeps: bool = True) -> None:
        self.paths = set(paths)
        self._keeps = keeps

    def shortage(self) -> None:
        """There is room."""

    def sidecars(self) -> None:
        """There are none."""

    def has(self, path: str, _byte_size: int | None = None) -> bool:
        return path in self.paths

    async def save(
        self, _pattern: str, index: int, *_args: object, note: Any, **_named: object
    ) -> None:
        if self._keeps:
            self.paths.add(f"{index}.png")
        picture = Picture("image/png", ".png", 1, 1)
        note(SavedFile(PurePosixPath(f"{index}.png"), "ab" * 32, 1, picture), None)


class SkippingClock(SystemClock):
    """A clock that never waits."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def runner_of(history: History, gateway: Gateway, store: Store | None = None) -> Runner:
    async def content(_image: InputImage) -> bytes:
        return b"abc"

    ports = RunnerPorts(
        gateway=gateway,  # type: ignore[arg-type]
        history=history,  # type: ignore[arg-type]
        store=store or Store(),  # type: ignore[arg-type]
        receipts=SimpleNamespace(  # type: ignore[arg-type]
            add=lambda _receipt: None, close=lambda: None
        ),
        clock=SystemClock() if store is None else SkippingClock(),
        observer=SimpleNamespace(notify=lambda _message: None),
        nonce=lambda: "n",
        load_image=content,
    )
    return Runner(
        ports=ports, terms=TERMS, times=ServiceTimes(), options=EngineOptions(concurrency=2)
    )


async def test_a_job_whose_upload_is_cut_off_by_the_end_of_the_run_holds_nothing_after_it() -> None:
    history, gateway = (
        History(PlannedJob(0, "fox", "fox", "w", {}, images={"image": IMAGE})),
        Gateway(),
    )
    runner = runner_of(history, gateway)
    async with asyncio.timeout(60):
        run = asyncio.create_task(runner.run())
        await gateway.is_uploading.wait()
        assert runner.accounting.ledger.hold_of("fox") == 4
        runner.stop.leave(ExitCode.SIGINT, ERROR)
        await run
    assert [type(event) for event in history.of("fox")] == [Held, HoldReleased]
    assert runner.accounting.ledger.hold_of("fox") == 0


async def test_a_job_that_left_the_plan_is_collected_and_not_bought_again_when_it_has_failed() -> (
    None
):
    held = held_event(4, key=Job("fox").key, images=False)
    accepted = accepted_event(2, "g", at=2.0)
    history, gateway = History(retired=(FOX,), events=(held, accepted)), Gateway()
    async with asyncio.timeout(60):
        await runner_of(history, gateway).run()
    assert [type(event) for event in history.of("fox")] == [Held, Accepted, Failed]
    assert gateway.submitted == []


# -- files that were deleted

BOUGHT = (
    held_event(4, key=Job("fox").key, images=False),
    accepted_event(2, "g", at=2.0),
)


def saved(index: int) -> Saved:
    path, sha256 = f"{index}.png", "ab" * 32
    return saved_event(index, path, at=4.0, sha256=sha256)


def steps_of(history: History, after: int) -> list[tuple[type[JobEvent], int | None]]:
    """Return the events after the first ``after``, each with the output that it is about."""
    return [(type(event), getattr(event, "index", None)) for event in history.of("fox")[after:]]


@pytest.mark.parametrize(
    "end", [(), (Unavailable(at=5.0, error=ERROR),)], ids=["was-killed", "one-is-unavailable"]
)
async def test_a_file_that_was_deleted_before_all_outputs_were_saved_is_fetched_with_the_rest(
    end: tuple[Event, ...],
) -> None:
    past = (*BOUGHT, Succeeded(at=3.0, outputs=2), saved(0), *end)
    history, store = History(FOX, events=past), Store()
    async with asyncio.timeout(60):
        ending = await runner_of(history, FullGateway(), store).run()
    assert steps_of(history, len(past)) == [(Missed, 0), (Saved, 0), (Saved, 1)]
    assert (ending.exit_code, store.paths) == (0, {"0.png", "1.png"})


async def test_a_file_deleted_before_the_list_was_read_again_is_fetched_by_the_next_run() -> None:
    past = (*BOUGHT, Succeeded(at=3.0, outputs=2, numbers=(0, 1)), saved(0), saved(1))
    history, store = History(FOX, events=past), Store("1.png")
    async with asyncio.timeout(60):
        ending = await runner_of(history, FullGateway(), store).run()
    assert steps_of(history, len(past)) == [(Missed, 0), (Saved, 0), (Listed, None)]
    assert (ending.exit_code, store.paths) == (0, {"0.png", "1.png"})


async def test_files_that_are_moved_away_as_they_are_saved_are_fetched_once_in_a_run() -> None:
    past = (*BOUGHT, Succeeded(at=3.0, outputs=2, numbers=(0, 1)), saved(0))
    history = History(FOX, events=past)
    async with asyncio.timeout(60):
        await runner_of(history, FullGateway(), Store(keeps=False)).run()
    assert steps_of(history, len(past)) == [(Missed, 0), (Saved, 0), (Saved, 1), (Listed, None)]


async def test_a_deleted_file_of_a_job_that_left_the_plan_is_not_fetched_again() -> None:
    past = (*BOUGHT, Succeeded(at=3.0, outputs=2), saved(0))
    history, store = History(retired=(FOX,), events=past), Store()
    async with asyncio.timeout(60):
        await runner_of(history, FullGateway(), store).run()
    assert steps_of(history, len(past)) == [(Saved, 1)]
    assert store.paths == {"1.png"}
