"""A place that a journal claims for an output: no other file is restored or replaced there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import crucible_batch as api
from crucible_batch.outputs import FileState
from tests.harness.claimed_places import OURS, contents, edit

HAS_PAGES = True


SHORT_JOBS = True


@pytest.mark.parametrize("planned_too", [False, True])
@pytest.mark.parametrize("path", OURS)
async def test_nothing_but_an_output_is_mended(start, path, planned_too) -> None:
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}"))
        out: Path = bench.path / "out"
        (out / "b/0.png").write_bytes(b"damaged")
        edit(bench, path=path, output=path if planned_too else None)
        before = contents(bench)
        found = await api.check_outputs(out, fix=True, settings=bench.settings)
        after = contents(bench)
    assert {each.path: (each.state, each.fixed) for each in found.differences} == {
        path: (FileState.MISPLACED, False),
        "b/0.png": (FileState.DAMAGED, True),
    }
    error = next(each.error for each in found.differences if each.path == path)
    assert error is not None
    assert (error.code, "outputs are not allowed at this path" in error.message) == (
        "OUTPUT_MISPLACED",
        True,
    )
    assert {name: after[name] for name in before if name != "out/b/0.png"} == {
        name: content for name, content in before.items() if name != "out/b/0.png"
    }
    assert not [
        name for name in after if "damaged-" in name and not name.startswith("out/b/0.png.damaged-")
    ]
    assert json.loads((out / "report.json").read_bytes())["counts"]["total"] == 2


async def test_another_file_is_not_replaced_because_the_journal_calls_it_an_output(start) -> None:
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        notes = bench.path / "out/notes.txt"
        notes.write_text("mine")
        edit(bench, path="notes.txt")
        found = await api.check_outputs(bench.path / "out", fix=True, settings=bench.settings)
        again = await api.check_outputs(bench.path / "out")
    (difference,) = found.differences
    assert difference.error is not None
    assert (difference.error.code, difference.fixed) == ("OUTPUT_MISPLACED", False)
    assert "the plan has another path for it" in difference.error.message
    assert notes.read_text() == "mine"
    assert again.differences[0].state is FileState.DAMAGED
    assert sorted(path.name for path in notes.parent.glob("notes*")) == ["notes.txt"]


@pytest.mark.parametrize("path", ["evil/other.sh", "sitecustomize.py", "evil/0.png"])
async def test_no_file_is_made_where_the_plan_puts_none(start, path) -> None:
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        edit(bench, path=path)
        before = contents(bench)
        found = await api.check_outputs(bench.path / "out", fix=True, settings=bench.settings)
        after = contents(bench)
    (difference,) = found.differences
    assert difference.error is not None
    assert (difference.state, difference.fixed) == (FileState.MISSING, False)
    assert difference.error.code == "OUTPUT_MISPLACED"
    assert "run the manifest" in str(difference.error.hint)
    assert (found.exit_code, after) == (7, before)


async def test_a_file_is_no_output_by_its_name_without_its_type(start) -> None:
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        notes = bench.path / "out/notes.txt"
        notes.write_text("mine")
        edit(bench, path="notes.txt", output="notes{ext}")
        found = await api.check_outputs(bench.path / "out", fix=True, settings=bench.settings)
    assert [(each.state, each.fixed) for each in found.differences] == [(FileState.DAMAGED, False)]
    assert notes.read_text() == "mine"
    assert sorted(path.name for path in notes.parent.glob("notes*")) == ["notes.txt"]
