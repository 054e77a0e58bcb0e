"""Wanted jobs become planned ones, or problems that say where and what else there is."""

from __future__ import annotations

import hashlib
import os
from decimal import Decimal
from pathlib import Path

import pytest

from crucible_batch.core.gateway_types import AssetSpec, Workflow
from crucible_batch.core.parameter_info import IMAGE_FIELDS, PROMPT_FIELDS, ParameterInfo
from crucible_batch.core.plan import PlannedJob, row_texts
from crucible_batch.errors import Problem
from tests.harness.planning import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk.with_photo(tmp_path)


def place(problem: Problem) -> tuple[int, int]:
    return problem.place.line, problem.place.column


# -- which parameter takes the prompt and the image

IMAGE_JOB = "jobs: [{name: a, prompt: hi, image: p.png}]\n"


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_first_of_ours_that_is_listed_is_taken_in_whatever_order(
    desk: Desk, rank: int, reverse: bool
) -> None:
    listed = [*PROMPT_FIELDS[rank:], *IMAGE_FIELDS[rank:], "seed"]
    desk.lists(*(reversed(listed) if reverse else listed))
    job = desk.job(IMAGE_JOB)
    assert job.params == {PROMPT_FIELDS[rank]: "hi"}
    assert list(job.images) == [IMAGE_FIELDS[rank]]
    assert job.prompt == "hi"


@pytest.mark.parametrize("fields", [None, ()])
def test_a_workflow_that_says_nothing_gets_the_usual_names(
    desk: Desk, fields: tuple[str, ...] | None
) -> None:
    desk.workflows["z"] = Workflow("z", fields)
    job = desk.job("jobs: [{name: a, prompt: hi, image: p.png, params: {anything: 1}}]")
    assert job.params == {"anything": 1, "prompt.text": "hi"}
    assert list(job.images) == ["image.image"]


def test_a_workflow_whose_metadata_could_not_be_read_does_too(desk: Desk) -> None:
    assert desk.job(IMAGE_JOB).params == {"prompt.text": "hi"}


FILLED = {"z": {"prompt": "prompt.value", "image": "image.value"}}


@pytest.mark.parametrize(
    "listed", [None, ("prompt.text", "prompt.value", "image.image", "image.value")]
)
def test_what_the_former_plan_filled_is_filled_again(
    desk: Desk, listed: tuple[str, ...] | None
) -> None:
    """The list is missing, or has a name that comes first: the job is the same, and not bought
    again.
    """
    before = desk.lists("prompt.value", "image.value").job(IMAGE_JOB)
    desk.workflows["z"] = Workflow("z", listed)
    assert desk.job(IMAGE_JOB).identity != before.identity
    desk.filled = FILLED
    assert desk.job(IMAGE_JOB).identity == before.identity


def test_what_is_no_longer_listed_is_not_filled_again(desk: Desk) -> None:
    desk.filled = FILLED
    job = desk.lists("prompt.text", "image.image").job(IMAGE_JOB)
    assert (job.params, list(job.images)) == ({"prompt.text": "hi"}, ["image.image"])


def test_fields_say_which_parameter_it_is(desk: Desk) -> None:
    desk.lists("prompt.text", "image.image", "caption", "photo")
    text = "workflows: {z: {fields: {prompt: caption, image: photo}}}\n" + IMAGE_JOB
    job = desk.job(text)
    assert job.params == {"caption": "hi"}
    assert list(job.images) == ["photo"]


def test_fields_that_are_not_listed_are_a_problem_with_the_nearest(desk: Desk) -> None:
    desk.lists("caption", "image")
    problem = desk.problem("workflows: {z: {fields: {prompt: captoin}}}\n" + IMAGE_JOB)
    assert "has no parameter 'captoin'" in problem.message
    assert problem.nearest == "caption"
    assert problem.place.line == 4


@pytest.mark.parametrize("source", ["prompt", "image"])
def test_none_listed_is_a_problem_that_names_fields(desk: Desk, source: str) -> None:
    desk.lists("text", "size", "prompt" if source == "image" else "image")
    problem = desk.problem(IMAGE_JOB)
    assert "does not list a parameter" in problem.message
    assert problem.field == f"jobs[0].{source}"
    assert problem.hint is not None
    assert f"workflows: {{z: {{fields: {{{source}: ...}}}}}}" in problem.hint
    assert "text, size" in problem.hint


# -- unknown and doubled parameters


