"""How long jobs take, learned from intervals: what the tables say before anything is seen, and what they come to."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.domain.service_times import Hazards, ServiceTimes

ages = st.floats(0, 1e6, allow_nan=False)
seen = st.lists(st.tuples(st.booleans(), ages, st.floats(0, 1e3)), max_size=40)


def told(hazards: Hazards, looks: list[tuple[bool, float, float]]) -> Hazards:
    for ended, from_s, longer_s in looks:
        (hazards.ended if ended else hazards.survived)(from_s, from_s + longer_s)
    return hazards


@given(expected_s=st.none() | st.floats(1e-3, 1e5), looks=seen, age_s=ages, more_s=st.floats(0, 1e5))
def test_whatever_was_seen_a_probability_is_one_and_grows_with_the_age(expected_s, looks, age_s, more_s):
    hazards = told(Hazards(expected_s), looks)
    sooner, later = hazards.done(age_s, age_s + more_s), hazards.done(age_s, age_s + 2 * more_s + 1)
    assert 0 <= sooner <= later <= 1


@given(expected_s=st.none() | st.floats(1e-3, 1e5), looks=seen, age_s=ages, hazard=st.floats(1e-3, 10))
def test_every_job_is_due_some_time_and_then_has_ended_as_likely_as_was_asked_for(expected_s, looks, age_s, hazard):
    hazards = told(Hazards(expected_s), looks)
    due_s = hazards.age_after(age_s, hazard)
    assert due_s >= age_s
    assert hazards.total(due_s) - hazards.total(age_s) == pytest.approx(hazard, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("announced_s", [None, 8.0, 24.0, 8 / 3])
@pytest.mark.parametrize("gap_s", [0.5, 2.0])
def test_after_a_few_dozen_ends_the_table_knows_the_median_whatever_was_announced(announced_s, gap_s):
    rng, hazards = random.Random(7), Hazards(announced_s)
    for _ in range(60):
        service_s, known_s, looked_s = 8 * rng.lognormvariate(0, 0.4), 0.0, rng.uniform(0, gap_s)
        while looked_s < service_s:
            hazards.survived(known_s, looked_s)
            known_s, looked_s = looked_s, looked_s + gap_s
        hazards.ended(known_s, looked_s)
    assert 0.3 < hazards.done(0.0, 8.0) < 0.7
    assert hazards.done(0.0, 2.0) < 0.15
    assert hazards.done(0.0, 24.0) > 0.9


def test_jobs_that_still_run_count_before_any_of_them_has_ended():
    quick, patient = Hazards(), Hazards()
    for hazards in (quick, patient):
        hazards.ended(0.0, 1.0)
    for _ in range(20):
        patient.survived(0.0, 60.0)
    assert patient.done(0.0, 1.0) < 0.1 < 0.5 < quick.done(0.0, 1.0)


def test_a_workflow_that_became_slower_is_known_as_such_in_the_end():
    hazards = Hazards(2.0)
    for _ in range(2000):
        hazards.ended(1.5, 2.5)
    for _ in range(1000):
        hazards.survived(0.0, 19.0)
        hazards.ended(19.0, 21.0)
    assert hazards.done(0.0, 10.0) < 0.2


def test_each_workflow_has_a_table_of_its_own_begun_from_its_own_estimate():
    times = ServiceTimes()
    times.announce("short", 2.0)
    times.announce("long", 60.0)
    times.announce("broken", -1.0)
    assert times.of("short") is times.of("short") is not times.of("long")
    assert times.of("short").done(0.0, 10.0) > 0.9 > 0.3 > times.of("long").done(0.0, 10.0)
    assert times.of("broken").expected_s is None
    assert times.since_accepted("short") is not times.of("short")
