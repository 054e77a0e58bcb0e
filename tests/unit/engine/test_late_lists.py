"""Reading a job's list again: which answer counts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from crucible_batch.core.events import Listed
from crucible_batch.core.gateway_types import JobSnapshot, JobStatus, OutputLink
from crucible_batch.core.job import Job
from crucible_batch.engine.late_outputs import LateOutputChecker
from crucible_batch.errors import GatewayError
from tests.harness.case_table import each_case
from tests.harness.replacing import replace
from tests.unit.engine.worker_bench import Clock


class Gateway:
    """A poller that reads one list after another; None: the job is unknown. Its own downloader."""

    def __init__(self, lists: list[tuple[int, ...] | None]) -> None:
        self.lists = lists
        self.links: list[tuple[int, ...]] = []
        self.status = JobStatus.SUCCEEDED

    async def read(self, job_id: str) -> JobSnapshot | None:
        numbers = self.lists.pop(0)
        if numbers is None:
            return None
        links = tuple(OutputLink(number, None) for number in numbers)
        return JobSnapshot(job_id, self.status, Decimal(1), outputs=links)

    def seen(self, snapshot: JobSnapshot) -> None:
        self.links.append(snapshot.numbers)


def checker_of(gateway: Gateway) -> LateOutputChecker:
    poller: Any = gateway
    return LateOutputChecker(Clock(), poller, poller, lambda _record: None)


@each_case(
    "answers, listed",
    [
        ([(0, 2), (0, 1, 2)], (0, 1, 2)),  # as long as what is known, but without a part of it
        ([(), (0, 1)], (0, 1)),
        ([None], (0, 1)),  # the job is gone: what it listed before counts
        ([(), (), (), ()], (0, 1)),
    ],
)
async def test_a_list_counts_once_it_has_all_that_was_known_or_was_read_four_times(
    answers: list[tuple[int, ...] | None], listed: tuple[int, ...]
) -> None:
    gateway = Gateway(answers)
    checker = checker_of(gateway)
    event = await checker.look(replace(Job("a"), numbers=(0, 1)), "j")
    assert isinstance(event, Listed)
    assert (event.numbers, gateway.lists) == (listed, [])


async def test_each_record_that_is_read_is_compared_and_new_links_are_used() -> None:
    gateway, records = Gateway([(), (0, 1, 2)]), list[JobSnapshot]()
    checker = LateOutputChecker(Clock(), gateway, gateway, records.append)  # type: ignore[arg-type]
    await checker.look(replace(Job("a"), numbers=(0, 1)), "j")
    assert [record.numbers for record in records] == [(), (0, 1, 2)]
    assert gateway.links == [(0, 1, 2)]


async def test_the_list_of_a_record_that_has_not_succeeded_is_read_again() -> None:
    gateway = Gateway([(0, 1)] * 4)
    gateway.status = JobStatus.RUNNING
    checker = checker_of(gateway)
    assert isinstance(await checker.look(replace(Job("a"), numbers=(0, 1)), "j"), Listed)
    assert gateway.lists == []


async def test_a_failure_of_the_gateway_shows_nothing_of_a_list() -> None:
    gateway = Gateway([])

    async def read(_job_id: str) -> JobSnapshot:
        raise GatewayError("not now", code="HTTP_503", status=503)

    gateway.read = read  # type: ignore[method-assign]
    checker = checker_of(gateway)
    with pytest.raises(GatewayError, match="not now"):
        await checker.look(replace(Job("a"), numbers=(0, 1)), "j")
