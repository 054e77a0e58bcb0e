"""Jobs that an earlier run left: what was not submitted is released, unless it goes on."""

from __future__ import annotations

from typing import Any

from crucible_batch.domain.events import HoldReleased
from crucible_batch.domain.job import Job, Phase
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.engine.unfinished_jobs import UnfinishedJobs


class Bench:
    """Books, a clock and a reporter in one."""

    def __init__(self) -> None:
        self.released: list[str] = []

    def now(self) -> float:
        return 1.0

    async def record(self, identity: str, event: Any) -> None:
        assert isinstance(event, HoldReleased)
        self.released.append(identity)

    def job(self, *_told: object) -> None:
        pass


def left(identity: str, phase: Phase) -> tuple[PlannedJob, Job]:
    return PlannedJob(0, identity, identity, "w", {}), Job(identity, has_images=True, phase=phase)


async def test_a_retired_job_whose_images_were_being_uploaded_is_released_and_not_resumed() -> None:
    """If it is planned again in this run, when its source is saved, it must not be in the queue twice."""
    bench = Bench()
    jobs = [left("retired", Phase.PREPARING), left("planned", Phase.PREPARING), left("bought", Phase.IN_FLIGHT)]
    found = await UnfinishedJobs(bench, bench, bench).skip_unsent(jobs, lambda identity: identity != "retired")  # type: ignore[arg-type]
    assert [job.identity for _, job in found] == ["planned", "bought"]
    assert bench.released == ["retired"]


async def test_a_run_that_buys_nothing_releases_all_that_was_not_submitted() -> None:
    bench = Bench()
    jobs = [left("planned", Phase.PREPARING), left("bought", Phase.SUBMITTING)]
    found = await UnfinishedJobs(bench, bench, bench).skip_unsent(jobs)  # type: ignore[arg-type]
    assert ([job.identity for _, job in found], bench.released) == (["bought"], ["planned"])
