"""Jobs with several outputs: each index has its earliest output that is not rejected."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.features.redo.rejecting import reject
from crucible_batch.sandbox.world import World

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SHEET = (
    '{name: sheet, prompt: "heron", workflow: zimage-sheet,'
    " params: {size.width: 64, size.height: 64}}"
)
REJECTS = "rejects: rejects.txt\n"


async def bought(bench: Any) -> int:
    return len((await bench.state())["jobs"])


def sheet_of(result: api.RunResult) -> Any:
    (row,) = result.jobs()
    for each in [*row.outputs, *row.takes]:
        assert each.path.is_file()
    return row


def digests(run_dir: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in run_dir.rglob("*.png")}


def of(rows: Any) -> list[tuple[int, int]]:
    """Return index and generation of outputs."""
    return [(each.index, each.generation) for each in rows]


async def test_a_good_index_keeps_its_output_and_further_ones_are_takes(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(SHEET, head=REJECTS)
        first = sheet_of(await bench.run(manifest))
        home = [each.path for each in first.outputs]
        good, bad = (each.path.read_bytes() for each in first.outputs)
        reject(bench.path / "out", ["sheet/1"])
        result = await bench.run(manifest)
        assert result.ok
        row = sheet_of(result)
        assert (of(row.outputs), of(row.takes)) == ([(0, 0), (1, 1)], [(0, 1), (1, 0)])
        assert [each.path for each in row.outputs] == home
        assert home[0].read_bytes() == good
        assert home[1].read_bytes() != bad == row.takes[1].path.read_bytes()
        assert await bought(bench) == 2
        await bench.agree(result)
        await bench.verify()
        files = digests(result.run_dir)
        again = await bench.run(manifest)
        assert (again.ok, await bought(bench), digests(again.run_dir)) == (True, 2, files)
        shutil.rmtree(result.run_dir)
        found = await bench.run(manifest)
        assert (found.ok, await bought(bench), digests(found.run_dir)) == (True, 2, files)
        lost = sheet_of(found)
        assert (of(lost.outputs), of(lost.takes)) == (of(row.outputs), of(row.takes))


async def test_a_take_counts_as_soon_as_the_output_before_it_is_rejected(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(SHEET, head=REJECTS)
        first = sheet_of(await bench.run(manifest))
        home = [each.path for each in first.outputs]
        reject(bench.path / "out", ["sheet/1"])
        second = sheet_of(await bench.run(manifest))
        take = next(each for each in second.takes if each.index == 0)
        bytes_of_take = take.path.read_bytes()
        reject(bench.path / "out", ["sheet/0"])
        result = await bench.run(manifest)
        row = sheet_of(result)
        assert (result.ok, await bought(bench)) == (True, 2)
        assert (of(row.outputs), of(row.takes)) == ([(0, 1), (1, 1)], [(0, 0), (1, 0)])
        assert [each.path for each in row.outputs] == home
        assert home[0].read_bytes() == bytes_of_take
        # The rejections are taken back: the outputs of the first run, at their paths.
        reject(bench.path / "out", ["sheet"], remove=True)
        result = await bench.run(manifest)
        row = sheet_of(result)
        assert (result.ok, await bought(bench)) == (True, 2)
        assert (of(row.outputs), of(row.takes)) == ([(0, 0), (1, 0)], [(0, 1), (1, 1)])
        assert [each.sha256 for each in row.outputs] == [each.sha256 for each in first.outputs]
        assert [each.path for each in row.outputs] == home
        await bench.verify()


async def test_one_index_may_need_more_generations_than_another(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(SHEET, head=f"{REJECTS}redo: {{max: 2}}\n")
        await bench.run(manifest)
        for _ in range(3):
            reject(bench.path / "out", ["sheet/1"])
            result = await bench.run(manifest)
        row = sheet_of(result)
        assert (result.exit_code, row.status, row.error.code) == (1, "blocked", "REDO_LIMIT")
        assert of(row.outputs) == [(0, 0)]
        assert of(row.takes) == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
        assert await bought(bench) == 3


async def test_a_generation_without_an_output_that_is_wanted_is_followed_in_the_same_run(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it has no others is known only when its list of outputs was read once more."""
    counts = iter([2, 1, 2])
    resolve = World._resolved

    def resolve_some(world: World, *given: Any) -> Any:
        resolved = resolve(world, *given)
        return replace(resolved, outputs=resolved.outputs[: next(counts)])

    monkeypatch.setattr(World, "_resolved", resolve_some)
    async with start() as bench:
        manifest = bench.manifest(SHEET, head=REJECTS)
        await bench.run(manifest)
        reject(bench.path / "out", ["sheet/1"])
        result = await bench.run(manifest)
        row = sheet_of(result)
        assert (result.ok, await bought(bench)) == (True, 3)
        assert of(row.outputs) == [(0, 0), (1, 2)]
        again = await bench.run(manifest)
        assert (again.ok, await bought(bench)) == (True, 3)
        shutil.rmtree(result.run_dir)
        lost = sheet_of(await bench.run(manifest))
        assert (of(lost.outputs), of(lost.takes)) == (of(row.outputs), of(row.takes))
        assert await bought(bench) == 3
