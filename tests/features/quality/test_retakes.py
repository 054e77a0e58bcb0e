"""What a check rejects is bought again before the command ends, within the budget and
``redo.max``."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.features.quality import retakes
from crucible_batch.features.quality.retakes import run_with_retakes
from crucible_batch.runs.request import RunRequest

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SIX = '{name: heron, prompt: "a heron {{ repeat }}", repeat: 6}'
REJECT = "checks: {blank: reject}\n"


async def bought(bench: Any) -> int:
    return len((await bench.state())["jobs"])


async def test_rejected_outputs_are_bought_again_by_the_same_command(drawn: Any) -> None:
    async with drawn(faults="black=2") as bench:
        manifest = bench.manifest(SIX, head=REJECT)
        result = await bench.run(manifest, budget=30)
        assert (result.exit_code, await bought(bench)) == (0, 8)
        await bench.agree(result)
        rows = result.jobs()
        assert sorted(row.generation for row in rows) == [0, 0, 0, 0, 1, 1]
        assert not any(output.checks for row in rows for output in row.outputs)
        again = await bench.run(manifest, budget=30)
        assert (again.exit_code, await bought(bench)) == (0, 8)


@pytest.mark.parametrize("most", [0, 1, 2])
async def test_no_more_often_than_the_manifest_says(drawn: Any, most: int) -> None:
    """The same command says that the jobs are blocked: the next one would buy nothing."""
    async with drawn(faults="black:1") as bench:
        manifest = bench.manifest(SIX, head=f"{REJECT}redo: {{max: {most}}}\n")
        result = await bench.run(manifest, budget=100)
        assert (result.exit_code, await bought(bench)) == (1, 6 * (most + 1))
        assert [row.error.code for row in result.jobs() if row.error] == ["REDO_LIMIT"] * 6
        await bench.agree(result)
        again = await bench.run(manifest, budget=100)
        assert (again.exit_code, await bought(bench)) == (1, 6 * (most + 1))


async def test_after_a_saved_plan_the_manifest_buys_what_its_plan_can_not(drawn: Any) -> None:
    from crucible_batch.features.quality.next_command import next_command

    async with drawn(faults="black=2") as bench:
        manifest = bench.manifest(SIX, head=REJECT)
        plan = bench.path / "plan.json"
        out = bench.path / "out"
        await api.plan(manifest, save_to=plan, settings=bench.settings, out_dir=out, budget=30)
        result = await bench.run(plan, out_dir=None)
        assert (result.exit_code, await bought(bench)) == (0, 6)
        command = next_command(result.run_dir, result.report, f"crucible-batch run {plan}")
        assert command is not None
        words = shlex.split(command)
        assert words[:3] == ["crucible-batch", "run", str(manifest)]
        budget = words[words.index("--budget") + 1]
        again = await bench.run(manifest, budget=int(budget))
        assert (again.exit_code, await bought(bench)) == (0, 8)


async def test_no_more_than_the_budget(drawn: Any) -> None:
    async with drawn(faults="black:1") as bench:
        result = await bench.run(bench.manifest(SIX, head=REJECT), budget=16)
        assert (result.exit_code, await bought(bench)) == (4, 8)
        await bench.agree(result)


async def test_without_a_budget_the_next_run_buys_them(drawn: Any) -> None:
    async with drawn(faults="black=2") as bench:
        manifest = bench.manifest(SIX, head=REJECT, budget=None)
        result = await bench.run(manifest, yes=True)
        assert result.report.credits.budget is None
        assert await bought(bench) == 6


async def test_a_stream_has_each_job_once(drawn: Any) -> None:
    async with drawn(faults="black=2") as bench:
        manifest = bench.manifest(SIX, head=REJECT)
        jobs = api.run_jobs(
            manifest, budget=30, settings=bench.settings, out_dir=bench.path / "out"
        )
        names = [job.name async for job in jobs]
    assert sorted(names) == [f"heron-{number}" for number in range(1, 7)]


async def test_a_picture_that_a_person_accepts_needs_no_next_command(drawn: Any) -> None:
    from crucible_batch.features.quality.next_command import next_command

    async with drawn(faults="black=1") as bench:
        manifest = bench.manifest(SIX, head=REJECT, budget=None)
        result = await bench.run(manifest, yes=True)
        assert next_command(result.run_dir, result.report, "again") == "again"
        (result.run_dir / "rejects.txt").write_text("")
        accepted = await bench.run(manifest, yes=True)
        assert accepted.report.checks is not None
        assert accepted.report.checks.rejected == 1
        assert next_command(accepted.run_dir, accepted.report, "again") is None


async def test_each_time_is_the_same_run_within_the_same_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run id may have the date in it, and a night ends after midnight."""
    manifest = tmp_path / "night.yaml"
    manifest.write_text(
        "version: 1\nname: night\nworkflow: w\nrun_id: '{{ date }}'\ndeadline: 100s\n"
        "redo: {max: 5}\njobs: [{name: a, prompt: a, repeat: 2}]\n"
    )
    rejected = iter([2, 2, 1, 0])
    monkeypatch.setattr(retakes, "_rejected", lambda _result: next(rejected))
    times = iter([0.0, 30.0, 70.0])
    monkeypatch.setattr(retakes, "monotonic", lambda: next(times))
    seen: list[RunRequest] = []

    async def run(request: RunRequest, *_kind: Any, **_named: Any) -> Any:
        seen.append(request)
        report = SimpleNamespace(run_id="2026-11-30", scheduled_at="2026-11-30T03:15:00Z")
        return SimpleNamespace(report=report, number=len(seen))

    result: Any = await run_with_retakes(run, RunRequest(manifest), None)
    assert result.number == len(seen) == 3
    assert [request.run_id for request in seen[1:]] == ["2026-11-30"] * 2
    when = datetime(2026, 11, 30, 3, 15, tzinfo=UTC)
    assert [request.scheduled_at for request in seen[1:]] == [when] * 2
    assert [request.deadline_s for request in seen] == [None, 70.0, 30.0]
