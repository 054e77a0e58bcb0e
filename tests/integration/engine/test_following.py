"""A saved plan is run as it is or not at all: what differs is named, and the judge saw nothing
bought.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

import crucible_batch as api
from crucible_batch.errors import (
    ConsentError,
    KeyRefusedError,
    ManifestError,
    StalePlanError,
    UserError,
)
from crucible_batch.journal import Journal
from crucible_batch.saved_plan import read_saved_plan

THREE = "{name: a, prompt: one}\n{name: b, prompt: two}\n{name: c, prompt: three}"


async def save(bench: Any, manifest: Path, name: str = "plan.json", **options: Any) -> Path:
    options.setdefault("settings", bench.settings)
    options.setdefault("out_dir", bench.path / "out")
    await api.plan(manifest, save_to=bench.path / name, **options)
    return bench.path / name


async def follow(bench: Any, plan: Path, **options: Any) -> api.RunResult:
    """Run a plan as a user does: without saying anything again."""
    return await bench.run(plan, out_dir=None, **options)


async def bought(bench: Any) -> list[Any]:
    """Every entry of the judge's ledger but what the account was given."""
    return [entry for entry in (await bench.state())["ledger"] if entry["entry_type"] != "grant"]


async def refused(bench: Any, plan: Path, **options: Any) -> list[str]:
    """Run a plan that has to be refused, and return what differs.

    Not one entry may have come to the judge's ledger.
    """
    before = await bench.state()
    with pytest.raises(StalePlanError) as caught:
        await follow(bench, plan, **options)
    after = await bench.state()
    assert after["ledger"] == before["ledger"]
    assert caught.value.exit_code == 2
    assert f"-o {plan}" in caught.value.hint
    return [str(change) for change in caught.value.changes]


async def test_a_plan_needs_nothing_said_again_and_is_in_the_journal_by_its_digest(start):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(
            f"{THREE}\n{{name: p, workflow: qwen-edit, prompt: x, image: a.png}}", budget=None
        )
        plan = await save(bench, manifest, budget="20", run_id="night", only=["[abp]"])
        result = await follow(bench, plan)
        assert result.exit_code == 0
        assert sorted(row.name for row in result.jobs() if row.status == "succeeded") == [
            "a",
            "b",
            "p",
        ]
        assert result.report.credits.budget == Decimal(20)
        await bench.agree(result)
        with Journal.read(bench.path / "out") as journal:
            (run,) = journal.runs()
            assert run.terms.plan_digest == read_saved_plan(plan).digest
            assert journal.binding().run_id == "night"


async def test_a_finished_plan_costs_nothing(start):
    async with start() as bench:
        bench.picture("a.png")
        plan = await save(
            bench,
            bench.manifest(f"{THREE}\n{{name: p, workflow: qwen-edit, prompt: x, image: a.png}}"),
        )
        await follow(bench, plan)
        ledger = (await bench.state())["ledger"]
        for _ in range(2):
            assert (await follow(bench, plan)).exit_code == 0
        assert (await bench.state())["ledger"] == ledger


async def test_a_plan_that_a_budget_stopped_continues_after_another_run_too(start):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        plan = await save(bench, manifest, budget="4")
        assert (await follow(bench, plan)).exit_code == 4
        assert (await follow(bench, plan)).exit_code == 4
        wider = await save(bench, manifest, "wider.json", budget="6")
        assert (await follow(bench, wider)).exit_code == 0
        entries = await bought(bench)
        assert (await follow(bench, plan)).exit_code == 0
        assert await bought(bench) == entries


async def test_a_price_that_is_first_seen_in_the_run_is_the_budgets_matter(start):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        await bench.run(manifest, only=["a"])
        plan = await save(bench, manifest, budget="10")
        await bench.configure(prices={"zimage-base": "5"})
        result = await follow(bench, plan)
        assert result.exit_code == 4
        assert result.report.credits.spent == 7


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ("prompt: two}", "prompt: dos}", ["b: prompt.text: 'two' → 'dos'"]),
        ("size.width: 64", "size.width: 65", [f"{name}: size.width: 64 → 65" for name in "abc"]),
        ("prompt: two}", "prompt: two, params: {sampler.seed: 1}}", ["b: sampler.seed: 1 added"]),
        ("  - {name: b, prompt: two}\n", "", ["b: no longer in the manifest"]),
        ("jobs:\n", "jobs:\n  - {name: x, prompt: x}\n", ["x: not in the plan"]),
        ("credits: 100", "credits: 90", ["budget was 100, is now 90"]),
        (
            "credits: 100",
            "credits: 100, max_credits_per_job: 4.50",
            ["max_credits_per_job was none, is now 4.5"],
        ),
    ],
)
async def test_a_job_or_a_term_that_differs_is_named(start, before, after, changes):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        plan = await save(bench, manifest)
        text = manifest.read_text()
        assert before in text
        manifest.write_text(text.replace(before, after))
        assert await refused(bench, plan) == changes


