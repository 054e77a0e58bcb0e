"""Where outputs go is planned: what would collide on some disk, or with what the run keeps for
itself, is a problem.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.planning import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk.with_photo(tmp_path)


@pytest.mark.parametrize("workflow", ["z", "Z", "ｚ"])
def test_paths_that_collide_on_some_disks_are_a_problem_with_both_names(
    desk: Desk, workflow: str
) -> None:
    text = (
        "output: {path: '{workflow}{name}{ext}'}\n"
        "jobs:\n- {name: ab, prompt: hi}\n"
        f"- {{name: b, prompt: ho, workflow: {workflow}a}}\n"
    )
    problem = desk.problem(text)
    assert "'b' and 'ab'" in problem.message
    assert "manifest.yaml:6:" in problem.message
    assert "would write the same file" in problem.message
    assert (problem.field, problem.place.line) == ("jobs[1].name", 7)


@pytest.mark.parametrize(
    ("pattern", "first", "second"),
    [
        ("{name}{ext}", "a", "a-1"),
        ("{name}{ext}", "a-1", "a"),
        ("{name}{ext}", "Hero-12", "hero"),
        ("{name}{ext}", "a-1", "a-1-2"),
        ("all/{workflow}/{name}.png", "a", "a-1"),
        ("{name}", "a.png", "a-1.png"),
    ],
)
def test_without_an_index_a_name_that_a_later_output_may_get_is_a_problem(
    desk: Desk, pattern: str, first: str, second: str
) -> None:
    text = (
        f"output: {{path: '{pattern}'}}\njobs:\n"
        f"- {{name: {first}, prompt: hi}}\n- {{name: {second}, prompt: ho}}\n"
    )
    problem = desk.problem(text)
    assert f"{second!r} and {first!r}" in problem.message
    assert "manifest.yaml:6:" in problem.message
    assert (problem.field, problem.place.line) == ("jobs[1].name", 7)
    assert problem.hint == "add {index} to output.path"
    assert len(desk.jobs(text.replace("{name}", "{name}/{index}"))) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [("a", "a-01"), ("a", "a-0"), ("a", "a-b"), ("a", "a1"), ("a-1", "a-2"), ("a", "a-1-1")],
)
def test_without_an_index_other_names_go_together(desk: Desk, first: str, second: str) -> None:
    text = (
        "output: {path: '{name}{ext}'}\n"
        f"jobs: [{{name: {first}, prompt: hi}}, {{name: {second}, prompt: ho}}]"
    )
    assert [job.name for job in desk.jobs(text)] == [first, second]


@pytest.mark.parametrize("name", ["report.json", "Report.JSON", "thumbnails", "report.html"])
def test_names_that_the_run_keeps_for_itself_are_a_problem(desk: Desk, name: str) -> None:
    problem = desk.problem(f"jobs: [{{name: {name}, prompt: hi}}]")
    assert "is reserved for the run's own files" in problem.message
    assert problem.field == "jobs[0].name"


@pytest.mark.parametrize(
    "pattern", ["{name}", "{workflow}/{index}/{name}", "{name}.json", "{name}.JSON"]
)
def test_an_output_where_a_sidecar_may_stand_is_a_problem(desk: Desk, pattern: str) -> None:
    """`a.json` would stand where the sidecar of an output `a` does."""
    name = "a" if pattern.lower().endswith(".json") else "a.json"
    problem = desk.problem(f"output: {{path: '{pattern}'}}\njobs: [{{name: {name}, prompt: hi}}]")
    assert "ends in .json" in problem.message
    assert problem.hint == "end output.path with {ext}"
    assert desk.job(f"output: {{path: '{pattern}{{ext}}'}}\njobs: [{{name: {name}, prompt: hi}}]")


@pytest.mark.parametrize("name", ["report", "REPORT"])
def test_an_output_whose_sidecar_would_be_a_file_of_the_runs_own_is_a_problem(
    desk: Desk, name: str
) -> None:
    problem = desk.problem(f"output: {{path: '{{name}}'}}\njobs: [{{name: {name}, prompt: hi}}]")
    assert "would have the sidecar report.json" in problem.message
    assert desk.job(f"output: {{path: 'all/{{name}}'}}\njobs: [{{name: {name}, prompt: hi}}]")


def test_reserved_names_are_free_further_down(desk: Desk) -> None:
    text = "output: {path: 'all/{name}/{index}{ext}'}\njobs: [{name: report.json, prompt: hi}]"
    assert desk.job(text).output == "all/report.json/{index}{ext}"
