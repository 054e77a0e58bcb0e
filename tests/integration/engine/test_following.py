"""A saved plan is run as it is or not at all: each kind of change is named, and the judge saw nothing bought."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

import crucible_batch as api
from crucible_batch.errors import ConsentError, KeyRefusedError, ManifestError, StalePlanError, UserError
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
    """Run a plan that has to be refused, and return what moved. Not one entry may have come to the judge's ledger."""
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
        manifest = bench.manifest(f"{THREE}\n{{name: p, workflow: qwen-edit, prompt: x, image: a.png}}", budget=None)
        plan = await save(bench, manifest, budget="20", run_id="night", only=["[abp]"])
        result = await follow(bench, plan)
        assert result.exit_code == 0
        assert sorted(row.name for row in result.jobs() if row.status == "succeeded") == ["a", "b", "p"]
        assert result.report.credits.budget == Decimal(20)
        await bench.agree(result)
        with Journal.read(bench.path / "out") as journal:
            (run,) = journal.runs()
            assert run.terms.plan_digest == read_saved_plan(plan).digest
            assert journal.binding().run_id == "night"


async def test_a_finished_plan_costs_nothing_and_its_own_prices_are_no_move(start):
    async with start() as bench:
        bench.picture("a.png")
        plan = await save(bench, bench.manifest(f"{THREE}\n{{name: p, workflow: qwen-edit, prompt: x, image: a.png}}"))
        await follow(bench, plan)
        ledger = (await bench.state())["ledger"]
        for _ in range(2):
            assert (await follow(bench, plan)).exit_code == 0
        assert (await bench.state())["ledger"] == ledger


async def test_a_plan_that_a_budget_stopped_continues_by_itself_only(start):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        plan = await save(bench, manifest, budget="4")
        assert (await follow(bench, plan)).exit_code == 4
        assert (await follow(bench, plan)).exit_code == 4
        wider = await save(bench, manifest, "wider.json", budget="6")
        assert (await follow(bench, wider)).exit_code == 0
        assert await refused(bench, plan) == [
            "the price of zimage-base was unknown, is now 2",
            "job c has been completed by another run",
        ]


async def test_what_another_run_did_meanwhile_is_named(start):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        plan = await save(bench, manifest)
        await bench.run(manifest, only=["b"])
        assert await refused(bench, plan) == [
            "the price of zimage-base was unknown, is now 2",
            "job b has been completed by another run",
        ]


async def test_a_price_that_another_run_found_higher_is_a_move(start):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        await bench.run(manifest, only=["a"])
        plan = await save(bench, manifest, only=["c"])
        await bench.configure(prices={"zimage-base": "9"})
        await bench.run(manifest, only=["b"])
        assert await refused(bench, plan) == ["the price of zimage-base was 2, is now 9"]


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
        ("prompt: two}", "prompt: dos}", ["m.yaml: content changed", "b: prompt changed"]),
        ("size.width: 64", "size.width: 65", None),
        ("name: b,", "name: z,", ["m.yaml: content changed", "new job z", "job b was removed"]),
        ("  - {name: b, prompt: two}\n", "", ["m.yaml: content changed", "job b was removed"]),
        ("jobs:\n", "jobs:\n  - {name: x, prompt: x}\n", ["m.yaml: content changed", "new job x"]),
        ("jobs:\n", "# only words\njobs:\n", ["m.yaml: content changed"]),
        ("credits: 100", "credits: 90", ["m.yaml: content changed", "budget was 100, is now 90"]),
        ("workflow: zimage-base\n", "workflow: qwen-edit\n", None),
    ],
)
async def test_a_manifest_that_changed_is_named_with_the_jobs_that_did(start, before, after, changes):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        plan = await save(bench, manifest)
        text = manifest.read_text()
        assert before in text
        manifest.write_text(text.replace(before, after))
        found = await refused(bench, plan)
        if changes is None:
            assert found[0] == "m.yaml: content changed"
            assert len(found) > 3
        else:
            assert found == changes


async def test_an_image_swapped_between_plan_and_run_is_named_once(start):
    async with start() as bench:
        bench.picture("a.png")
        rows = "\n".join(f"{{name: p{n}, workflow: qwen-edit, prompt: x{n}, image: a.png}}" for n in range(3))
        plan = await save(bench, bench.manifest(rows))
        bench.picture("a.png", colour="red")
        assert await refused(bench, plan) == ["a.png: content changed"]
        (bench.path / "a.png").unlink()
        with pytest.raises(ManifestError, match=r"a\.png"):
            await follow(bench, plan)
        assert await bought(bench) == []


async def test_a_prompt_file_and_a_table_are_bound_by_their_bytes(start):
    async with start() as bench:
        (bench.path / "fox.txt").write_text("a fox")
        (bench.path / "t.csv").write_text("sku,note\nA,old\n")
        rows = '{name: f, prompt: "@fox.txt"}\n{name: "s-{{ row.sku }}", foreach: t.csv, prompt: "{{ row.sku }}"}'
        plan = await save(bench, bench.manifest(rows))
        (bench.path / "fox.txt").write_text("a cat")
        (bench.path / "t.csv").write_text("sku,note\nA,new\n")
        assert await refused(bench, plan) == ["fox.txt: content changed", "t.csv: content changed", "f: prompt changed"]


def _without(parameter: str):
    """A gateway whose workflow no longer lists a parameter."""

    async def tamper(request: httpx.Request, send: Any) -> httpx.Response:
        answer = await send()
        if "/zimage-base" not in request.url.path:
            return answer
        body = json.loads(await answer.aread())
        metadata = body["data"]["metadata"]
        fields = metadata["available_fields"]
        metadata["available_fields"] = [each for each in fields if parameter not in json.dumps(each)]
        assert len(metadata["available_fields"]) < len(fields)
        return httpx.Response(200, json=body)

    return tamper


async def test_a_parameter_that_is_no_longer_listed_is_named_whether_or_not_a_job_has_it(start, tampered):
    async with start() as bench:
        plan = await save(bench, bench.manifest(THREE))
        changes = await refused(bench, plan, transport=tampered(_without("sampler.cfg")))
        assert changes == ["workflow zimage-base no longer lists the parameter sampler.cfg"]
        first, *problems = await refused(bench, plan, transport=tampered(_without("size.width")))
        assert first == "workflow zimage-base no longer lists the parameter size.width"
        assert problems
        assert all("has no parameter 'size.width'" in problem for problem in problems)


async def test_another_gateway_is_a_move(start):
    async with start() as bench, start() as elsewhere:
        plan = await save(bench, bench.manifest(THREE))
        (change,) = await refused(elsewhere, plan)
        assert change == f"the gateway was {bench.running.api_url}, is now {elsewhere.running.api_url}"


async def test_a_run_directory_that_was_lost_is_a_move_only_for_what_the_plan_knew_done(start):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        await bench.run(manifest, only=["a"])
        plan = await save(bench, manifest)
        shutil.rmtree(bench.path / "out")
        assert await refused(bench, plan) == [
            "the price of zimage-base was 2, is now unknown",
            "job a was done, is new in the current run directory",
        ]


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
            bench, manifest, budget="20", run_id="night", variables={"brand": "Acme"}, max_manifest_bytes=4000
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

        from .conftest import Tampered

        result = await bench.run(manifest, transport=Tampered(in_between))
        assert result.exit_code == 0
        assert saved == [bench.path / "out" / "plan.json"]
        assert len(list(read_saved_plan(saved[0]).rows())) == 3
        assert await refused(bench, saved[0]) != []
