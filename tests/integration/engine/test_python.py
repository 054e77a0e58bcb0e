"""What programs use: manifests as values, runs without an event loop, and jobs as they end."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import ExitCode, ManifestError, UserError
from crucible_batch.manifest import VALUE_PATH, load_manifest
from crucible_batch.manifest.value import written

SHORT_JOBS = True


def value(jobs: int = 2, **more: object) -> dict[str, object]:
    return {
        "version": 1,
        "name": "lamps",
        "workflow": "zimage-base",
        "params": {"size.width": 64, "size.height": 64},
        "budget": {"credits": Decimal("20.00"), "max_credits_per_job": 2},
        "jobs": [{"name": "lamp", "prompt": "lamp {{ repeat }}", "repeat": jobs}],
        **more,
    }


async def test_a_manifest_may_be_a_value(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its paths are relative to the working directory, and an equal value continues the run."""
    async with start() as bench:
        monkeypatch.chdir(bench.path)
        bench.picture("c.png")
        edit = {"name": "edit", "prompt": "p", "workflow": "qwen-edit", "image": Path("c.png")}
        first = await api.run(value(jobs=1), settings=bench.settings, html=False)
        second = await api.run(value(jobs=1), settings=bench.settings, html=False)
        manifest, count = api.validate(value())
        edited = await api.run(
            value(name="edits") | {"jobs": [edit]}, settings=bench.settings, html=False
        )
        read = await api.run(manifest, settings=bench.settings, run_id="read", html=False)
        summary = await api.plan(value(jobs=3), settings=bench.settings)
        state = await bench.state()
    assert (first.ok, second.ok, edited.ok, read.ok) == (True, True, True, True)
    assert first.run_dir == second.run_dir == Path("outputs/lamps/default")
    assert (count, summary.states) == (2, {"done": 1, "new": 2})
    assert state["requests"]["generate"] == 1 + 1 + 2
    assert first.report.manifest.path == str(VALUE_PATH)


async def test_the_paths_of_outputs_are_absolute_in_python_alone(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        monkeypatch.chdir(bench.path)
        result = await api.run(value(), settings=bench.settings, html=False)
    paths = [output.path for job in result.jobs() for output in job.outputs]
    assert [path.is_absolute() and path.is_file() for path in paths] == [True, True]
    report = json.loads((result.run_dir / "report.json").read_text(encoding="utf-8"))
    stored = [output["path"] for job in report["jobs"] for output in job["outputs"]]
    assert [bench.path / "outputs/lamps/default" / path for path in stored] == paths
    assert [job.outputs[0].path for job in api.read_status(result.run_dir).jobs()] == paths


@pytest.mark.parametrize(
    ("manifest", "error", "why"),
    [
        (value(name=object()), UserError, "YAML does not know"),
        ({"version": 1, "name": "x", "jobs": 3}, ManifestError, "jobs"),
        (api.validate(value())[0], UserError, "options for reading it"),
    ],
    ids=["object", "form", "variables"],
)
async def test_a_value_that_is_no_manifest_is_refused(
    manifest: Any, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        await api.run(
            manifest, variables={"a": "b"} if isinstance(manifest, api.Manifest) else None
        )


async def test_the_plan_of_a_value_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a saved plan"):
        await api.plan(value(), save_to=tmp_path / "plan.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "1e5",
        "2026-01-01",
        "a: b # c",
        "\u2028\x85\ufeff\x7f",
        "😀",
        " two\n lines\n",
        "{{ x }}",
        "",
        "~",
    ],
)
def test_a_text_in_a_value_is_the_text_that_is_read(text: str) -> None:
    content = written(
        {**value(), "vars": {"x": text, "n": [1e16, 1e-7, 2**70, True, None, Decimal("1.10")]}}
    )
    found = load_manifest(VALUE_PATH, content=content).vars
    assert found == {"x": text, "n": [1e16, 1e-7, 2**70, True, None, 1.1]}


async def test_jobs_come_as_they_end_and_each_once(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest('{name: a, prompt: "{{ repeat }}", repeat: 3}')
        await bench.run(manifest, only=["a-1"])
        jobs = api.run_jobs(
            manifest, out_dir=bench.path / "out", settings=bench.settings, html=False
        )
        seen = [(job.name, job.status, jobs.result is None) async for job in jobs]
    assert sorted(seen) == [
        ("a-1", "succeeded", False),
        ("a-2", "succeeded", True),
        ("a-3", "succeeded", True),
    ]
    assert jobs.result is not None
    assert jobs.result.ok


async def test_a_loop_that_is_left_stops_the_run_in_good_order(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest('{name: a, prompt: "{{ repeat }}", repeat: 40}')
        jobs = api.run_jobs(
            manifest, out_dir=bench.path / "out", settings=bench.settings, concurrency=1, html=False
        )
        async with aclosing(aiter(jobs)) as each:
            first = await anext(each)
        assert jobs.result is not None
        state = await bench.agree(jobs.result)
    assert (first.status, jobs.result.exit_code) == ("succeeded", ExitCode.SIGINT)
    assert 1 <= state["requests"]["generate"] < 40


async def test_an_error_before_the_run_comes_out_of_the_loop(tmp_path: Path) -> None:
    jobs = aiter(api.run_jobs(tmp_path / "missing.yaml"))
    with pytest.raises(ManifestError):
        await anext(jobs)


def test_a_program_without_an_event_loop_is_refused_alike(tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        api.run_sync(tmp_path / "missing.yaml")


async def test_in_an_event_loop_there_is_another_function(tmp_path: Path) -> None:
    await asyncio.sleep(0)
    with (
        pytest.warns(RuntimeWarning, match="never awaited"),
        pytest.raises(RuntimeError, match="event loop"),
    ):
        api.run_sync(tmp_path / "missing.yaml")


def test_the_package_logs_nothing_by_itself() -> None:
    assert any(
        isinstance(handler, logging.NullHandler)
        for handler in logging.getLogger("crucible_batch").handlers
    )
