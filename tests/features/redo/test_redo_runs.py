"""Rejected outputs that are bought again: one run, the same command again, and lost directories."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.core.identity import content_of, idempotency_key
from crucible_batch.features.redo.rejecting import reject
from crucible_batch.journal import Journal

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HEROES = '{name: hero, prompt: "heron {{ repeat }}", repeat: 3}'
REJECTS = "rejects: rejects.txt\n"


async def bought(bench: Any) -> int:
    return len((await bench.state())["jobs"])


def rows_of(result: api.RunResult) -> dict[str, Any]:
    return {row.name: row for row in result.jobs()}


def digests(run_dir: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in run_dir.rglob("*.png")}


async def test_a_rejected_output_is_bought_again_and_the_earlier_take_stays(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)
        first = await bench.run(manifest)
        before = digests(first.run_dir)
        reject(first.run_dir, ["hero-2"], reason="six fingers")
        second = await bench.run(manifest)
        await bench.agree(second)
        assert second.ok
        assert await bought(bench) == 4
        row = rows_of(second)["hero-2"]
        (output,), (take,) = row.outputs, row.takes
        assert (row.generation, output.generation, take.generation) == (1, 1, 0)
        assert output.path == second.run_dir / "hero-2/0.png"
        assert take.path.name == f"0.{take.sha256[:8]}.png"
        assert take.path.read_bytes() == before["hero-2/0.png"] != output.path.read_bytes()
        assert [rows_of(second)[name].takes for name in ("hero-1", "hero-3")] == [[], []]
        assert (manifest.parent / "rejects.txt").read_text() == (
            f"hero-2/0 g0 {take.sha256[:12]} six fingers\n"
        )


async def test_the_same_command_again_buys_nothing_and_changes_nothing(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)
        first = await bench.run(manifest)
        reject(first.run_dir, ["hero-2"])
        second = await bench.run(manifest)
        report = (first.run_dir / "report.json").read_bytes()
        with Journal.read(first.run_dir) as journal:
            plan = list(journal.plan())
        for _ in range(2):
            again = await bench.run(manifest)
            assert again.ok
        with Journal.read(first.run_dir) as journal:
            assert list(journal.plan()) == plan
        assert (first.run_dir / "report.json").read_bytes() == report
        assert await bought(bench) == 4
        assert rows_of(again)["hero-2"].outputs == rows_of(second)["hero-2"].outputs


async def test_the_keys_are_those_of_the_generations(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest('{name: hero, prompt: "heron"}', head=REJECTS)
        first = await bench.run(manifest)
        content = rows_of(first)["hero"].idempotency_key
        reject(first.run_dir, ["hero"])
        second = await bench.run(manifest)
        with Journal.read(first.run_dir) as journal:
            (planned,) = journal.plan()
        row = rows_of(second)["hero"]
    assert row.idempotency_key != content
    assert planned.identity.endswith(":g1")
    assert idempotency_key(content_of(planned.identity), 1) == content
    assert idempotency_key(planned.identity, 1) == row.idempotency_key


async def test_after_the_loss_of_all_local_state_the_same_takes_are_found_for_nothing(
    start: Any,
) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)
        result = await bench.run(manifest)
        for _ in range(2):
            reject(result.run_dir, ["hero-2"])
            result = await bench.run(manifest)
        reject(result.run_dir, ["hero-3"])
        result = await bench.run(manifest)
        before, files = await bench.state(), digests(result.run_dir)
        rows = rows_of(result)
        shutil.rmtree(result.run_dir)
        found = await bench.run(manifest)
        after = await bench.state()
        assert found.ok
        assert after["jobs"] == before["jobs"]
        assert after["ledger"] == before["ledger"]
        assert digests(found.run_dir) == files
        for name, row in rows_of(found).items():
            assert [take.sha256 for take in row.takes] == [take.sha256 for take in rows[name].takes]
            assert [each.sha256 for each in row.outputs] == [
                each.sha256 for each in rows[name].outputs
            ]
        await bench.agree(found)


async def test_a_line_that_is_taken_back_shows_the_earlier_output_and_buys_nothing(
    start: Any,
) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=REJECTS)
        first = await bench.run(manifest)
        one = rows_of(first)["hero-2"]
        reject(first.run_dir, ["hero-2"])
        two = rows_of(await bench.run(manifest))["hero-2"]
        reject(first.run_dir, ["hero-2"], remove=True)
        third = await bench.run(manifest)
        assert third.ok
        assert await bought(bench) == 4
        three = rows_of(third)["hero-2"]
        assert [each.sha256 for each in three.outputs] == [each.sha256 for each in one.outputs]
        assert [each.sha256 for each in three.takes] == [each.sha256 for each in two.outputs]
        reject(first.run_dir, ["hero-2"])
        fourth = await bench.run(manifest)
        assert await bought(bench) == 4
        assert [each.sha256 for each in rows_of(fourth)["hero-2"].outputs] == [
            each.sha256 for each in two.outputs
        ]
