"""Jobs that an earlier run left: what was not submitted is released, unless it goes on."""

from __future__ import annotations

from typing import Any

from crucible_batch.core.attempt import Attempt
from crucible_batch.core.events import HoldReleased
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.engine.job_errors import KEY_MAY_BE_FORGOTTEN
from crucible_batch.engine.unfinished_jobs import UnfinishedJobs
from tests.harness.replacing import replace


class Bench:
    """Books, a clock and a reporter in one."""

    def __init__(self) -> None:
        self.released: list[str] = []
        self.unknown: list[str] = []

    def now(self) -> float:
        return 1.0

    async def record(self, identity: str, event: Any) -> None:
        (self.released if isinstance(event, HoldReleased) else self.unknown).append(identity)

    def job(self, *_told: object) -> None:
        pass


def left(identity: str, phase: Phase) -> tuple[PlannedJob, Job]:
    return PlannedJob(0, identity, identity, "w", {}), Job(identity, has_images=True, phase=phase)


async def test_a_retired_job_whose_images_were_being_uploaded_is_released_and_not_resumed() -> None:
    """If it is planned again in this run, when its source is saved, it must not be in the queue
    twice."""
    bench = Bench()
    jobs = [
        left("retired", Phase.PREPARING),
        left("planned", Phase.PREPARING),
        left("bought", Phase.IN_FLIGHT),
    ]
    found = await UnfinishedJobs(bench, bench, bench).skip_unsent(
        jobs, lambda planned: planned.name != "retired"
    )  # type: ignore[arg-type]
    assert [job.identity for _, job in found] == ["planned", "bought"]
    assert bench.released == ["retired"]


async def test_at_the_end_of_a_run_no_hold_of_a_submit_is_released() -> None:
    bench = Bench()
    jobs = [left(phase.value, phase) for phase in Phase]
    unfinished = UnfinishedJobs(bench, bench, bench)  # type: ignore[arg-type]
    await unfinished.release_unsent(jobs, "the run ended")
    assert bench.released == [Phase.PREPARING]


async def test_that_a_key_is_too_old_is_recorded_once() -> None:
    """And not by each run again."""
    bench = Bench()
    attempts = (Attempt(1, "key", 0.0),)
    jobs = [
        (planned, replace(job, attempts=attempts, error=error))
        for planned, job, error in (
            (*left("new", Phase.UNKNOWN), None),
            (*left("other", Phase.UNKNOWN), ErrorInfo("NO_ANSWER", "x")),
            (*left("known", Phase.UNKNOWN), ErrorInfo(KEY_MAY_BE_FORGOTTEN, "x")),
        )
    ]
    await UnfinishedJobs(bench, bench, bench).record_forgotten(jobs)  # type: ignore[arg-type]
    assert (bench.unknown, bench.released) == (["new", "other"], [])
