"""The seed of a job is a pure function of its content, and which parameter it fills."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from crucible_batch.core.filled_fields import filled_fields
from crucible_batch.core.gateway_types import Workflow
from crucible_batch.core.identity import job_identity, of_generation
from crucible_batch.core.parameter_info import ParameterInfo
from crucible_batch.core.plan_diff import field_changes
from crucible_batch.core.prices import shape_of
from crucible_batch.errors import ManifestError
from crucible_batch.features.seeds.rule import MARKER, derived_seed, seed_parameters
from tests.harness.case_table import each_case
from tests.harness.planning import Desk
from tests.harness.replacing import replace


@each_case(
    "identity, generation, seed",
    [
        ("0" * 64, 0, 1746158758),
        ("f" * 64, 0, 1804847976),
        ("0123456789abcdef" * 4, 0, 190964531),
        ("0" * 64, 1, 1729826935),
        ("0" * 64, 2, 878528795),
    ],
)
def test_seeds_never_change(identity: str, generation: int, seed: int) -> None:
    """Golden vectors: with another function, no picture could be made again."""
    assert derived_seed(identity, generation) == seed


def test_the_function_can_be_written_down_in_a_line() -> None:
    identity = "ab" * 32
    digest = hashlib.sha256(f"seed:{identity}:g3".encode()).hexdigest()
    assert derived_seed(identity, 3) == int(digest, 16) >> (256 - 31)


def test_seeds_are_below_2_to_the_31_and_differ() -> None:
    seeds = {derived_seed(f"{number:064x}") for number in range(2000)}
    assert len(seeds) == 2000
    assert min(seeds) >= 0
    assert 2**30 < max(seeds) < 2**31


@each_case(
    "listed, found",
    [
        (["prompt.text", "seed"], ["seed"]),
        (["sampler.seed", "sampler.steps"], ["sampler.seed"]),
        (["Seed.value"], ["Seed.value"]),
        (["noise_seed", "size.width"], ["noise_seed"]),
        (["sampler.seed", "seed_mode"], ["sampler.seed"]),
        (["seed", "refiner.seed"], ["seed", "refiner.seed"]),
        (["noise_seed", "seed_mode"], ["noise_seed", "seed_mode"]),
        (["seeds", "seedling", "proceed"], []),
    ],
)
def test_a_parameter_is_a_seed_by_its_name(listed: Sequence[str], found: Sequence[str]) -> None:
    assert seed_parameters(listed) == found


# -- jobs

JOB = "{name: a, prompt: hi}"
DERIVED = f"seeds: derived\njobs: [{JOB}]\n"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk.with_photo(tmp_path).lists("prompt.text", "sampler.seed", "sampler.steps")


def test_the_seed_follows_from_an_identity_that_has_a_marker_in_its_place(desk: Desk) -> None:
    job = desk.job(DERIVED)
    assert job.identity == job_identity(
        manifest="test",
        run_id="default",
        workflow_id="z",
        params={"prompt.text": "hi", "sampler.seed": MARKER},
        images={},
        repeat=1,
    )
    assert job.params == {"prompt.text": "hi", "sampler.seed": derived_seed(job.identity)}
    assert job.markers == {"sampler.seed": MARKER}


def test_without_the_key_nothing_is_filled(desk: Desk) -> None:
    job = desk.job(f"jobs: [{JOB}]\n")
    assert (job.params, job.markers) == ({"prompt.text": "hi"}, {})


def test_every_repeat_and_combination_has_a_seed_of_its_own(desk: Desk) -> None:
    jobs = desk.jobs(
        "seeds: derived\njobs: [{name: a, prompt: '{{ n }}', repeat: 3, matrix: {n: [x, y]}}]\n"
    )
    more = desk.jobs("seeds: derived\nduplicates: each\njobs: [{name: a, prompt: hi}, "
                     "{name: b, prompt: hi}]\n")  # fmt: skip
    assert len({job.params["sampler.seed"] for job in [*jobs, *more]}) == 8
    assert all(job.params["sampler.seed"] == derived_seed(job.identity) for job in [*jobs, *more])


def test_another_generation_is_sent_with_another_seed_and_nothing_else(desk: Desk) -> None:
    for manifest in (DERIVED, f"params: {{sampler.seed: 7}}\njobs: [{JOB}]\n"):
        job = desk.job(manifest)
        assert desk.planner.of_generation(job, 0) == job
        again = desk.planner.of_generation(job, 2)
        seed = derived_seed(job.identity, 2) if job.markers else 7
        params = {"prompt.text": "hi", "sampler.seed": seed}
        assert again == replace(job, identity=of_generation(job.identity, 2), params=params)
        assert desk.planner.of_generation(again, 0) == job


def test_a_renamed_job_keeps_its_seed(desk: Desk) -> None:
    assert desk.job(DERIVED).params == desk.job(DERIVED.replace("name: a", "name: b")).params


def test_jobs_that_differ_in_their_seeds_only_have_one_price(desk: Desk) -> None:
    field = "seeds: {field: sampler.steps}\n"
    jobs = desk.jobs(f"{field}jobs: [{{name: a, prompt: hi, repeat: 2}}]\n")
    assert jobs[0].params != jobs[1].params
    assert shape_of(jobs[0]) == shape_of(jobs[1])


def test_a_changed_prompt_is_the_only_change_that_is_shown(desk: Desk) -> None:
    before, now = desk.job(DERIVED), desk.job(DERIVED.replace("hi", "ho"))
    assert before.params["sampler.seed"] != now.params["sampler.seed"]
    assert [change.field for change in field_changes(before, now)] == ["prompt.text"]


def test_an_entry_may_have_seeds_of_its_own(desk: Desk) -> None:
    jobs = desk.jobs(
        "seeds: derived\njobs: [{name: a, prompt: hi}, "
        "{name: b, prompt: hi, seeds: none, params: {sampler.seed: 7}}, "
        "{name: c, prompt: ho, seeds: {field: sampler.steps}}]\n"
    )
    assert [sorted(job.markers) for job in jobs] == [["sampler.seed"], [], ["sampler.steps"]]
    assert jobs[1].params["sampler.seed"] == 7
    alone = desk.jobs(f"jobs: [{JOB}, {{name: b, prompt: ho, seeds: derived}}]\n")
    assert [sorted(job.markers) for job in alone] == [[], ["sampler.seed"]]


# -- which parameter


def test_the_named_parameter_is_filled_where_several_are_listed(desk: Desk) -> None:
    desk.lists("prompt.text", "sampler.seed", "refiner.seed")
    (problem,) = desk.problems(DERIVED)
    assert problem.message == "workflow 'z' has several seeds: sampler.seed, refiner.seed"
    assert "seeds: {field: ...}" in (problem.hint or "")
    assert (problem.place.line, problem.place.column) == (4, 8)
    job = desk.job(DERIVED.replace("derived", "{field: refiner.seed}"))
    assert set(job.markers) == {"refiner.seed"}


def test_a_workflow_without_a_seed_is_an_error_with_what_it_has(desk: Desk) -> None:
    desk.lists("prompt.text", "sampler.steps")
    (problem,) = desk.problems(DERIVED)
    assert problem.message == "workflow 'z' lists no seed, only prompt.text, sampler.steps"
    (problem,) = desk.problems(DERIVED.replace("derived", "{field: noise}"))
    assert problem.message == "workflow 'z' has no parameter 'noise'"


@pytest.mark.parametrize("fields", [None, ()])
def test_a_workflow_that_lists_nothing_needs_the_name(
    desk: Desk, fields: tuple[str, ...] | None
) -> None:
    desk.workflows["z"] = Workflow("z", fields)
    (problem,) = desk.problems(DERIVED)
    assert problem.message == (
        "workflow 'z' does not list its parameters, so its seed is not known"
    )
    assert set(desk.job(DERIVED.replace("derived", "{field: noise}")).markers) == {"noise"}


def test_the_seed_stays_where_it_was_whatever_the_workflow_lists_later(desk: Desk) -> None:
    before = desk.job(DERIVED)
    desk.filled = {"z": dict(filled_fields([before])["z"])}
    desk.workflows["z"] = Workflow("z", None)
    assert desk.job(DERIVED) == before
    desk.lists("prompt.text", "sampler.seed", "refiner.seed")
    assert desk.job(DERIVED) == before
    del desk.workflows["z"]
    assert desk.job(DERIVED) == before
    desk.lists("prompt.text", "refiner.seed")
    assert set(desk.job(DERIVED).markers) == {"refiner.seed"}


def test_the_name_in_one_entry_does_not_move_the_seeds_of_another(desk: Desk) -> None:
    """Otherwise these would be other jobs in the second run, and bought again."""
    text = (
        "seeds: derived\njobs: [{name: a, prompt: hi, seeds: {field: sampler.steps}}, "
        "{name: b, prompt: hi}]\n"
    )
    before = desk.jobs(text)
    assert [sorted(job.markers) for job in before] == [["sampler.steps"], ["sampler.seed"]]
    desk.filled = {"z": dict(filled_fields(before)["z"])}
    assert desk.jobs(text) == before


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_seed_of_the_params_is_an_error_with_both_places(desk: Desk, is_listed: bool) -> None:
    if not is_listed:
        del desk.workflows["z"]
    text = "seeds: derived\nparams: {sampler.seed: 7}\njobs: [{name: a, prompt: hi}]\n"
    (problem,) = desk.problems(text)
    assert problem.field == "params.sampler.seed"
    assert problem.place.line == 5
    assert "which `seeds` fills (" in problem.message
    assert problem.message.endswith("manifest.yaml:4:8)")


def test_without_the_workflow_a_parameter_that_may_be_none_of_its_seeds_is_no_error(
    desk: Desk,
) -> None:
    del desk.workflows["z"]
    job = desk.job("seeds: derived\njobs: [{name: a, prompt: hi, params: {seed_mode: fix}}]\n")
    assert job.markers == {}


def test_a_workflow_that_takes_no_such_number_is_an_error(desk: Desk) -> None:
    facts = {"sampler.seed": ParameterInfo(kind="integer", maximum=Decimal(9))}
    desk.workflows["z"] = Workflow("z", ("prompt.text", "sampler.seed"), parameters=facts)
    (problem,) = desk.problems(DERIVED)
    assert problem.message.startswith("sampler.seed must be at most 9, got ")
    assert problem.place.line == 4


@each_case("value", ["random", "{fild: x}", "{field: ''}", "{field: 1}", "[derived]", "7", "''"])
def test_other_values_are_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="must be derived, none, or the parameter"):
        Desk(tmp_path).items(DERIVED.replace("derived", value))
