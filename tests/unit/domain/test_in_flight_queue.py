"""Which jobs may be running: those behind a queued one are not, until an end or an answer shows that they may be."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.domain.in_flight_queue import SHORTEST_S, InFlightJob, InFlightQueue
from crucible_batch.domain.service_times import ServiceTime

MARGIN = 4


def queue_of(count: int, expected_s: float | None = 20.0) -> tuple[InFlightQueue, list[InFlightJob]]:
    queue, service = InFlightQueue(), ServiceTime(expected_s)
    for _ in range(count):
        queue.add(service, 0.0, math.inf, is_earlier=False)
    return queue, list(queue.jobs.values())


def may_run(jobs: list[InFlightJob]) -> int:
    """Return how many may be running; they are the first."""
    flags = [job.begun_at < math.inf for job in jobs]
    assert flags == sorted(flags, reverse=True)
    return sum(flags)


def test_as_long_as_no_job_was_found_queued_all_may_be_running():
    _, jobs = queue_of(20)
    assert may_run(jobs) == 20


def test_the_jobs_behind_a_queued_one_are_not_due_but_for_a_margin():
    queue, jobs = queue_of(20)
    queue.record_queued(jobs[5], 3.0)
    assert may_run(jobs) == 5 + MARGIN
    assert {job.due_at for job in jobs[5 + MARGIN :]} == {math.inf}
    assert jobs[5].begun_at == 3.0
    assert jobs[4].begun_at == 0.0


def test_a_job_that_is_added_behind_a_queued_one_is_not_due():
    queue, jobs = queue_of(20)
    queue.record_queued(jobs[5], 3.0)
    ticket = queue.add(ServiceTime(20.0), 4.0, math.inf, is_earlier=False)
    assert queue.jobs[ticket].due_at == math.inf


def test_each_end_lets_one_more_job_begin():
    queue, jobs = queue_of(20)
    queue.record_queued(jobs[5], 3.0)
    for ended in range(3):
        queue.record_begun(jobs[ended], 4.0 + ended, has_ended=True)
        assert may_run(jobs) == 5 + MARGIN + ended + 1
        assert jobs[5 + MARGIN + ended].begun_at == 4.0 + ended


def test_a_running_job_shows_that_those_before_it_have_begun():
    queue, jobs = queue_of(40)
    queue.record_queued(jobs[5], 3.0)
    queue.record_begun(jobs[20], 4.0, has_ended=False)
    assert may_run(jobs) == 21 + MARGIN


def test_a_job_found_running_does_not_count_as_queued_when_one_shortly_before_it_is():
    queue, jobs = queue_of(20)
    queue.record_begun(jobs[8], 2.0, has_ended=False)
    queue.record_queued(jobs[5], 3.0)
    assert jobs[8].begun_at == 0.0
    assert may_run(jobs) == 5 + MARGIN


def test_after_a_contradiction_all_jobs_may_be_running_until_enough_answers_agree():
    queue, jobs = queue_of(40)
    queue.record_begun(jobs[20], 2.0, has_ended=False)
    queue.record_queued(jobs[5], 3.0)
    assert may_run(jobs) == 40
    for _ in range(15):
        queue.record_queued(jobs[25], 4.0)
        assert may_run(jobs) == 40
    queue.record_queued(jobs[25], 4.0)
    assert may_run(jobs) == 25 + MARGIN


def test_a_contradiction_releases_the_jobs_that_counted_as_queued():
    queue, jobs = queue_of(40)
    queue.record_queued(jobs[5], 1.0)
    queue.record_begun(jobs[20], 2.0, has_ended=False)
    assert may_run(jobs) == 21 + MARGIN
    queue.record_queued(jobs[5], 3.0)
    assert may_run(jobs) == 40


def test_a_job_of_an_earlier_run_shows_nothing_of_the_order():
    queue, jobs = queue_of(20)
    queue.record_begun(jobs[19], 1.0, has_ended=False)
    earlier = queue.jobs[queue.add(ServiceTime(), 1.0, math.inf, is_earlier=True)]
    assert earlier.due_at == 1.0
    queue.record_queued(earlier, 2.0)
    assert may_run(jobs) == 20
    queue.record_queued(jobs[17], 3.0)
    behind = queue.jobs[queue.add(ServiceTime(20.0), 4.0, math.inf, is_earlier=False)]
    assert behind.begun_at == math.inf


@given(
    answers=st.lists(st.tuples(st.integers(0, 29), st.sampled_from(["queued", "running", "ended"])), max_size=60),
    expected_s=st.none() | st.floats(1e-3, 1e4),
)
def test_whatever_the_answers_the_first_jobs_may_run_and_none_is_due_too_soon(answers, expected_s):
    queue, jobs = queue_of(30, expected_s)
    for now, (number, answer) in enumerate(answers, start=1):
        job = jobs[number]
        if answer == "queued":
            queue.record_queued(job, float(now))
        else:
            queue.record_begun(job, float(now), has_ended=answer == "ended")
        assert job.begun_at <= now or answer != "queued"
        assert any(other.begun_at < math.inf for other in jobs)
        assert all(other.due_at >= other.alive_at + SHORTEST_S for other in jobs)
