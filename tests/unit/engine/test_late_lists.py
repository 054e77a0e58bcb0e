"""Reading a job's list again: which answer counts."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from crucible_batch.domain.events import Listed
from crucible_batch.domain.gateway_types import JobSnapshot, JobStatus, OutputLink
from crucible_batch.domain.job import Job
from crucible_batch.engine.late_outputs import LateOutputChecker
from crucible_batch.errors import GatewayError
from tests.case_table import each_case
from tests.unit.engine.worker_bench import Clock


class Gateway:
    """A poller that reads one list after the other; None is a 404. Its own downloader."""

    def __init__(self, lists: list[tuple[int, ...] | None]) -> None:
        self.lists = lists

    async def read(self, job_id: str) -> JobSnapshot:
        numbers = self.lists.pop(0)
        if numbers is None:
            raise GatewayError("not found", code="JOB_NOT_FOUND", status=404)
        links = tuple(OutputLink(number, None) for number in numbers)
        return JobSnapshot(job_id, JobStatus.SUCCEEDED, Decimal(1), outputs=links)

    def seen(self, _snapshot: JobSnapshot) -> None:
        """Links are not kept."""


@each_case(
    "answers, listed",
    [
        ([(0, 2), (0, 1, 2)], (0, 1, 2)),  # as long as what is known, but without a part of it
        ([(), (0, 1)], (0, 1)),
        ([None, (0, 1, 2)], (0, 1, 2)),
        ([None, None, None, (0, 1, 2)], (0, 1, 2)),
        ([None, None, None, None], (0, 1)),  # the job is gone: what it listed before counts
        ([(), (), (), ()], (0, 1)),
    ],
)
async def test_a_list_counts_once_it_has_all_that_was_known_or_was_read_four_times(
    answers: list[tuple[int, ...] | None], listed: tuple[int, ...]
) -> None:
    gateway = Gateway(answers)
    checker = LateOutputChecker(Clock(), gateway, gateway, lambda _record: None)  # type: ignore[arg-type]
    event = await checker.look(replace(Job("a"), numbers=(0, 1)), "j")
    assert isinstance(event, Listed)
    assert (event.numbers, gateway.lists) == (listed, [])
