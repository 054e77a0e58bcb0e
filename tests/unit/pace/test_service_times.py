"""How long jobs take, learned from intervals: from the workflow's estimate to what polls show."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.pace.polls import ServiceTime, ServiceTimes
from tests.harness.case_table import each_case

ages = st.floats(0, 1e6, allow_nan=False)


@given(
    expected_s=st.floats(1e-3, 1e5),
    intervals=st.lists(st.tuples(ages, ages).map(sorted), max_size=40),
)
def test_the_typical_time_stays_within_what_was_estimated_and_observed(expected_s, intervals):
    service = ServiceTime(expected_s)
    for shortest_s, longest_s in intervals:
        service.record(shortest_s, longest_s)
    known = [expected_s / 2, *(time for interval in intervals for time in interval)]
    assert service.typical_s is not None
    assert min(known) * (1 - 1e-9) <= service.typical_s <= max(known) * (1 + 1e-9)


@each_case("announced_s", [None, 8.0, 24.0, 8 / 3])
@each_case("gap_s", [0.5, 2.0])
def test_after_a_few_dozen_ends_the_mean_is_known_whatever_was_announced(announced_s, gap_s):
    rng, service = random.Random(7), ServiceTime(announced_s)
    for _ in range(60):
        service_s, known_s, polled_s = rng.uniform(4, 12), 0.0, rng.uniform(0, gap_s)
        while polled_s < service_s:
            known_s, polled_s = polled_s, polled_s + gap_s
        service.record(known_s, polled_s)
    assert service.typical_s == pytest.approx(8, rel=0.1)


def test_a_workflow_that_became_slower_is_known_as_such_in_the_end():
    service = ServiceTime(2.0)
    for _ in range(2000):
        service.record(1.5, 2.5)
    for _ in range(200):
        service.record(19.0, 21.0)
    assert service.typical_s == pytest.approx(20, rel=0.1)


def test_each_workflow_has_a_time_of_its_own_from_its_own_estimate():
    times = ServiceTimes()
    times.announce("short", 2.0)
    times.announce("short", 3.0)
    times.announce("long", 60.0)
    times.announce("broken", -1.0)
    times.announce("silent", None)
    assert times.of("short") is times.of("short")
    known = {name: times.of(name).typical_s for name in ("short", "long", "broken", "silent")}
    assert known == {"short": 1.0, "long": 30.0, "broken": None, "silent": None}
