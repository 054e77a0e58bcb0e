"""Outputs that carry what made them are checked and brought back as any other."""

from __future__ import annotations

from crucible_batch.features.check.verifying import check_outputs
from tests.integration.engine.test_provenance import ONE, contents, embedded

SHORT_JOBS = True


async def test_it_stands_up_to_verify_and_comes_back_the_same(start):
    async with start() as bench:
        await embedded(bench, f"{ONE}\n{{name: b, prompt: two}}\n{{name: c, prompt: three}}")
        out = bench.path / "out"
        before = contents(out, "*/*.png")
        assert (await check_outputs(out)).exit_code == 0
        (out / "a/0.png").unlink()
        (out / "b/0.png").write_bytes(b"damaged")
        assert (await check_outputs(out)).exit_code == 7
        fixed = await check_outputs(out, fix=True, settings=bench.settings)
        assert (fixed.exit_code, [each.fixed for each in fixed.differences]) == (0, [True, True])
        assert contents(out, "*/*.png") == before


async def test_a_job_of_an_axis_that_got_another_name_comes_back_the_same(start):
    async with start() as bench:
        manifest, _ = await embedded(bench, "{name: a, prompt: '{{ s }}', matrix: {s: [one]}}")
        out = bench.path / "out"
        before = contents(out, "*/*.png")
        manifest.write_text(manifest.read_text().replace("{s: ", "{t: ").replace("{{ s", "{{ t"))
        assert (await bench.run(manifest)).exit_code == 0
        (path,) = before
        (out / path).unlink()
        assert (await check_outputs(out, fix=True, settings=bench.settings)).exit_code == 0
        assert contents(out, "*/*.png") == before


async def test_the_lost_output_of_a_renamed_job_comes_back_by_a_run_where_the_plan_puts_it_now(
    start,
):
    async with start() as bench:
        manifest, _ = await embedded(bench, "{name: a, prompt: one}")
        out = bench.path / "out"
        manifest.write_text(manifest.read_text().replace("name: a,", "name: renamed,"))
        assert (await bench.run(manifest)).exit_code == 0
        (out / "a/0.png").unlink()
        (difference,) = (await check_outputs(out, fix=True, settings=bench.settings)).differences
        assert (difference.fixed, difference.error.code) == (False, "OUTPUT_MISPLACED")
        result = await bench.run(manifest)
        assert (result.exit_code, list(contents(out, "*/*.png"))) == (0, ["renamed/0.png"])
        assert len((await bench.agree(result))["jobs"]) == 1
        assert (await check_outputs(out)).exit_code == 0
