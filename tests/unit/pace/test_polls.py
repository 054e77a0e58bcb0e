"""Which job is polled, and when: never more than the rate, and each job again and again, whatever
the answers.
"""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible_batch.core.gateway_types import JobStatus
from crucible_batch.pace.polls import PollScheduler, ServiceTimes

SHORTEST_S, LONGEST_S, MARGIN = 0.05, 5.1, 4

QUEUED, RUNNING, SUCCEEDED, UNKNOWN = (
    JobStatus.QUEUED,
    JobStatus.RUNNING,
    JobStatus.SUCCEEDED,
    JobStatus.UNKNOWN,
)


def scheduler_of(
    expected_s: float | None = None, polls_per_s: float | None = None
) -> PollScheduler:
    times = ServiceTimes()
    times.announce("w", expected_s)
    return PollScheduler(times, polls_per_s)


def added(scheduler: PollScheduler, count: int, now: float = 0.0, **options: bool) -> list[int]:
    return [scheduler.add("w", now, timeout_s=1e9, **options) for _ in range(count)]


def polled(
    scheduler: PollScheduler, until: float, answer, now: float = 0.0
) -> list[tuple[float, int]]:
    """Poll whenever it is time, up to a moment; ``answer(ticket, now)`` is what each poll finds."""
    taken = []
    while (at := scheduler.next_at(now)) <= until:
        now = max(now, at)
        ticket = scheduler.take(now)
        if ticket is not None:
            taken.append((now, ticket))
            scheduler.record(ticket, answer(ticket, now), now)
    return taken


def in_turn(runners: int, service_s: float):
    """What a gateway answers that runs so many at once, in the order of their tickets, each for so
    long."""

    def answer(ticket: int, now: float) -> JobStatus:
        begins = ticket // runners * service_s
        return QUEUED if now < begins else RUNNING if now < begins + service_s else SUCCEEDED

    return answer


@settings(max_examples=25, deadline=None)
@given(
    statuses=st.lists(st.sampled_from(list(JobStatus)), min_size=1, max_size=30),
    count=st.integers(1, 30),
    cap=st.none() | st.sampled_from([0.5, 4.0, 40.0]),
    expected_s=st.none() | st.floats(0.01, 100),
)
def test_whatever_a_gateway_answers_the_polls_keep_to_their_rate_and_every_job_gets_some(
    statuses, count, cap, expected_s
):
    scheduler = scheduler_of(expected_s, cap)
    added(scheduler, count)
    said = itertools.cycle(statuses)
    taken = polled(scheduler, 200.0, lambda _ticket, _now: next(said))
    fastest = cap or count / SHORTEST_S
    for earlier, later in ((0, 10), (5, 50), (0, len(taken) - 1)):
        if later < len(taken):
            passed = taken[later][0] - taken[earlier][0]
            assert later - earlier <= fastest * (passed + SHORTEST_S) + 3
    if cap != 0.5:
        assert {ticket for _, ticket in taken} == set(range(count))


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 40),
    status=st.sampled_from([QUEUED, RUNNING, UNKNOWN]),
    expected_s=st.floats(0.1, 1000),
)
def test_no_job_is_ever_left_alone_for_long(count, status, expected_s):
    scheduler = scheduler_of(expected_s)
    added(scheduler, count)
    taken = polled(scheduler, 1000.0, lambda _ticket, _now: status)
    for ticket in range(count):
        times = [0.0, *(at for at, seen in taken if seen == ticket), 1000.0]
        assert (
            max(later - earlier for earlier, later in itertools.pairwise(times)) <= 30 * LONGEST_S
        )


def test_a_lone_job_of_a_workflow_that_says_nothing_is_polled_at_ages_that_double():
    scheduler = scheduler_of()
    added(scheduler, 1)
    times = [at for at, _ in polled(scheduler, 10.0, lambda _ticket, _now: RUNNING)]
    assert times[:4] == pytest.approx([0.05, 0.1, 0.2, 0.4])


