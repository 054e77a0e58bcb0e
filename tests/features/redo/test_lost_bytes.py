"""Rejections of bytes that can't be had any more: the generation of the line decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crucible_batch.core.attempt import Attempt
from crucible_batch.core.events import Event, Saved
from crucible_batch.core.identity import job_identity, of_generation
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.features.redo.generations import NextGenerations, fixed_seed
from crucible_batch.features.redo.rejections import Rejection, Rejections
from crucible_batch.planner import Planner
from tests.harness.case_table import each_case
from tests.harness.job_events import saved_event
from tests.harness.replacing import replace

CONTENT = job_identity(manifest="m", run_id="r", workflow_id="w", params={}, images={}, repeat=1)
HERO = PlannedJob(0, CONTENT, "hero", "w", {})
DIGITS = "3fa9c1d2e4b5"
LINE = Rejection("hero", 0, 0, DIGITS)
PLANNER = Planner(manifest_name="m", run_id="r", duplicates="error", workflows={}, read_image=str)


class Past:
    """A journal with jobs and events."""

    def __init__(self, *jobs: Job, events: tuple[tuple[str, Event], ...] = ()) -> None:
        self.jobs = {job.identity: job for job in jobs}
        self.past = events

    def known(self, identity: str) -> Any:
        job = self.jobs.get(identity)
        return None if job is None else (replace(HERO, identity=identity), job, False)

    def events(self) -> Iterator[tuple[str, Event]]:
        return iter(self.past)


def generation(journal: Any) -> int:
    generations = NextGenerations(None, Rejections([LINE], {"hero"}), 3, journal)
    generations.begin(PLANNER)
    taken = generations.take(HERO)
    assert taken is not None
    assert taken.obstacle is None
    return taken.generation


FOUND = Attempt(number=1, key="key", held_at=0.0, reused=True)
GONE = Job(CONTENT, phase=Phase.VANISHED, attempts=(FOUND,))
BOUGHT_HERE = replace(GONE, attempts=(replace(FOUND, reused=False),))
SAME: Saved = saved_event(0, "hero/0.png", sha256=DIGITS + "0" * 52)


@each_case(
    "journal, expected",
    [
        (None, 0),
        (Past(), 0),
        (Past(Job(CONTENT)), 0),
        (Past(Job(CONTENT, phase=Phase.IN_FLIGHT)), 0),
        # It is not known whether these bytes were the rejected ones; they may come later.
        (Past(Job(CONTENT, phase=Phase.UNAVAILABLE)), 0),
        (Past(GONE), 1),
        # It never had outputs that somebody could have rejected.
        (Past(BOUGHT_HERE), 0),
        # The line is about a job with this name before it was changed.
        (Past(GONE, events=(("another", SAME),)), 0),
        (Past(GONE, events=((of_generation(CONTENT, 1), SAME),)), 1),
    ],
)
def test_the_generation_decides_only_if_the_job_is_gone(journal: Any, expected: int) -> None:
    assert generation(journal) == expected


@each_case(
    "params, found",
    [
        ({"seed": 7}, "seed"),
        ({"sampler.seed": 7}, "sampler.seed"),
        ({"seed.value": 7}, "seed.value"),
        ({"Seed": 7}, "Seed"),
        ({"seeds": 7, "reseed": True, "prompt.text": "seed"}, None),
        ({}, None),
    ],
)
def test_a_fixed_seed_is_a_parameter_with_this_part(
    params: dict[str, object], found: str | None
) -> None:
    assert fixed_seed(replace(HERO, params=params)) == found


def test_a_seed_that_follows_from_the_identity_is_not_fixed() -> None:
    marked = replace(HERO, params={"sampler.seed": 7}, markers={"sampler.seed": "derived"})
    assert fixed_seed(marked) is None
    other = replace(marked, params={"sampler.seed": 7, "refiner.seed": 1})
    assert fixed_seed(other) == "refiner.seed"
