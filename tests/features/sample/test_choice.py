"""Which jobs the options choose, and what follows from that for the jobs made from others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from crucible_batch.core.plan import PlannedJob, SourceOutput
from crucible_batch.errors import UserError
from crucible_batch.features.sample.run_options import SampleOptions
from crucible_batch.journal import PlanFile
from crucible_batch.runs.chosen_jobs import with_choice
from crucible_batch.runs.request import JobFilter, RunRequest, check_request
from tests.harness.case_table import each_case

HEX = "0123456789abcdef"


def job(name: str, source: str | None = None, *, digest: str = "") -> PlannedJob:
    made_from = None if source is None else SourceOutput(source, 0, f"{source}.png", "0" * 64)
    identity = (digest or f"{Random(name).randrange(16**64):x}").ljust(64, "0")
    return PlannedJob(0, identity, name, "w", {}, source=made_from)


def jobs(*names: str) -> list[PlannedJob]:
    return [job(name) for name in names]


MANY = jobs(*(f"job-{number}" for number in range(100)))


def chosen(options: SampleOptions, among: Sequence[PlannedJob]) -> set[str]:
    found = options.chosen(iter(among))
    assert found is not None
    return set(found)


def test_a_sample_has_the_smallest_identities_in_whatever_order_the_jobs_are() -> None:
    shuffled = Random(7).sample(MANY, len(MANY))
    smallest = {each.name for each in sorted(MANY, key=lambda each: each.identity)[:10]}
    assert chosen(SampleOptions(sample=10), MANY) == smallest
    assert chosen(SampleOptions(sample=10), shuffled) == smallest


def test_a_larger_sample_contains_the_smaller_one_and_all_jobs_at_the_end() -> None:
    samples = [chosen(SampleOptions(sample=number), MANY) for number in range(1, 102)]
    assert all(small < large for small, large in pairwise(samples[:100]))
    assert samples[100] == samples[99] == {each.name for each in MANY}


def test_a_new_job_takes_at_most_one_place_of_a_sample() -> None:
    before = chosen(SampleOptions(sample=10), MANY)
    after = chosen(SampleOptions(sample=10), [*MANY, *jobs("another")])
    assert len(before - after) <= 1


def test_the_first_jobs_are_those_of_the_manifest() -> None:
    assert chosen(SampleOptions(first=3), MANY) == {"job-0", "job-1", "job-2"}


def test_without_a_number_nothing_is_chosen() -> None:
    assert SampleOptions().chosen(iter(MANY)) is None


@each_case(
    "options, fault",
    [
        (SampleOptions(first=0), "first must be at least 1, or None, not 0"),
        (SampleOptions(sample=-1), "sample must be at least 1, or None, not -1"),
        (
            SampleOptions(first="3"),  # type: ignore[arg-type]
            "first must be at least 1, or None, not '3'",
        ),
        (SampleOptions(first=1, sample=1), "first and sample exclude each other"),
    ],
)
def test_impossible_numbers_are_refused(options: SampleOptions, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        check_request(RunRequest(Path("m.yaml"), features=(options,)))


# -- what is made from others


@pytest.fixture
def draft() -> Iterator[PlanFile]:
    with PlanFile.temporary() as plan:
        yield plan


def left_out(draft: PlanFile, planned: Sequence[PlannedJob], request: RunRequest) -> set[str]:
    draft.fill(replace(each, position=at) for at, each in enumerate(planned))
    return set(with_choice(request, draft).left_out)


CHAIN = [
    job("a", digest="2"),
    job("b", digest="1"),
    job("c", digest="3"),
    job("big-a", "a", digest="01"),
    job("big-c", "c", digest="02"),
    job("edit-big-c", "big-c", digest="03"),
]


def request_for(options: SampleOptions, *only: str) -> RunRequest:
    return RunRequest(Path("m.yaml"), only=only, features=(options,))


def test_what_is_made_from_a_job_follows_it_and_takes_no_place(draft: PlanFile) -> None:
    found = left_out(draft, CHAIN, request_for(SampleOptions(sample=2)))
    assert found == {"c", "big-c", "edit-big-c"}


def test_the_choice_is_among_the_jobs_that_only_has_left(draft: PlanFile) -> None:
    request = request_for(SampleOptions(first=1), "c", "*-c")
    found = left_out(draft, CHAIN, request)
    assert found == set()
    chosen_of_two = with_choice(request_for(SampleOptions(first=1), "a", "c"), draft)
    takes = chosen_of_two.job_filter.takes
    assert [each.name for each in CHAIN if takes(each.name, each.source_name)] == ["a"]


def test_made_jobs_are_chosen_among_if_only_leaves_out_their_sources(draft: PlanFile) -> None:
    found = left_out(draft, CHAIN, request_for(SampleOptions(sample=1), "big-*"))
    assert found == {"big-c", "edit-big-c"}


def test_a_job_that_is_added_during_the_run_follows_its_source() -> None:
    takes = JobFilter(left_out=frozenset({"c"})).takes
    assert takes("big-a", "a")
    assert not takes("big-c", "c")
    assert not takes("c")


def test_the_choice_is_made_anew_when_the_jobs_are_planned_again(draft: PlanFile) -> None:
    request = request_for(SampleOptions(first=1))
    once = replace(request, left_out=frozenset({"a"}))
    assert left_out(draft, CHAIN, once) == {"b", "c", "big-c", "edit-big-c"}
