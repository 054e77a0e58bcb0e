"""A job whose images are made ready only: it is never submitted, and its hold is released."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from crucible_batch.core.event_order import EventOrder
from crucible_batch.core.events import Held, HoldReleased, JobEvent, Prepared, Refused
from crucible_batch.core.gateway_types import AssetSpec, ErrorInfo
from crucible_batch.core.job import (
    Command,
    Fetch,
    Hold,
    Job,
    Phase,
    Poll,
    Prepare,
    RecheckOutputs,
    Submit,
    decide,
    evolve,
    replay,
)
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage
from crucible_batch.engine.driver import Driver
from crucible_batch.engine.runner import NOT_SUBMITTED, ImagePreparer
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event

D = Decimal
IMAGE = InputImage(AssetSpec("ab" * 32, 3, "image/png", "a.png"), Path("a.png"))
ERROR = ErrorInfo("X", "x")


def held(job: Job) -> Held:
    return held_event(8, attempt=job.attempt, key=job.key, images=True)


def prepared(_job: Job) -> Prepared:
    return Prepared(at=2.0, assets={"image": "x"}, credits=D(3))


@dataclass
class Desk:
    """The uploads, as far as they are asked: ``there`` once the images are ready."""

    there: bool = False
    looked_up: int = 0

    async def look_up(self, _images: object) -> None:
        self.looked_up += 1

    def are_there(self, _images: object) -> bool:
        assert self.looked_up  # it is not known before
        return self.there


@dataclass
class Worker:
    """A worker whose events are given by command, and which keeps what it was to do."""

    events: dict[type[Command], Callable[[Job], JobEvent | None]]
    commands: list[Command] = field(default_factory=list)
    on: Callable[[Command], None] = lambda _command: None

    async def perform(self, job: Job, command: Command) -> JobEvent | None:
        self.commands.append(command)
        self.on(command)
        return self.events[type(command)](job)


def preparer(
    desk: Desk, worker: Worker, images: tuple[InputImage, ...] = (IMAGE,)
) -> ImagePreparer:
    async def is_open() -> None:
        """Open."""

    context: Any = SimpleNamespace(
        assets=desk,
        gate=SimpleNamespace(wait_until_open=is_open),
        clock=SimpleNamespace(now=lambda: 7.0),
    )
    return ImagePreparer(context, images, worker)  # type: ignore[arg-type]


async def driven(job: Job, one: ImagePreparer) -> tuple[Job, list[JobEvent]]:
    journal: list[JobEvent] = []

    async def record(_subject: str, event: JobEvent) -> None:
        journal.append(event)

    driver: Driver[Job, Command, JobEvent] = Driver(decide, one.perform, record, evolve)
    return await driver.drive(job), journal


async def test_the_hold_is_released_once_the_images_are_ready_and_the_job_is_as_before() -> None:
    desk = Desk()
    worker = Worker({Hold: held, Prepare: prepared})
    worker.on = lambda command: setattr(desk, "there", isinstance(command, Prepare))
    fresh = Job("j", has_images=True)
    job, journal = await driven(fresh, preparer(desk, worker))
    assert [type(event) for event in journal] == [Held, HoldReleased]
    assert journal[-1] == HoldReleased(
        at=7.0, error=ErrorInfo(NOT_SUBMITTED, journal[-1].error.message)
    )
    assert (job.attempt, job.key, job.phase) == (1, fresh.key, Phase.READY)
    assert worker.commands == [Hold(), Prepare()]


async def test_what_is_journalled_is_possible_and_leaves_nothing_held() -> None:
    desk = Desk()
    worker = Worker({Hold: held, Prepare: prepared})
    worker.on = lambda command: setattr(desk, "there", isinstance(command, Prepare))
    fresh = Job("j", has_images=True)
    _, journal = await driven(fresh, preparer(desk, worker))
    ledger, order = Ledger(), EventOrder()
    for event in journal:
        assert order.accept("j", event)
        ledger.apply("j", event)
    assert (ledger.held, ledger.spent) == (0, 0)
    # What a shard does later follows it in the merged journal.
    again = [held(fresh), prepared(fresh), accepted_event(3, "g", at=3.0)]
    merged = replay(fresh, [*journal, *again])
    assert merged == replay(fresh, again)


async def test_nothing_is_held_for_a_job_whose_images_are_there() -> None:
    worker = Worker({})
    job, journal = await driven(Job("j", has_images=True), preparer(Desk(there=True), worker))
    assert (job.phase, journal, worker.commands) == (Phase.READY, [], [])


async def test_a_job_whose_image_is_refused_has_failed() -> None:
    worker = Worker({Hold: held, Prepare: lambda _job: Refused(at=2.0, error=ERROR)})
    job, journal = await driven(Job("j", has_images=True), preparer(Desk(), worker))
    assert (job.phase, len(journal)) == (Phase.FAILED, 2)


async def test_a_job_that_can_not_be_held_is_left_alone() -> None:
    worker = Worker({Hold: lambda _job: None})
    job, journal = await driven(Job("j", has_images=True), preparer(Desk(), worker))
    assert (job.phase, journal) == (Phase.READY, [])


async def test_no_submit_is_performed() -> None:
    worker = Worker({})
    assert (
        await preparer(Desk(there=True), worker).perform(Job("j", has_images=True), Submit())
        is None
    )
    assert worker.commands == []


@each_case("command", [Poll("g"), Fetch("g", 0), RecheckOutputs("g")])
async def test_a_job_that_was_submitted_before_is_followed_to_its_end(command: Command) -> None:
    worker = Worker({type(command): lambda _job: None})
    await preparer(Desk(there=True), worker).perform(Job("j", has_images=True), command)
    assert worker.commands == [command]


async def test_nothing_is_asked_of_the_gateway_before_the_gate_is_open() -> None:
    desk, worker = Desk(there=True), Worker({})
    one, opened = preparer(desk, worker), list[int]()

    async def opens() -> None:
        opened.append(desk.looked_up)

    one._context.gate.wait_until_open = opens  # type: ignore[method-assign]
    await driven(Job("j", has_images=True), one)
    assert (opened, desk.looked_up) == ([0], 1)
