"""Failed jobs that are tried again on a command: each once at a time, whoever takes it."""

from __future__ import annotations

from collections import deque

from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.engine.reopening import Reopening

FOUND = [
    (PlannedJob(at, name, name, "w", {}), Job(name, phase=phase))
    for at, (name, phase) in enumerate(
        [
            ("a1", Phase.FAILED),
            ("a2", Phase.FAILED),
            ("a3", Phase.READY),
            ("b", Phase.FAILED),
            ("c", Phase.UNAVAILABLE),
        ]
    )
]


def is_failed(job: Job) -> bool:
    return job.phase is Phase.FAILED


def test_only_failed_jobs_of_the_run_are_queued_and_none_twice_before_it_was_reopened() -> None:
    waiting: deque[tuple[PlannedJob, Job]] = deque()
    reopening = Reopening(lambda: FOUND, lambda name: name != "b", is_failed, waiting)
    assert reopening.reopen(lambda _name: True) == ["a1", "a2"]
    assert [job.identity for _, job in waiting] == ["a1", "a2"]
    assert reopening.reopen(lambda _name: True) == []
    reopening.begun("a1")  # and it has failed again
    assert reopening.reopen(lambda name: name.startswith("a")) == ["a1"]
    assert reopening.has_chosen("a1")
    assert not reopening.has_chosen("b")


def test_a_failed_job_that_the_queue_has_given_out_is_left_to_it() -> None:
    waiting: deque[tuple[PlannedJob, Job]] = deque()
    reopening = Reopening(lambda: FOUND, lambda _name: True, is_failed, waiting)
    for _, job in FOUND[:3]:
        reopening.queued(job)
    assert reopening.reopen(lambda name: name.startswith("a")) == []
    assert not waiting


def test_a_job_of_which_no_other_attempt_may_be_made_is_left_out() -> None:
    waiting: deque[tuple[PlannedJob, Job]] = deque()
    reopening = Reopening(
        lambda: FOUND,
        lambda _name: True,
        lambda job: is_failed(job) and job.identity != "a1",
        waiting,
    )
    assert reopening.reopen(lambda _name: True) == ["a2", "b"]
