"""A sample with rejected outputs: they are bought again within the sample."""

from __future__ import annotations

from typing import Any

import pytest

from crucible_batch.features.redo.rejecting import reject

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

FOXES = '{name: fox, prompt: "fox {{ repeat }}", repeat: 6}'


def generations(result: Any) -> dict[str, int]:
    return {row.name: row.generation for row in result.jobs() if row.status == "succeeded"}


@pytest.mark.parametrize("option", ["first", "sample"])
async def test_a_rejected_job_of_a_sample_is_bought_again_in_the_same_sample(
    start: Any, option: str
) -> None:
    async with start() as bench:
        manifest = bench.manifest(FOXES, head="rejects: rejects.txt\n")
        tried = await bench.run(manifest, **{option: 3})
        names = sorted(generations(tried))
        assert len(names) == 3
        for bad in (names[:1], names[:1], names[1:]):
            reject(tried.run_dir, bad)
            again = await bench.run(manifest, **{option: 3})
            assert again.ok
            assert sorted(generations(again)) == names
        assert generations(again) == {names[0]: 2, names[1]: 1, names[2]: 1}
        assert len((await bench.state())["jobs"]) == 3 + 4
        assert again.report.all_jobs is not None
        assert again.report.all_jobs.jobs == 6
        entire = await bench.run(manifest)
        assert entire.ok
        assert len((await bench.state())["jobs"]) == 3 + 4 + 3
        await bench.agree(entire)


async def test_a_rejected_job_outside_of_the_sample_waits_for_the_entire_run(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(FOXES, head="rejects: rejects.txt\n")
        await bench.run(manifest)
        run_dir = bench.path / "out"
        reject(run_dir, ["fox-6"])
        few = await bench.run(manifest, first=2)
        assert few.ok
        assert len((await bench.state())["jobs"]) == 6
        entire = await bench.run(manifest)
        assert (entire.ok, generations(entire)["fox-6"]) == (True, 1)
        assert len((await bench.state())["jobs"]) == 7


async def test_a_job_at_its_maximum_keeps_its_place_in_the_sample(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(FOXES, head="rejects: rejects.txt\nredo: {max: 0}\n")
        tried = await bench.run(manifest, sample=2)
        reject(tried.run_dir, [min(generations(tried))])
        again = await bench.run(manifest, sample=2)
        assert again.exit_code == 1
        assert len((await bench.state())["jobs"]) == 2
