"""Runs with derived seeds: what the gateway is sent, and what a picture can be made again from."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from PIL import Image

import crucible_batch as api
from crucible_batch.errors import ExitCode, ManifestError
from crucible_batch.features.seeds.rule import derived_seed
from tests.harness.commands import Cli

SHORT_JOBS = True

FOXES = '{name: "fox-{{ n }}", prompt: "fox {{ n }}", matrix: {n: [1, 2]}, repeat: 2}'
SEEDS = "seeds: derived\n"


def seeds(rows: Any) -> list[object]:
    return [row["params"]["sampler.seed"] for row in rows]


async def test_each_job_is_sent_its_seed_and_found_again_without_local_state(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(
            FOXES, head=f"{SEEDS}provenance: {{sidecar: true, embed: true}}\n"
        )
        result = await bench.run(manifest)
        state = await bench.agree(result)
        rows = list(result.jobs())
        sent = [job["params"]["sampler.seed"] for job in state["jobs"]]
        assert sorted(sent) == sorted(row.params["sampler.seed"] for row in rows)
        assert len(set(sent)) == 4
        for row in rows:
            (output,) = row.outputs
            sidecar = json.loads((output.path.parent / f"{output.path.name}.json").read_text())
            assert sidecar["params"]["sampler.seed"] == row.params["sampler.seed"]
            with Image.open(output.path) as image:
                embedded = json.loads(image.text["crucible-batch"])  # type: ignore[attr-defined]
            assert embedded["params"] == row.params
        again = await bench.run(manifest)
        assert (again.exit_code, len((await bench.state())["jobs"])) == (ExitCode.OK, 4)
        shutil.rmtree(bench.path / "out")
        lost = await bench.run(manifest)
        assert (lost.exit_code, len((await bench.state())["jobs"])) == (ExitCode.OK, 4)
        assert lost.report.credits.bought == 0
        assert [row.params for row in lost.jobs()] == [row.params for row in rows]


async def test_a_lost_journal_is_restored_from_receipts_for_nothing(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(FOXES, head=SEEDS)
        await bench.run(manifest)
        shutil.rmtree(bench.path / "out/.crucible")
        result = await bench.run(manifest)
        assert (result.exit_code, len((await bench.state())["jobs"])) == (ExitCode.OK, 4)


async def test_mistakes_are_found_before_anything_is_spent(start: Any) -> None:
    async with start() as bench:
        for jobs in (
            "{name: big, image: p.png, workflow: upscale-2x}",
            "{name: fox, prompt: x, params: {sampler.seed: 1}}",
            "{name: fox, prompt: x, workflow: zimage-sketch}",
        ):
            bench.picture("p.png")
            with pytest.raises(ManifestError):
                await bench.run(bench.manifest(jobs, head=SEEDS))
        state = await bench.state()
        assert (state["jobs"], state["assets"]) == ([], [])
        assert not (bench.path / "out").exists()


async def test_a_saved_plan_has_the_seeds(start: Any) -> None:
    async with start() as bench:
        saved, out = bench.path / "plan.json", bench.path / "out"
        manifest = bench.manifest(FOXES, head=SEEDS)
        await api.plan(manifest, save_to=saved, settings=bench.settings, out_dir=out)
        planned = json.loads(saved.read_text())["jobs"]
        result = await bench.run(saved, out_dir=None)
        assert result.exit_code is ExitCode.OK
        assert [row.params["sampler.seed"] for row in result.jobs()] == seeds(planned)
        assert seeds(planned) == [derived_seed(row["identity"]) for row in planned]
        bench.manifest(FOXES.replace("fox {{ n }}", "owl {{ n }}"), head=SEEDS)
        with pytest.raises(api.StalePlanError) as stale:
            await bench.run(saved, out_dir=None)
        assert "sampler.seed" not in str(stale.value)


async def test_jobs_under_another_manifest_name_are_recognised(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(FOXES, head=SEEDS)
        await bench.run(manifest, out_dir=bench.path / "runs/trial/default")
        manifest.write_text(manifest.read_text().replace("name: trial", "name: renamed"))
        plan = await api.plan(
            manifest, settings=bench.settings, out_dir=bench.path / "runs/renamed/default"
        )
    assert any("4 of 4 jobs were bought before" in note for note in plan.notes)


def test_a_picture_is_made_again_from_its_report(cli: Cli) -> None:
    size = "params: {size.width: 64, size.height: 64}"
    manifest = cli.write("seeded", f"- {{name: fox, prompt: a fox, {size}}}", head=SEEDS)
    done = cli("run", manifest)
    assert done.code == 0, done.err
    report = json.loads((cli.cwd / "outputs/seeded/default/report.json").read_text())
    (row,) = report["jobs"]
    seed = row["params"]["sampler.seed"]
    assert 0 <= seed < 2**31
    again = cli.write(
        "again", f"- {{name: fox, prompt: a fox, params: {json.dumps(row['params'])}}}".replace(
            '"prompt.text": "a fox", ', ""
        ),
    )  # fmt: skip
    assert cli("run", again).code == 0
    (second,) = json.loads((cli.cwd / "outputs/again/default/report.json").read_text())["jobs"]
    assert second["params"]["sampler.seed"] == seed
    plan = cli("plan", manifest)
    assert "1 already done" in plan.out
    both = cli.write("twice", "- {name: fox, prompt: a fox, params: {sampler.seed: 7}}", head=SEEDS)
    refused = cli("run", both)
    assert refused.code == 2
    assert "sets 'sampler.seed', which `seeds` fills (twice.yaml:5:8)" in refused.err
    assert not (cli.cwd / "outputs/twice").exists()
