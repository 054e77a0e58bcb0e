"""Jobs that are added to a run: in the plan before they are queued, and never queued twice."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from crucible_batch.core.engine_options import takes_all
from crucible_batch.core.events import Saved
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.engine.job_adder import JobAdder
from crucible_batch.errors import JournalError
from tests.harness.case_table import each_case
from tests.harness.job_events import saved_event

SOURCE = PlannedJob(0, "source", "source", "w", {})
MADE = [PlannedJob(1, "one", "one", "w", {}), PlannedJob(2, "two", "two", "w", {})]
OUTPUT = saved_event()
FINISHED = Job("source", outputs={0: OUTPUT})


class Bench:
    """A derivation, a journal and a reporter in one. ``steps`` are what was done, in order."""

    def __init__(
        self, known: tuple[str, ...] = (), chosen: tuple[str, ...] = ("one", "two")
    ) -> None:
        self.steps: list[str] = []
        self.waiting: deque[tuple[PlannedJob, Job]] = deque()
        self.known_jobs = known
        self.chosen = chosen
        self.left_out: set[str | None] = set()
        self.without_files: set[str] = set()
        self.failure: Exception | None = None
        self.phase = Phase.READY
        self.rule = RetryRule()
        self.adder = JobAdder(
            self,
            self,
            self.waiting,
            self,
            self.rule,
            is_chosen=self.is_chosen,
            lacks_files=lambda job: job.identity in self.without_files,
        )  # type: ignore[arg-type]

    def is_chosen(self, name: str, source: str | None = None) -> bool:
        return name in self.chosen and source not in self.left_out

    def derive(self, _planned: PlannedJob, _saved: Saved) -> list[PlannedJob]:
        return MADE

    def counts(self, _planned: PlannedJob, saved: Saved) -> bool:
        return saved is OUTPUT

    def gives_way(self, planned: PlannedJob) -> bool:
        return planned is SOURCE

    def arrange(self) -> None:
        self.steps.append("arranged")

    def known(self, identity: str, rule: RetryRule) -> Any:
        assert rule is self.rule
        return (
            (SOURCE, Job(identity, attempt=2, phase=self.phase), True)
            if identity in self.known_jobs
            else None
        )

    async def append_planned(self, planned: PlannedJob) -> None:
        assert self.adder.has_added(planned.identity)  # from now on it could be read from the plan
        assert planned.identity not in [job.identity for _, job in self.waiting]
        if self.failure is not None:
            raise self.failure
        self.steps.append(f"planned {planned.name}")

    def added(self, source: PlannedJob, planned: list[PlannedJob]) -> None:
        self.steps.append(f"told {source.name} {len(planned)}")

    async def add(self) -> None:
        await self.adder.add(SOURCE, FINISHED, lambda: self.steps.append("worker"))


async def test_a_job_is_in_the_plan_before_it_is_queued() -> None:
    bench = Bench()
    await bench.add()
    assert bench.steps == ["planned one", "worker", "planned two", "worker", "told source 2"]
    assert [job.identity for _, job in bench.waiting] == ["one", "two"]


async def test_a_job_is_added_once_however_often_is_asked() -> None:
    bench = Bench()
    await bench.add()
    bench.steps.clear()
    await bench.add()
    assert bench.steps == []
    assert [job.identity for _, job in bench.waiting] == ["one", "two"]


async def test_a_job_that_the_journal_could_not_take_is_not_queued() -> None:
    bench = Bench()
    bench.failure = JournalError("full", hint="")
    with pytest.raises(JournalError):
        await bench.add()
    assert not bench.waiting


async def test_a_job_that_was_begun_before_its_source_was_lost_continues() -> None:
    bench = Bench(known=("one",))
    await bench.add()
    assert [(job.identity, job.attempt) for _, job in bench.waiting] == [("one", 2), ("two", 1)]


@each_case("phase", [phase for phase in Phase if phase is not Phase.READY])
async def test_a_job_that_is_at_the_gateway_or_has_ended_is_not_queued(phase: Phase) -> None:
    bench = Bench(known=("one",))
    bench.phase = phase
    await bench.add()
    assert [job.identity for _, job in bench.waiting] == ["two"]
    assert "planned one" in bench.steps
    assert bench.adder.has_added("one")


async def test_a_job_that_is_not_chosen_is_planned_and_not_queued() -> None:
    bench = Bench(chosen=("two",))
    await bench.add()
    assert [job.identity for _, job in bench.waiting] == ["two"]
    assert "planned one" in bench.steps


async def test_a_job_is_not_queued_if_its_source_is_left_out() -> None:
    bench = Bench()
    bench.left_out = {SOURCE.name}
    await bench.add()
    assert not bench.waiting
    assert "planned one" in bench.steps


async def test_a_job_that_has_succeeded_is_queued_only_if_its_file_is_gone() -> None:
    """Its source's file was deleted as well, so that it comes into the plan only now."""
    bench = Bench(known=("one", "two"))
    bench.phase = Phase.SUCCEEDED
    bench.without_files = {"two"}
    await bench.add()
    assert [job.identity for _, job in bench.waiting] == ["two"]


async def test_a_job_whose_outputs_are_being_fetched_is_not_queued_twice() -> None:
    """It was resumed at the start of the run, as each job that an earlier run left unfinished."""
    bench = Bench(known=("one", "two"))
    bench.phase = Phase.FETCHING
    bench.without_files = {"one", "two"}
    await bench.add()
    assert not bench.waiting


async def test_a_job_with_an_obstacle_is_planned_and_never_queued() -> None:
    bench = Bench()
    obstacle = ErrorInfo("REDO_LIMIT", "it was rejected too often")
    blocked = PlannedJob(0, "three", "three", "w", {}, obstacle=obstacle)
    bench.derive = lambda _planned, _saved: [blocked]  # type: ignore[method-assign]
    await bench.add()
    assert bench.steps == ["planned three"]
    assert not bench.waiting


async def test_a_run_without_stages_adds_nothing() -> None:
    bench = Bench()
    bench.adder = JobAdder(
        None,
        bench,  # type: ignore[arg-type]
        bench.waiting,
        bench,  # type: ignore[arg-type]
        RetryRule(),
        is_chosen=takes_all,
        lacks_files=bool,
    )
    await bench.add()
    bench.adder.arrange()
    assert (bench.steps, bench.adder.is_used) == ([], False)


def test_what_counts_is_known_by_the_derivation() -> None:
    bench = Bench()
    assert bench.adder.counts(SOURCE, OUTPUT)
    assert not bench.adder.counts(SOURCE, saved_event(1))
    assert bench.adder.gives_way(SOURCE)
    assert not bench.adder.gives_way(MADE[0])
