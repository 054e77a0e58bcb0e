"""An argument that can't be meant is refused by its name, before anything happens."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch import plan, run, validate
from crucible_batch.errors import UserError
from crucible_batch.features.registry import kind_of, plan_kind_of
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import run_request
from tests.harness.case_table import each_case

WRONG: list[tuple[str, Any]] = [
    ("concurrency", 0),
    ("concurrency", -1),
    ("concurrency", "fast"),
    ("concurrency", float("nan")),
    ("polls_per_s", 0),
    ("polls_per_s", float("nan")),
    ("job_timeout_s", 0),
    ("job_timeout_s", float("nan")),
    ("deadline_s", -1),
    ("deadline_s", 0),
    ("key_ttl_s", -1),
    ("max_output_bytes", 0),
    ("max_pixels", 0),
    ("max_pixels", 178_956_971),
    ("max_pixels", float("nan")),
    ("budget", "-1"),
    ("budget", "x"),
    ("budget", 0.1),
    ("budget", "NaN"),
]


@each_case("name, value", WRONG)
def test_a_run_refuses_an_argument_by_its_name_and_reads_nothing(
    tmp_path: Path, name: str, value: Any
) -> None:
    with pytest.raises(UserError, match=f"^{name}") as caught:
        asyncio.run(run(tmp_path / "missing.yaml", **{name: value}))
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_all_arguments_that_are_wrong_are_named_at_once() -> None:
    with pytest.raises(UserError, match=r"concurrency.*; job_timeout_s.*; deadline_s.*; key_ttl_s"):
        asyncio.run(
            run("missing.yaml", concurrency=0, job_timeout_s=-1, deadline_s=-1, key_ttl_s=-0.5)
        )


async def run_of(request: RunRequest) -> object:
    return await run_request(request, kind_of)


async def plan_of(request: RunRequest) -> object:
    return await plan_request(request, plan_kind_of)


@each_case("function", [run_of, plan_of])
@each_case("budget", ["1e-19", "1e12", "-1", "NaN"])
def test_a_budget_that_would_make_the_journal_unreadable_is_refused(
    function: Any, budget: str
) -> None:
    with pytest.raises(UserError, match=r"^budget: "):
        asyncio.run(function(RunRequest(Path("missing.yaml"), budget=Decimal(budget))))


def test_a_plan_refuses_a_budget_by_its_name() -> None:
    with pytest.raises(UserError, match=r"^budget: "):
        asyncio.run(plan("missing.yaml", budget="ten"))


@each_case("wrong", [0, -1, float("nan")])
def test_a_plan_refuses_a_deadline_that_is_over(wrong: float) -> None:
    with pytest.raises(UserError, match=r"^deadline_s must be more than 0"):
        asyncio.run(plan("missing.yaml", deadline_s=wrong))


@each_case("name", ["max_job", "plan", "job_filter", "retry_faild"])
@each_case("function", [run, plan, validate])
def test_an_argument_that_there_is_not_is_refused_as_python_does(function: Any, name: str) -> None:
    with pytest.raises(
        TypeError, match=rf"{function.__name__}\(\) got an unexpected keyword argument '{name}'"
    ):
        asyncio.run(function("missing.yaml", **{name: None}))


@pytest.mark.parametrize("function", [plan, validate])
def test_a_plan_and_a_check_refuse_the_arguments_of_a_run_alone(function: Any) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'recover'"):
        asyncio.run(function("missing.yaml", recover=True))
