"""Whose turn it is to be looked at: never more than the rate, never one for ever unseen, whatever the answers."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible_batch.domain.gateway_types import JobStatus
from crucible_batch.domain.poll_scheduler import LONGEST_S, SHORTEST_S, PollScheduler
from crucible_batch.domain.service_times import ServiceTimes

QUEUED, RUNNING, SUCCEEDED, UNKNOWN = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.UNKNOWN


def looks_of(expected_s: float | None = None, polls_per_s: float | None = None) -> PollScheduler:
    times = ServiceTimes()
    times.announce("w", expected_s)
    return PollScheduler(times, polls_per_s)


def opened(looks: PollScheduler, count: int, now: float = 0.0, **options: bool) -> list[int]:
    return [looks.opened("w", now, timeout_s=1e9, **options) for _ in range(count)]


def followed(looks: PollScheduler, until: float, answer, now: float = 0.0) -> list[tuple[float, int]]:
    """Look whenever it is time, up to a moment; ``answer(ticket, now)`` is what each look finds."""
    taken = []
    while (at := looks.next_at(now)) <= until:
        now = max(now, at)
        ticket = looks.take(now)
        if ticket is not None:
            taken.append((now, ticket))
            looks.saw(ticket, answer(ticket, now), now)
    return taken


def in_turn(runners: int, service_s: float):
    """What a gateway answers that runs so many at once, in the order of their tickets, each for so long."""

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
def test_whatever_a_gateway_answers_the_looks_keep_to_their_rate_and_every_job_gets_some(
    statuses, count, cap, expected_s
):
    looks = looks_of(expected_s, cap)
    opened(looks, count)
    said = itertools.cycle(statuses)
    taken = followed(looks, 200.0, lambda _ticket, _now: next(said))
    fastest = cap or count / SHORTEST_S
    for earlier, later in ((0, 10), (5, 50), (0, len(taken) - 1)):
        if later < len(taken):
            passed = taken[later][0] - taken[earlier][0]
            assert later - earlier <= fastest * (passed + SHORTEST_S) + 3
    if cap != 0.5:
        assert {ticket for _, ticket in taken} == set(range(count))


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 40), status=st.sampled_from([QUEUED, RUNNING, UNKNOWN]), expected_s=st.floats(0.1, 1000))
def test_no_job_is_ever_left_alone_for_long(count, status, expected_s):
    looks = looks_of(expected_s)
    opened(looks, count)
    taken = followed(looks, 1000.0, lambda _ticket, _now: status)
    for ticket in range(count):
        times = [0.0, *(at for at, seen in taken if seen == ticket), 1000.0]
        assert max(later - earlier for earlier, later in itertools.pairwise(times)) <= 30 * LONGEST_S


def test_a_lone_job_of_a_workflow_that_says_nothing_is_looked_at_at_ages_that_double():
    looks = looks_of()
    opened(looks, 1)
    times = [at for at, _ in followed(looks, 10.0, lambda _ticket, _now: RUNNING)]
    assert times[:4] == pytest.approx([0.05, 0.1, 0.2, 0.4])


def test_where_jobs_take_no_time_they_are_seen_after_fifty_milliseconds_with_one_look_each():
    looks = looks_of()
    now = 0.0
    for _ in range(10):
        opened(looks, 64, now)
        seen = followed(looks, now + 0.3, lambda _ticket, _now: SUCCEEDED, now)
        assert seen[0][0] == pytest.approx(now + 0.05)
        assert len(seen) == 64
        assert len(looks) == 0
        now += 0.3


def test_jobs_that_must_still_be_queued_are_hardly_looked_at():
    looks = looks_of(8.0, 4.0)
    tickets = opened(looks, 500)
    taken = followed(looks, 100.0, in_turn(20, 8.0))
    begun = 20 * math.ceil(100 / 8)
    ahead = [ticket for at, ticket in taken if ticket >= 20 * (1 + at // 8)]
    assert len(ahead) < len(taken) / 4
    assert len(looks) <= len(tickets) - begun + 60


def test_how_many_run_at_once_is_found_out():
    looks = looks_of(8.0)
    opened(looks, 60)
    assert looks.runners is None
    followed(looks, 20.0, in_turn(20, 8.0))
    assert looks.runners == pytest.approx(20, abs=4)


def test_where_no_job_is_ever_queued_nothing_is_said_of_runners():
    looks = looks_of(8.0)
    opened(looks, 40)
    followed(looks, 7.0, lambda _ticket, _now: RUNNING)
    assert looks.runners is None


def test_where_later_jobs_overtake_earlier_ones_the_line_is_not_trusted():
    looks = looks_of(8.0)
    opened(looks, 60)
    followed(looks, 200.0, lambda ticket, _now: QUEUED if ticket % 3 else RUNNING)
    assert looks.runners is None


def test_a_job_of_an_earlier_run_is_looked_at_at_once_and_teaches_nothing():
    times = ServiceTimes()
    looks = PollScheduler(times)
    (ticket,) = opened(looks, 1, 5.0, look_at_once=True)
    assert looks.next_at(5.0) <= 5.0
    assert looks.take(5.0) == ticket
    looks.saw(ticket, SUCCEEDED, 5.2)
    assert times.of("w").seen == 0
    assert len(looks) == 0


def test_a_job_is_looked_at_when_its_timeout_comes():
    looks = looks_of(1000.0)
    opened(looks, 8)
    late = looks.opened("w", 0.0, timeout_s=42.0)
    taken = followed(looks, 60.0, lambda _ticket, _now: RUNNING)
    assert any(42 <= at <= 43 for at, ticket in taken if ticket == late)


def test_a_job_that_nobody_waits_for_is_never_due():
    looks = looks_of(1.0)
    (ticket,) = opened(looks, 1)
    looks.closed(ticket)
    looks.closed(ticket)
    assert looks.next_at(0.0) == math.inf


def test_a_job_that_hangs_for_hours_is_not_polled_like_the_quick_ones():
    looks = looks_of()
    hangs, *_ = opened(looks, 5)
    taken = followed(looks, 3600.0, lambda ticket, _now: RUNNING if ticket == hangs else SUCCEEDED)
    assert len([at for at, ticket in taken if ticket == hangs and at > 600]) < 3000 / 4


def test_a_look_out_of_turn_counts_in_the_rate_that_was_given() -> None:
    looks = PollScheduler(ServiceTimes(), 2.0)
    assert [looks.reserve(10.0), looks.reserve(10.0), looks.reserve(10.0)] == [10.0, 10.5, 11.0]
    looks.opened("w", 10.0, timeout_s=60.0, look_at_once=True)
    assert looks.take(11.0) is None
    assert looks.take(11.5) is not None
    assert PollScheduler(ServiceTimes()).reserve(10.0) == 10.0
