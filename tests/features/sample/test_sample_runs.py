"""Runs of a few jobs, and of all jobs after them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import ExitCode, StalePlanError, UserError
from crucible_batch.runs.request import _options_of
from crucible_batch.saved_plan import read_saved_plan

SHORT_JOBS = True

FOXES = '{name: "fox-{{ n }}", prompt: "fox {{ n }}", matrix: {n: [1, 2, 3, 4, 5, 6]}}'


async def bought(bench: Any) -> int:
    return len((await bench.state())["jobs"])


def succeeded(result: api.RunResult) -> set[str]:
    return {row.name for row in result.jobs() if row.status == "succeeded"}


async def test_a_sample_is_bought_then_a_larger_one_then_all_jobs(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(FOXES)
        two = await bench.run(manifest, sample=2)
        assert (two.exit_code, await bought(bench)) == (ExitCode.OK, 2)
        few = succeeded(two)
        again = await bench.run(manifest, sample=2)
        assert (succeeded(again), await bought(bench)) == (few, 2)
        three = await bench.run(manifest, sample=3)
        assert (len(succeeded(three)), await bought(bench)) == (3, 3)
        assert few < succeeded(three)
        entire = await bench.run(manifest)
        assert (entire.exit_code, await bought(bench)) == (ExitCode.OK, 6)
        await bench.agree(entire)
    assert two.report.all_jobs is not None
    assert entire.report.all_jobs is None
    each = two.report.credits.spent / 2
    assert two.report.all_jobs.credits == 6 * each == entire.report.credits.spent
    assert two.report.all_jobs.more_credits == 4 * each
    assert two.report.all_jobs.jobs == 6
    assert (two.report.all_jobs.more_seconds or 0) > 0


async def test_the_first_jobs_are_bought_and_only_failures_among_them_count(start: Any) -> None:
    jobs = f"{FOXES}\n{{name: bad, prompt: nsfw}}"
    async with start() as bench:
        manifest = bench.manifest(jobs)
        result = await bench.run(manifest, first=2)
        assert result.exit_code is ExitCode.OK
        assert succeeded(result) == {"fox-1", "fox-2"}
        assert await bought(bench) == 2
        assert (await bench.run(manifest, only=["bad", "fox-1"], first=1)).exit_code is ExitCode.OK
        assert (await bench.run(manifest, only=["bad"], first=1)).exit_code is (
            ExitCode.SOME_FAILED
        )


async def test_only_images_of_the_sample_are_uploaded(start: Any) -> None:
    async with start() as bench:
        for number in range(4):
            bench.picture(f"{number}.png", f"#{number}0{number}0{number}0")
        jobs = (
            '{name: "edit-{{ n }}", prompt: x, image: "{{ n }}.png", workflow: qwen-edit,'
            " matrix: {n: [0, 1, 2, 3]}}"
        )
        result = await bench.run(bench.manifest(jobs), sample=1)
        state = await bench.agree(result)
        assert len(state["assets"]) == len(state["jobs"]) == 1
        assert result.report.all_jobs is not None
        spent = result.report.credits.spent
        assert result.report.all_jobs.more_credits == 3 * spent
        entire = await bench.run(bench.manifest(jobs))
        assert entire.report.credits.spent == 4 * spent


async def test_a_workflow_that_was_not_tried_has_no_price(start: Any) -> None:
    jobs = f"{FOXES}\n{{name: other, prompt: x, workflow: zimage-sheet}}"
    async with start() as bench:
        result = await bench.run(bench.manifest(jobs), first=1)
    entire = result.report.all_jobs
    assert entire is not None
    assert entire.jobs == 7
    assert entire.unknown_prices == ["zimage-sheet"]
    assert entire.more_credits == 5 * result.report.credits.spent


async def test_a_sample_after_the_loss_of_all_local_state_costs_nothing(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(FOXES)
        first = await bench.run(manifest, sample=2)
        second = await bench.run(manifest, sample=2, out_dir=bench.path / "other")
        assert (succeeded(first), await bought(bench)) == (succeeded(second), 2)
        assert second.report.credits.bought == 0
        # Nothing was bought, so no pace is known.
        assert second.report.all_jobs is not None
        assert second.report.all_jobs.more_seconds is None


async def test_a_plan_counts_the_sample_only(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(FOXES)
        plan = await api.plan(
            manifest, sample=2, settings=bench.settings, out_dir=bench.path / "out"
        )
    assert plan.total == 2
    assert "--sample 2: 2 of 6 jobs are planned" in plan.notes


async def test_a_saved_plan_fixes_the_sample(start: Any) -> None:
    async with start() as bench:
        manifest, saved = bench.manifest(FOXES), bench.path / "plan.json"

        async def plan(**options: Any) -> Any:
            return await api.plan(
                manifest,
                save_to=saved,
                settings=bench.settings,
                out_dir=bench.path / "out",
                **options,
            )

        await plan(sample=2)
        for options, words in [
            ({"sample": 3}, "made with: --sample 2"),
            ({"first": 2}, "made with: no --first"),
        ]:
            with pytest.raises(UserError, match=words):
                await bench.run(saved, out_dir=None, **options)
        assert await bought(bench) == 0
        ran = await bench.run(saved, out_dir=None, sample=2)
        assert (ran.exit_code, await bought(bench)) == (ExitCode.OK, 2)
        assert ran.remake is not None
        assert "--sample 2" in ran.remake
        await plan()
        with pytest.raises(UserError, match="made with: no --sample"):
            await bench.run(saved, out_dir=None, sample=2)
        await bench.run(saved, out_dir=None)
        assert await bought(bench) == 6


async def test_a_plan_whose_sample_would_have_other_jobs_now_is_refused(start: Any) -> None:
    async with start() as bench:
        saved = bench.path / "plan.json"
        bench.manifest(FOXES)
        await api.plan(
            bench.path / "m.yaml",
            sample=2,
            save_to=saved,
            settings=bench.settings,
            out_dir=bench.path / "out",
        )
        bench.manifest(FOXES.replace("fox {{ n }}", "wolf {{ n }}"))
        with pytest.raises(StalePlanError):
            await bench.run(saved, out_dir=None)
        assert await bought(bench) == 0


async def test_a_plan_with_options_of_a_missing_feature_is_refused(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        saved = bench.path / "plan.json"
        await api.plan(
            bench.manifest(FOXES),
            sample=2,
            save_to=saved,
            settings=bench.settings,
            out_dir=bench.path / "out",
        )
        monkeypatch.setattr("crucible_batch.runs.request.found", lambda _name: iter(()))
        with pytest.raises(UserError, match="was made with --sample, which this installation"):
            await api.run(saved, settings=bench.settings)
        assert await bought(bench) == 0


async def test_a_plan_with_an_impossible_number_is_refused(start: Any) -> None:
    async with start() as bench:
        saved = bench.path / "plan.json"
        await api.plan(
            bench.manifest(FOXES),
            first=2,
            save_to=saved,
            settings=bench.settings,
            out_dir=bench.path / "out",
        )
    plan = read_saved_plan(saved)
    options = replace(plan.head.options, of_features={"first": -1})
    forged = replace(plan, head=replace(plan.head, options=options))
    with pytest.raises(UserError, match="is invalid: first must be at least 1"):
        list(_options_of(forged))


@pytest.mark.parametrize("numbers", [{"first": 0}, {"sample": 1, "first": 1}])
async def test_impossible_numbers_are_refused(tmp_path: Path, numbers: dict[str, int]) -> None:
    with pytest.raises(UserError):
        await api.run(tmp_path / "m.yaml", **numbers)  # type: ignore[arg-type]


def test_amounts_are_exact() -> None:
    row = api.AllJobsRow(
        option="--first", number=1, jobs=2, credits=Decimal("0.3"), more_credits=Decimal("0.1"),
        more_seconds=None,
    )  # fmt: skip
    assert row.model_dump(mode="json")["credits"] == "0.3"