async def test_a_manifest_that_was_edited_without_other_jobs_or_terms_is_run(start):
    async with start() as bench:
        manifest = bench.manifest('{name: a, prompt: "@fox.txt"}\n{name: b, prompt: two}')
        (bench.path / "fox.txt").write_text("a fox")
        plan = await save(bench, manifest)
        rows = (
            "jobs:  # in another order\n  - {name: b, prompt: two}\n  - {name: a, prompt: a fox}\n"
        )
        manifest.write_text(manifest.read_text().partition("jobs:")[0] + rows)
        assert (await follow(bench, plan)).exit_code == 0


async def test_an_image_swapped_between_plan_and_run_is_named(start):
    async with start() as bench:
        bench.picture("a.png")
        plan = await save(
            bench, bench.manifest("{name: p, workflow: qwen-edit, prompt: x, image: a.png}")
        )
        bench.picture("a.png", colour="red")
        (change,) = await refused(bench, plan)
        assert re.fullmatch(r"p: image\.image: 'a\.png \(\w{8}\)' → 'a\.png \(\w{8}\)'", change)
        (bench.path / "a.png").unlink()
        with pytest.raises(ManifestError, match=r"a\.png"):
            await follow(bench, plan)
        assert await bought(bench) == []


async def test_what_a_job_gets_of_a_prompt_file_and_a_table_is_compared(start):
    async with start() as bench:
        (bench.path / "fox.txt").write_text("a fox")
        (bench.path / "t.csv").write_text("sku,note\nA,old\n")
        rows = (
            '{name: f, prompt: "@fox.txt"}\n'
            '{name: "s-{{ row.sku }}", foreach: t.csv, prompt: "{{ row.sku }}"}'
        )
        plan = await save(bench, bench.manifest(rows))
        (bench.path / "fox.txt").write_text("a cat")
        (bench.path / "t.csv").write_text("sku,note\nA,new\n")
        assert await refused(bench, plan) == ["f: prompt.text: 'a fox' → 'a cat'"]


def _without(parameter: str):
    """A gateway whose workflow no longer lists a parameter."""

    async def tamper(request: httpx.Request, send: Any) -> httpx.Response:
        answer = await send()
        if "/zimage-base" not in request.url.path:
            return answer
        body = json.loads(await answer.aread())
        metadata = body["data"]["metadata"]
        fields = metadata["available_fields"]
        metadata["available_fields"] = [
            each for each in fields if parameter not in json.dumps(each)
        ]
        assert len(metadata["available_fields"]) < len(fields)
        return httpx.Response(200, json=body)

    return tamper


async def test_a_parameter_that_is_no_longer_listed_concerns_only_the_jobs_that_have_it(
    start, tampered
):
    async with start() as bench:
        plan = await save(bench, bench.manifest(THREE))
        with pytest.raises(ManifestError, match=r"has no parameter 'size\.width'"):
            await follow(bench, plan, transport=tampered(_without("size.width")))
        assert await bought(bench) == []
        assert (
            await follow(bench, plan, transport=tampered(_without("sampler.cfg")))
        ).exit_code == 0


async def test_a_plan_of_another_gateway_is_refused(start):
    async with start() as bench, start() as elsewhere:
        plan = await save(bench, bench.manifest(THREE))
        (change,) = await refused(elsewhere, plan)
        assert change == f"gateway was {bench.running.api_url}, is now {elsewhere.running.api_url}"


async def test_a_plan_is_run_in_a_directory_that_was_lost(start):
    """As the manifest is: under the same keys, and within the same budget."""
    async with start() as bench:
        manifest = bench.manifest(THREE)
        await bench.run(manifest, only=["a"])
        plan = await save(bench, manifest)
        shutil.rmtree(bench.path / "out")
        assert (await follow(bench, plan)).exit_code == 0
        assert len((await bench.state())["jobs"]) == 3