def test_an_unknown_parameter_is_a_problem_at_its_key(desk: Desk) -> None:
    desk.lists("prompt", "guidance", "size.width")
    problem = desk.problem("jobs:\n  - name: a\n    prompt: hi\n    params:\n      guidence: 3\n")
    assert problem.message == "workflow 'z' has no parameter 'guidence'"
    assert problem.nearest == "guidance"
    assert problem.field == "jobs[0].params.guidence"
    assert place(problem) == (8, 7)
    assert problem.hint == "its parameters are prompt, guidance, size.width"


def test_an_unknown_parameter_of_the_defaults_has_its_place_there(desk: Desk) -> None:
    desk.lists("prompt", "guidance")
    problem = desk.problem("params:\n  guidence: 3\njobs: [{name: a, prompt: hi}]\n")
    assert problem.nearest == "guidance"
    assert place(problem) == (5, 3)
    assert problem.field == "params.guidence"


def test_an_unknown_parameter_of_a_workflows_defaults_has_its_place_there(desk: Desk) -> None:
    desk.lists("prompt", "guidance")
    problem = desk.problem(
        "workflows:\n  z:\n    params:\n      guidence: 3\njobs: [{name: a, prompt: hi}]\n"
    )
    assert place(problem) == (7, 7)
    assert problem.field == "workflows.z.params.guidence"


def test_a_value_that_the_metadata_does_not_allow_is_a_problem_at_its_key(desk: Desk) -> None:
    known = {"sampler.steps": ParameterInfo("integer", Decimal(1), Decimal(50))}
    desk.workflows["z"] = Workflow("z", ("prompt.text", "sampler.steps"), parameters=known)
    (problem,) = desk.problems("jobs:\n  - {name: a, prompt: hi, params: {sampler.steps: 80}}\n")
    assert problem.field == "jobs[0].params.sampler.steps"
    assert problem.message == "sampler.steps must be at most 50, got 80"
    assert place(problem)[0] == 5
    desk.workflows["z"] = Workflow("z", ("prompt.text", "sampler.steps"))
    assert (
        desk.job("jobs: [{name: a, prompt: hi, params: {sampler.steps: 80}}]").params[
            "sampler.steps"
        ]
        == 80
    )


def test_an_unknown_image_parameter_is_a_problem(desk: Desk) -> None:
    desk.lists("prompt", "mask.image")
    problem = desk.problem("jobs: [{name: a, prompt: hi, images: {mask.imag: p.png}}]")
    assert problem.nearest == "mask.image"
    assert problem.field == "jobs[0].images.mask.imag"


@pytest.mark.parametrize(
    ("job", "where", "name"),
    [
        ("prompt: hi, params: {prompt.text: ho}", "prompt", "prompt.text"),
        ("prompt: hi, image: p.png, images: {image.image: p.png}", "image", "image.image"),
        ("prompt: hi, image: p.png, params: {image.image: x}", "image", "image.image"),
        ("prompt: hi, images: {mask: p.png}, params: {mask: x}", "images.mask", "mask"),
    ],
)
def test_a_parameter_that_is_given_twice_is_a_problem(
    desk: Desk, job: str, where: str, name: str
) -> None:
    problem = desk.problem(f"jobs: [{{name: a, {job}}}]")
    assert f"sets {name!r}" in problem.message
    assert problem.field == f"jobs[0].{where}"


def test_all_problems_of_a_job_come_at_once_and_other_jobs_are_planned(desk: Desk) -> None:
    desk.lists("prompt", "size")
    text = "jobs:\n- {name: a, prompt: hi, params: {sise: 1, promt: 2}}\n- {name: b, prompt: ho}\n"
    items = desk.items(text)
    assert [item.nearest if isinstance(item, Problem) else item.name for item in items] == [
        "size",
        "prompt",
        "b",
    ]
    assert [item.position for item in items if isinstance(item, PlannedJob)] == [0]


def test_problems_of_the_expansion_go_through(desk: Desk) -> None:
    problem = desk.problem("jobs: [{name: a, prompt: hi, image: none.png}]")
    assert "none.png" in str(problem)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is empty"), (b"hello", "is not a valid image")]
)
def test_a_bad_image_is_a_problem_that_names_the_file(
    desk: Desk, content: bytes, words: str
) -> None:
    (desk.folder / "bad.png").write_bytes(content)
    problem = desk.problem("jobs:\n- name: a\n  prompt: hi\n  image: bad.png\n")
    assert f"bad.png {words}" in problem.message
    assert problem.field == "jobs[0].image"
    assert problem.place.line == 7


# -- duplicates

TWINS = "jobs:\n- {name: a, prompt: hi}\n- {name: b, prompt: hi}\n- {name: c, prompt: ho}\n"