def test_where_jobs_take_no_time_they_are_seen_after_fifty_milliseconds_with_one_poll_each():
    scheduler = scheduler_of()
    now = 0.0
    for _ in range(10):
        added(scheduler, 64, now)
        seen = polled(scheduler, now + 0.3, lambda _ticket, _now: SUCCEEDED, now)
        assert seen[0][0] == pytest.approx(now + 0.05)
        assert len(seen) == 64
        assert len(scheduler) == 0
        now += 0.3


def test_jobs_that_must_still_be_queued_are_hardly_polled():
    scheduler = scheduler_of(8.0, 4.0)
    tickets = added(scheduler, 500)
    taken = polled(scheduler, 100.0, in_turn(20, 8.0))
    begun = 20 * math.ceil(100 / 8)
    ahead = [ticket for at, ticket in taken if ticket >= 20 * (1 + at // 8)]
    assert len(ahead) < len(taken) / 4
    assert len(scheduler) <= len(tickets) - begun + 60


def test_a_lone_job_whose_estimate_is_far_too_long_is_polled_anyway():
    scheduler = scheduler_of(36000.0)
    added(scheduler, 1)
    assert len(polled(scheduler, 301.0, lambda _ticket, _now: RUNNING)) == 10


def test_of_several_due_jobs_the_one_longest_known_to_be_alive_is_polled_first():
    scheduler = scheduler_of(8.0, 1.0)
    tickets = [added(scheduler, 1, at)[0] for at in (0.0, 0.1, 0.2)]
    order = [
        ticket
        for at, ticket in polled(scheduler, 40.0, lambda _ticket, _now: RUNNING, 10.0)
        if at > 12
    ]
    for index in range(0, 15, 3):
        assert sorted(order[index : index + 3]) == tickets


def test_a_job_of_an_earlier_run_is_polled_at_once_and_teaches_nothing():
    times = ServiceTimes()
    scheduler = PollScheduler(times)
    (ticket,) = added(scheduler, 1, 5.0, is_due_now=True)
    assert scheduler.next_at(5.0) <= 5.0
    assert scheduler.take(5.0) == ticket
    scheduler.record(ticket, SUCCEEDED, 5.2)
    assert times.of("w").typical_s is None
    assert len(scheduler) == 0


def test_a_job_is_polled_when_its_timeout_comes():
    scheduler = scheduler_of(1000.0)
    added(scheduler, 8)
    late = scheduler.add("w", 0.0, timeout_s=42.0)
    taken = polled(scheduler, 60.0, lambda _ticket, _now: RUNNING)
    assert any(42 <= at <= 43 for at, ticket in taken if ticket == late)


def test_a_job_that_nobody_waits_for_is_never_due():
    scheduler = scheduler_of(1.0)
    (ticket,) = added(scheduler, 1)
    scheduler.remove(ticket)
    scheduler.remove(ticket)
    assert scheduler.next_at(0.0) == math.inf


def test_a_job_that_hangs_for_hours_is_not_polled_like_the_quick_ones():
    scheduler = scheduler_of()
    hangs, *_ = added(scheduler, 5)
    taken = polled(
        scheduler, 3600.0, lambda ticket, _now: RUNNING if ticket == hangs else SUCCEEDED
    )
    assert len([at for at, ticket in taken if ticket == hangs and at > 600]) < 3000 / 4


def test_a_poll_out_of_turn_counts_in_the_rate_that_was_given() -> None:
    scheduler = PollScheduler(ServiceTimes(), 2.0)
    assert [scheduler.reserve(10.0), scheduler.reserve(10.0), scheduler.reserve(10.0)] == [
        10.0,
        10.5,
        11.0,
    ]
    scheduler.add("w", 10.0, timeout_s=60.0, is_due_now=True)
    assert scheduler.take(11.0) is None
    assert scheduler.take(11.5) is not None
    assert PollScheduler(ServiceTimes()).reserve(10.0) == 10.0


def test_a_queued_job_is_polled_though_all_those_before_it_are_lost():
    """No answer tells then that its turn has come, and the timeout of a job may be a day."""
    scheduler = scheduler_of()
    tickets = added(scheduler, 6)
    scheduler.record(tickets[0], QUEUED, 1.0)
    for ticket in tickets[:-1]:
        scheduler.remove(ticket)
    assert polled(scheduler, 100.0, lambda _ticket, _now: SUCCEEDED, now=1.0)


def queue_of(count: int) -> tuple[PollScheduler, list[int]]:
    scheduler = scheduler_of(20.0)
    return scheduler, added(scheduler, count)


def may_run(scheduler: PollScheduler) -> int:
    """Return how many may be running; they are the first."""
    flags = [job.begun_at < math.inf for job in scheduler._jobs.values()]
    assert flags == sorted(flags, reverse=True)
    return sum(flags)


def test_the_jobs_behind_a_queued_one_are_not_due_but_for_a_margin():
    scheduler, tickets = queue_of(20)
    assert may_run(scheduler) == 20
    scheduler.record(tickets[5], QUEUED, 3.0)
    assert may_run(scheduler) == 5 + MARGIN
    added(scheduler, 1, 4.0)
    jobs = list(scheduler._jobs.values())
    assert {job.due_at for job in jobs[5 + MARGIN :]} == {1e9, 1e9 + 4}  # their timeouts
    assert (jobs[4].begun_at, jobs[5].begun_at) == (0.0, 3.0)


def test_each_end_lets_one_more_job_begin():
    scheduler, tickets = queue_of(20)
    scheduler.record(tickets[5], QUEUED, 3.0)
    for ended in range(3):
        begins = scheduler._jobs[tickets[5 + MARGIN + ended]]
        scheduler.record(tickets[ended], SUCCEEDED, 4.0 + ended)
        assert may_run(scheduler) == 5 + MARGIN
        assert begins.begun_at == 4.0 + ended


def test_a_running_job_shows_that_those_before_it_have_begun():
    scheduler, tickets = queue_of(40)
    scheduler.record(tickets[5], QUEUED, 3.0)
    scheduler.record(tickets[20], RUNNING, 4.0)
    assert may_run(scheduler) == 21 + MARGIN


def test_a_job_found_running_does_not_count_as_queued_when_one_shortly_before_it_is():
    scheduler, tickets = queue_of(20)
    scheduler.record(tickets[8], RUNNING, 2.0)
    scheduler.record(tickets[5], QUEUED, 3.0)
    assert scheduler._jobs[tickets[8]].begun_at == 0.0
    assert may_run(scheduler) == 5 + MARGIN


def test_after_a_contradiction_all_jobs_may_be_running_until_enough_answers_agree():
    scheduler, tickets = queue_of(40)
    scheduler.record(tickets[5], QUEUED, 1.0)
    scheduler.record(tickets[20], RUNNING, 2.0)
    assert may_run(scheduler) == 21 + MARGIN
    scheduler.record(tickets[5], QUEUED, 3.0)
    assert may_run(scheduler) == 40
    for _ in range(15):
        scheduler.record(tickets[25], QUEUED, 4.0)
        assert may_run(scheduler) == 40
    scheduler.record(tickets[25], QUEUED, 4.0)
    assert may_run(scheduler) == 25 + MARGIN


def test_a_job_of_an_earlier_run_shows_nothing_of_the_order():
    scheduler, tickets = queue_of(20)
    scheduler.record(tickets[19], RUNNING, 1.0)
    (earlier,) = added(scheduler, 1, 1.0, is_due_now=True)
    scheduler.record(earlier, QUEUED, 2.0)
    assert may_run(scheduler) == 21