async def test_a_plan_moves_to_another_directory_together_with_its_manifest(start):
    async with start() as bench:
        (bench.path / "here").mkdir()
        manifest = bench.manifest(THREE).rename(bench.path / "here" / "m.yaml")
        plan = await save(bench, manifest, "here/plan.json", out_dir=bench.path / "here" / "out")
        text = plan.read_text()
        assert str(bench.path) not in text
        assert bench.settings.api_key not in text
        (bench.path / "here").rename(bench.path / "there")
        result = await follow(bench, bench.path / "there" / "plan.json")
        assert result.exit_code == 0
        assert len(list((bench.path / "there" / "out").rglob("*.png"))) == 3
        assert not (bench.path / "here").exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"budget": "21"}, "--budget 20"),
        ({"run_id": "default"}, "--run-id night"),
        ({"out_dir": "elsewhere"}, "--out-dir"),
        ({"only": ["a"]}, "no --only"),
        ({"retry_failed": True}, "no --retry-failed"),
        ({"variables": {"x": "y"}}, "--var brand=Acme"),
        ({"allow_outside": True}, "no --allow-outside"),
        ({"max_jobs": 5}, "--max-jobs 100000"),
        ({"max_manifest_bytes": 50_000}, "--max-manifest-size 4000"),
    ],
)
async def test_an_option_that_contradicts_the_plan_is_refused(start, options, word):
    async with start() as bench:
        manifest = bench.manifest(THREE, head="vars: {brand: Other}\n")
        plan = await save(
            bench,
            manifest,
            budget="20",
            run_id="night",
            variables={"brand": "Acme"},
            max_manifest_bytes=4000,
        )
        with pytest.raises(UserError, match=word) as caught:
            await bench.run(plan, **{"out_dir": None, **options})
        assert "--var brand=Acme" in caught.value.hint
        assert "--max-manifest-size 4000" in caught.value.hint
        assert await bought(bench) == []
        again = {"budget": Decimal("20.0"), "run_id": "night", "variables": {"brand": "Acme"}}
        assert (await bench.run(plan, out_dir=bench.path / "out", **again)).exit_code == 0


async def test_a_plan_without_a_budget_asks_and_yes_works(start):
    async with start() as bench:
        plan = await save(bench, bench.manifest(THREE, budget=None))
        with pytest.raises(ConsentError):
            await follow(bench, plan)
        with pytest.raises(ConsentError, match="nothing was spent"):
            await follow(bench, plan, confirm=lambda summary: summary.total != 3)
        assert await bought(bench) == []
        assert (await follow(bench, plan, yes=True)).exit_code == 0


async def test_failed_jobs_go_again_only_where_the_plan_requires_it(start):
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}\n{name: bad, prompt: nsfw}")
        plan = await save(bench, manifest)
        first = await follow(bench, plan)
        assert first.exit_code == 1
        assert "crucible-batch plan" in first.remake
        jobs = len((await bench.state())["jobs"])
        assert (await follow(bench, plan)).exit_code == 1
        assert len((await bench.state())["jobs"]) == jobs
        retrying = await save(bench, manifest, "again.json", retry_failed=True)
        rows = {row.name: row for row in read_saved_plan(retrying).rows()}
        assert (rows["bad"].state, rows["bad"].credits) == ("failed", 2)
        assert (rows["a"].state, rows["a"].credits) == ("done", 0)
        await follow(bench, retrying)
        assert len((await bench.state())["jobs"]) == jobs + 1


async def test_a_plan_can_be_held_against_what_is_there_without_running_it(start):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        plan = await save(bench, manifest, budget="20")
        summary = await api.plan(plan, settings=bench.settings)
        assert (summary.budget, summary.digest) == (20, read_saved_plan(plan).digest)
        with pytest.raises(UserError, match="is already a plan"):
            await api.plan(plan, settings=bench.settings, save_to=bench.path / "other.json")
        manifest.write_text(manifest.read_text().replace("two", "dos"))
        with pytest.raises(StalePlanError):
            await api.plan(plan, settings=bench.settings)
        assert not (bench.path / "out").exists()


async def test_the_manifest_itself_is_never_overwritten_and_no_plan_is_saved_unchecked(start):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        text = manifest.read_text()
        with pytest.raises(UserError, match="the manifest itself"):
            await save(bench, manifest, "m.yaml")
        with pytest.raises(KeyRefusedError):
            await save(bench, manifest, settings=replace(bench.settings, api_key=None))
        assert manifest.read_text() == text
        assert [path.name for path in bench.path.iterdir()] == ["m.yaml"]


async def test_a_plan_may_be_saved_into_the_directory_of_a_live_run(start, watcher):
    saved: list[Path] = []

    async with start() as bench:
        manifest = bench.manifest(THREE)

        async def in_between(_request: httpx.Request, send: Any) -> httpx.Response:
            if not saved and (bench.path / "out" / ".crucible").exists():
                saved.append(bench.path / "out" / "plan.json")
                await save(bench, manifest, "out/plan.json")
            return await send()

        from tests.harness.bench import Tampered

        result = await bench.run(manifest, transport=Tampered(in_between))
        assert result.exit_code == 0
        assert saved == [bench.path / "out" / "plan.json"]
        assert len(list(read_saved_plan(saved[0]).rows())) == 3
        assert (await follow(bench, saved[0])).exit_code == 0