def test_duplicates_are_a_problem_by_default(desk: Desk) -> None:
    problem = desk.problem(TWINS)
    assert "'b' is the same request as 'a'" in problem.message
    assert "manifest.yaml:5" in problem.message
    assert problem.place.line == 6
    assert problem.hint is not None
    assert "repeat: N" in problem.hint


def test_duplicates_name_their_rows(desk: Desk) -> None:
    (desk.folder / "t.csv").write_text("sku,prompt\na,hi\nb,ho\nc,hi\n")
    problem = desk.problem(
        "jobs:\n- {name: '{{ row.sku }}', prompt: '{{ row.prompt }}', foreach: t.csv}\n"
    )
    assert problem.message.startswith("'c' (row 3 of t.csv, line 4) is the same request as 'a' (")
    assert problem.message.endswith("manifest.yaml:5:3, row 1 of t.csv, line 2)")
    assert problem.row is not None
    assert problem.row.line == 4


def test_outputs_of_one_path_name_their_rows(desk: Desk) -> None:
    (desk.folder / "t.csv").write_text("workflow,sku\nw,v-a\nw-v,a\n")
    problem = desk.problem(
        "output: {path: '{workflow}-{name}-{index}{ext}'}\n"
        "jobs:\n"
        "- {name: '{{ row.sku }}', prompt: '{{ row.sku }}', "
        "workflow: '{{ row.workflow }}', foreach: t.csv}\n"
    )
    assert problem.message.startswith("'a' (row 2 of t.csv, line 3) and 'v-a' (")
    assert ":6:10, row 1 of t.csv, line 2) would write the same file" in problem.message


def test_duplicates_once_are_dropped(desk: Desk) -> None:
    jobs = desk.jobs("duplicates: once\n" + TWINS)
    assert [(job.name, job.position) for job in jobs] == [("a", 0), ("c", 1)]


def test_duplicates_each_are_jobs_of_their_own(desk: Desk) -> None:
    jobs = desk.jobs("duplicates: each\n" + TWINS)
    assert [job.name for job in jobs] == ["a", "b", "c"]
    assert len({job.identity for job in jobs}) == 3
    assert desk.jobs("duplicates: each\n" + TWINS) == jobs


def test_duplicates_each_go_around_repeats(desk: Desk) -> None:
    jobs = desk.jobs(
        "duplicates: each\n"
        "jobs: [{name: a, prompt: hi, repeat: 2}, {name: b, prompt: hi, repeat: 2}]"
    )
    assert len({job.identity for job in jobs}) == 4


def test_repeats_are_jobs_of_their_own_and_the_first_is_that_without(desk: Desk) -> None:
    once = desk.job("jobs: [{name: a, prompt: hi}]")
    thrice = desk.jobs("jobs: [{name: a, prompt: hi, repeat: 3}]")
    assert len({job.identity for job in thrice}) == 3
    assert thrice[0].identity == once.identity  # more of the same buys only what is new


# -- identities

BASE = "jobs: [{name: a, prompt: hi, image: p.png, params: {seed: 7}}, {name: b, prompt: ho}]\n"


def identities(jobs: list[PlannedJob]) -> set[str]:
    return {job.identity for job in jobs}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "jobs: [{name: x, prompt: hi, image: p.png, params: {seed: 7}}, {name: y, prompt: ho}]",
            id="rename",
        ),
        pytest.param(
            "jobs: [{name: b, prompt: ho}, {name: a, prompt: hi, image: p.png, params: {seed: 7}}]",
            id="reorder",
        ),
        pytest.param(
            "jobs: [{name: n, prompt: new}, {name: a, prompt: hi, image: p.png, params: {seed: 7}},"
            " {name: b, prompt: ho}]",
            id="insert",
        ),
        pytest.param(
            "budget: {credits: 99}\noutput: {path: 'o/{name}-{index}{ext}'}\n" + BASE,
            id="budget and output",
        ),
        pytest.param(BASE.replace("p.png", "copy.png"), id="the image moved"),
        pytest.param(BASE.replace("seed: 7", "seed: 7.0"), id="another way to write a number"),
        pytest.param(
            "vars: {x: hi}\njobs: [{name: a, prompt: '{{ x }}', image: p.png, params: {seed: 7}},"
            " {name: b, prompt: ho}]",
            id="a template that says the same",
        ),
    ],
)
def test_what_changes_no_picture_costs_nothing(desk: Desk, text: str) -> None:
    desk.photo("copy.png")
    assert identities(desk.jobs(BASE)) <= identities(desk.jobs(text))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(BASE.replace("seed: 7", "seed: 8"), id="a parameter"),
        pytest.param(BASE.replace("seed: 7", "seed: '7'"), id="its type"),
        pytest.param(BASE.replace("seed: 7", "seed: 7, more: null"), id="one more"),
        pytest.param(BASE.replace("prompt: hi", "prompt: 'hi '"), id="a blank in the prompt"),
        pytest.param(BASE.replace("p.png", "other.png"), id="the image's bytes"),
        pytest.param(
            BASE.replace("image: p.png", "images: {mask: p.png}"), id="the image's parameter"
        ),
        pytest.param(BASE.replace("{name: a,", "{name: a, workflow: y,"), id="the workflow"),
    ],
)
def test_whatever_changes_a_picture_is_a_new_job(desk: Desk, text: str) -> None:
    desk.photo("other.png", "red")
    before, after = desk.jobs(BASE), desk.jobs(text)
    assert before[0].identity != after[0].identity
    assert before[1].identity == after[1].identity


