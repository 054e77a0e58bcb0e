"""Output paths are a pattern that stays within the run directory and keeps jobs apart."""

from __future__ import annotations

from typing import Any

from tests.harness.case_table import each_case


@each_case(
    "path, message, nearest",
    [
        ("'{nmae}/{index}{ext}'", "unknown field {nmae}", "name"),
        ("'{index}{ext}'", "must contain {name}", None),
        ("'{name}{index}{ext}'", "needs a separator between {name} and {index}", None),
        ("'../{name}{ext}'", "could lead out of the run directory", None),
        ("'/tmp/{name}{ext}'", "must be relative", None),
        ("'a/../{name}'", "could lead out of the run directory", None),
        ("'a//{name}'", "could lead out of the run directory", None),
        ("'{name}/'", "could lead out of the run directory", None),
        ("'./{name}'", "could lead out of the run directory", None),
        ("'a\\{name}'", "separate folders with /", None),
        ("'C:{name}'", "some file systems do not support", None),
        ("'{name}?{ext}'", "some file systems do not support", None),
        ("'{name'", "an unmatched brace", None),
        ("'{}-{name}'", "unknown field {}", None),
        ("'.hidden/{name}'", "begins with .", None),
        ("'{name}. /x'", "ends with a dot or a space", None),
        ("'{name}{ext}.bak'", "must have {ext} at its end", None),
        (f"'{'a' * 101}{{name}}'", "more than 100 bytes", None),
        (f"'{'a/' * 150}{{name}}'", "longer than 255 bytes", None),
        ('"{name}\\u202e{ext}"', "control character", None),
        ('"{name}\\t"', "control character", None),
    ],
)
def test_output_paths_that_are_refused(
    folder: Any, path: str, message: str, nearest: str | None
) -> None:
    problems = folder.problems(f"jobs: [{{name: a}}]\noutput:\n  path: {path}\n")
    (problem,) = [problem for problem in problems if message in problem.message]
    assert (problem.place.line, problem.place.column, problem.field) == (6, 9, "output.path")
    assert problem.nearest == nearest


@each_case(
    "path, filled",
    [
        ("{name}/{index}{ext}", "a/{index}{ext}"),
        ("{name}{ext}", "a{ext}"),
        ("{workflow}/{name}-{index}{ext}", "z/a-{index}{ext}"),
        ("all/{index}-{name}{ext}", "all/{index}-a{ext}"),
        ("con-{name}/console/aux{index}{ext}", "con-a/console/aux{index}{ext}"),
        ("{name}", "a"),
    ],
)
def test_output_paths_are_filled_but_for_index_and_ext(folder: Any, path: str, filled: str) -> None:
    assert folder.job(f"jobs: [{{name: a}}]\noutput: {{path: '{path}'}}").output_pattern == filled


def test_a_workflow_id_is_safe_in_a_path(folder: Any) -> None:
    job = folder.job("jobs: [{name: a, workflow: '../x/CON'}]\noutput: {path: '{workflow}/{name}'}")
    assert "/" not in job.output_pattern.removesuffix("/a")
    assert not job.output_pattern.startswith(".")


def test_a_part_of_a_path_that_grows_too_long_is_a_problem(folder: Any) -> None:
    text = (
        f"jobs: [{{name: {'n' * 120}, workflow: {'w' * 120}}}]\n"
        "output: {path: '{workflow}-{name}{ext}'}"
    )
    assert "is too long with the job name" in folder.problem(text).message
