"""A journal from somebody else: where it says that outputs stand is a claim, and no file but an
output is touched.
"""

from __future__ import annotations

from tests.harness.claimed_places import edit

HAS_PAGES = True
SHORT_JOBS = True


async def test_a_run_has_what_is_misplaced_fetched_to_its_own_place(start) -> None:
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}")
        await bench.run(manifest)
        picture = (bench.path / "out/a/0.png").read_bytes()
        edit(bench, path="report.json")
        (bench.path / "out/a/0.png").unlink()
        result = await bench.run(manifest)
        state = await bench.agree(result)
    assert result.ok
    assert (bench.path / "out/a/0.png").read_bytes() == picture
    assert len(state["jobs"]) == 1