@pytest.mark.parametrize("change", [{"run_id": "nightly"}, {"name": "other"}])
def test_another_run_id_or_manifest_name_buys_again(desk: Desk, change: dict[str, str]) -> None:
    assert not identities(desk.jobs(BASE)) & identities(desk.jobs(BASE, **change))


# -- all of it


def test_a_planned_job_holds_all_that_it_needs(desk: Desk) -> None:
    content = (desk.folder / "p.png").read_bytes()
    job = desk.job(
        "jobs: [{name: a, prompt: '{{ s }} hi', image: p.png, "
        "matrix: {s: [noir]}, params: {seed: 7}}]"
    )
    assert (job.position, job.name, job.workflow_id, job.prompt) == (0, "a-noir", "z", "noir hi")
    assert job.params == {"seed": 7, "prompt.text": "noir hi"}
    assert dict(job.axes) == {"s": "noir"}
    assert (job.repeat, job.output) == (1, "a-noir/{index}{ext}")
    spec = AssetSpec(hashlib.sha256(content).hexdigest(), len(content), "image/png", "p.png")
    assert job.images["image.image"].spec == spec
    assert job.digests == (spec.sha256,)


def test_a_job_has_the_values_of_its_row_whether_a_template_uses_them_or_not(desk: Desk) -> None:
    (desk.folder / "t.csv").write_text('sku,season,words\na1,spring,"two\nlines"\nb2,,x\n')
    jobs = desk.jobs(
        "jobs: [{name: '{{ row.sku }}', prompt: hi, foreach: t.csv, matrix: {s: [x, y]}}]\n"
        "duplicates: each\n"
    )
    assert [dict(job.row) for job in jobs] == [
        {"sku": "a1", "season": "spring", "words": "two lines"},
        {"sku": "a1", "season": "spring", "words": "two lines"},
        {"sku": "b2", "season": "", "words": "x"},
        {"sku": "b2", "season": "", "words": "x"},
    ]
    assert desk.job("jobs: [{name: a, prompt: hi}]").row == {}


def test_the_values_of_a_row_are_text_without_control_characters_and_bounded() -> None:
    bell, turned = "a\x07b\x1b[31mc", "\u202egnp.exe"
    cells = {
        bell: turned,
        "list": [1, {"a": "ä"}],
        "null": None,
        "yes": True,
        "number": 2**64,
        "long": "x" * 5000,
    }
    assert row_texts(cells) == {
        "abc": "gnp.exe", "list": '[1, {"a": "ä"}]', "null": "", "yes": "true",
        "number": str(2**64), "long": "x" * 199 + "…",
    }  # fmt: skip
    assert row_texts({"n" * 81: "left out", "\x00": "unnamed", "kept": "y"}) == {"kept": "y"}
    wide = row_texts({f"column-{number}": "x" * 200 for number in range(1000)})
    assert list(wide) == [f"column-{number}" for number in range(9)]


def test_a_file_name_that_is_no_text_is_a_problem_and_no_crash(desk: Desk) -> None:
    """Such a name can't be journalled: it has no form in UTF-8."""
    (desk.folder / "in").mkdir()
    name = os.fsencode(desk.folder / "in") + b"/\xff.png"
    Path(os.fsdecode(name)).write_bytes((desk.folder / "p.png").read_bytes())
    items = desk.items(
        "jobs: [{name: a, prompt: hi, foreach: 'in/*.png', image: '{{ row.path }}'}]"
    )
    assert items
    assert all(isinstance(item, Problem) for item in items), items


def test_a_job_knows_its_entry(desk: Desk) -> None:
    jobs = "jobs: [{name: a, prompt: hi, repeat: 2}, {name: b, prompt: ho}]\n"
    assert [job.entry for job in desk.jobs(jobs)] == [0, 0, 1]
