"""Rejections in manifests with stages: a later stage takes the output that counts."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import ManifestError
from crucible_batch.features.redo.rejecting import picked_outputs, reject
from crucible_batch.features.stages.picking import pick
from tests.harness.commands import Cli

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

DRAFTS = '{name: draft, prompt: "heron {{ repeat }}", repeat: 2}'
FINALS = '{name: "final-{{ source.name }}", from: "draft*", workflow: upscale-2x}'
STAGES = f"{DRAFTS}\n{FINALS}"
REJECTS = "rejects: rejects.txt\n"
NAMES = ["draft-1", "draft-2", "final-draft-1", "final-draft-2"]


def rows_of(result: api.RunResult) -> dict[str, Any]:
    return {row.name: row for row in result.jobs()}


async def bought(bench: Any) -> int:
    return len((await bench.state())["jobs"])


def summary(result: api.RunResult) -> list[tuple[Any, ...]]:
    return [
        (
            row.name,
            row.status,
            row.source and row.source.sha256,
            [each.sha256 for each in row.outputs],
            [each.sha256 for each in row.takes],
        )
        for row in result.jobs()
    ]


async def test_a_stage_is_made_again_from_the_new_output_of_a_rejected_source(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(STAGES, head=REJECTS)
        first = await bench.run(manifest)
        kept = rows_of(first)["final-draft-1"]
        reject(first.run_dir, ["draft-2"])
        result = await bench.run(manifest)
        await bench.agree(result)
        assert result.ok
        rows = rows_of(result)
        assert list(rows) == NAMES
        assert await bought(bench) == 6
        (output,) = rows["draft-2"].outputs
        assert (output.generation, rows["final-draft-2"].source.sha256) == (1, output.sha256)
        assert rows["final-draft-1"].outputs == kept.outputs
        found = summary(result)
        again = await bench.run(manifest)
        assert (again.ok, await bought(bench), summary(again)) == (True, 6, found)
        shutil.rmtree(result.run_dir)
        lost = await bench.run(manifest)
        assert (lost.ok, await bought(bench), summary(lost)) == (True, 6, found)
        await bench.verify()


async def test_an_output_of_a_later_stage_is_rejected_alone(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(STAGES, head=REJECTS)
        first = await bench.run(manifest)
        reject(first.run_dir, ["final-draft-1"])
        result = await bench.run(manifest)
        assert (result.ok, await bought(bench)) == (True, 5)
        row = rows_of(result)["final-draft-1"]
        assert (row.generation, len(row.outputs), len(row.takes)) == (1, 1, 1)
        found = summary(result)
        shutil.rmtree(result.run_dir)
        lost = await bench.run(manifest)
        assert (lost.ok, await bought(bench), summary(lost)) == (True, 5, found)


async def test_a_rejected_source_without_another_try_blocks_its_stage(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(STAGES, head=f"{REJECTS}redo: {{max: 0}}\n")
        first = await bench.run(manifest)
        reject(first.run_dir, ["draft-2"])
        for lose in (False, False, True):
            if lose:
                shutil.rmtree(first.run_dir)
            result = await bench.run(manifest)
            rows = rows_of(result)
            assert sorted(rows) == NAMES
            assert (result.exit_code, await bought(bench)) == (1, 4)
            codes = [(row.status, row.error and row.error.code) for row in map(rows.get, NAMES)]
            assert codes == [
                ("succeeded", None),
                ("blocked", "REDO_LIMIT"),
                ("succeeded", None),
                ("blocked", "SOURCE_FAILED"),
            ]


SHEET = (
    '{name: sheet, prompt: "heron", workflow: zimage-sheet,'
    " params: {size.width: 64, size.height: 64}}\n"
    '{name: "final-{{ source.name }}", from: sheet, workflow: upscale-2x}'
)


async def test_each_index_of_a_source_is_taken_from_the_output_that_counts(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(SHEET, head=REJECTS)
        first = await bench.run(manifest)
        assert await bought(bench) == 3
        reject(first.run_dir, ["sheet/1"])
        result = await bench.run(manifest)
        rows = rows_of(result)
        assert (result.ok, await bought(bench)) == (True, 5)
        assert list(rows) == ["sheet", "final-sheet", "final-sheet.1"]
        assert [each.generation for each in rows["sheet"].outputs] == [0, 1]
        assert [rows[name].source.sha256 for name in ("final-sheet", "final-sheet.1")] == [
            each.sha256 for each in rows["sheet"].outputs
        ]
        found = summary(result)
        again = await bench.run(manifest)
        assert (again.ok, await bought(bench), summary(again)) == (True, 5, found)
        shutil.rmtree(result.run_dir)
        lost = await bench.run(manifest)
        assert (lost.ok, await bought(bench), summary(lost)) == (True, 5, found)


PICKED = FINALS.replace("workflow", "pick: picks.txt, workflow")


async def test_a_picked_output_that_is_rejected_is_a_problem_with_both_lines(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(f"{DRAFTS}\n{PICKED}", head=REJECTS)
        picks = manifest.parent / "picks.txt"
        picks.write_text("draft-1\n# the better one\ndraft-2/0\n")
        first = await bench.run(manifest)
        assert (first.ok, await bought(bench)) == (True, 4)
        reject(first.run_dir, ["draft-2"])
        with pytest.raises(ManifestError) as refused:
            await bench.run(manifest)
        assert "picks.txt, line 3: draft-2/0 is picked, and line 1 of rejects.txt rejects it" in (
            str(refused.value)
        )
        assert await bought(bench) == 4
        picks.write_text("draft-1\n")
        assert (await bench.run(manifest)).ok
        assert await bought(bench) == 5
        picks.write_text("draft-1\ndraft-2/0\n")
        result = await bench.run(manifest)
        rows = rows_of(result)
        assert (result.ok, await bought(bench)) == (True, 6)
        assert rows["final-draft-2"].source.sha256 == rows["draft-2"].outputs[0].sha256
        found = summary(result)
        shutil.rmtree(result.run_dir)
        lost = await bench.run(manifest)
        assert (lost.ok, await bought(bench), summary(lost)) == (True, 6, found)


async def test_a_rejected_output_is_named_with_the_command_that_takes_its_pick_back(
    start: Any,
) -> None:
    async with start() as bench:
        manifest = bench.manifest(f"{DRAFTS}\n{PICKED}", head=REJECTS)
        (manifest.parent / "picks.txt").write_text("draft-1\ndraft-2\n")
        first = await bench.run(manifest)
        rejected = reject(first.run_dir, ["draft-2"])
        assert picked_outputs(first.run_dir, rejected.path) == ["draft-2/0"]
        with pytest.raises(ManifestError) as refused:
            await bench.run(manifest)
        unpick = f"crucible-batch pick {first.run_dir} draft-2/0 --remove"
        assert unpick in str(refused.value.problems[0].hint)
        pick(first.run_dir, ["draft-2/0"], remove=True)
        assert picked_outputs(first.run_dir, rejected.path) == []
        result = await bench.run(manifest)
        pick(first.run_dir, ["draft-2"])
        assert picked_outputs(first.run_dir, rejected.path) == []
        assert (result.ok, (await bench.run(manifest)).ok) == (True, True)


def test_the_printed_commands_take_the_pick_back_and_buy_again(cli: Cli) -> None:
    name = cli.write("picked", f"- {DRAFTS}\n- {PICKED}")
    directory = "outputs/picked/default"
    assert cli("run", name, "-q").code == 0
    cli("pick", directory, "draft-1")
    assert cli("run", name, "-q").code == 0
    rejected = cli("reject", directory, "draft-1")
    unpick, again = (
        f"crucible-batch pick {directory} draft-1/0 --remove",
        "crucible-batch run picked.yaml",
    )
    assert f"next     {unpick} && {again}" in rejected.out
    assert cli(*unpick.split()[1:]).code == 0
    done = cli(*again.split()[1:])
    assert (done.code, "waiting" in done.out) == (0, True)


async def test_a_take_that_counts_now_is_the_source_of_new_jobs(start: Any) -> None:
    """It gets another path in the run that makes the jobs."""
    async with start() as bench:
        manifest = bench.manifest(SHEET, head=REJECTS)
        first = await bench.run(manifest)
        reject(first.run_dir, ["sheet/1"])
        await bench.run(manifest)
        reject(first.run_dir, ["sheet/0"])
        result = await bench.run(manifest)
        rows = rows_of(result)
        assert (result.ok, await bought(bench)) == (True, 6)
        (output, _) = rows["sheet"].outputs
        assert (output.generation, output.path.name) == (1, "0.png")
        assert rows["final-sheet"].source.sha256 == output.sha256
        again = await bench.run(manifest)
        assert (again.ok, await bought(bench)) == (True, 6)
        assert rows_of(again)["final-sheet"].source.path == "sheet/0.png"
