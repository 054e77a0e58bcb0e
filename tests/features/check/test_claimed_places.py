"""A journal from somebody else: where it says that outputs stand is a claim, and no file but an output is touched."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.features.view.watching import Watch
from crucible_batch.outputs import FileState
from crucible_batch.runs.reporting import write_report_again

HAS_PAGES = True
SHORT_JOBS = True
OURS = [
    ".crucible/journal.sqlite3",
    ".crucible/lock",
    ".crucible/journal.sqlite3-wal",
    "report.json",
    "report.html",
    "REPORT.JSON",
    "receipts.jsonl",
    "thumbnails/a.webp",
    "a/0.png.json",
    "../elsewhere.png",
    "a/../report.json",
    "a/./0.png",
    "a//0.png",
]


def edit(bench: Any, *, path: str, output: str | None = None) -> None:
    """Have the journal say that the first output stands at ``path``, and that the plan wants it so."""
    with closing(sqlite3.connect(bench.path / "out/.crucible/journal.sqlite3")) as connection, connection:
        change = (
            "UPDATE events SET body = json_set(body, '$.path', ?) WHERE type = 'Saved' AND body LIKE '%\"a/0.png\"%'"
        )
        assert connection.execute(change, (path,)).rowcount == 1
        if output is not None:
            connection.execute("UPDATE plan SET body = json_set(body, '$.output', ?) WHERE position = 0", (output,))


def contents(bench: Any) -> dict[str, bytes]:
    files = (path for path in bench.path.rglob("*") if path.is_file())
    changing = {"report.json", "report.html", "journal.sqlite3", "journal.sqlite3-wal", "journal.sqlite3-shm", "holder"}
    return {str(path.relative_to(bench.path)): path.read_bytes() for path in files if path.name not in changing}


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
    assert (error.code, "outputs are not allowed at this path" in error.message) == ("OUTPUT_MISPLACED", True)
    assert {name: after[name] for name in before if name != "out/b/0.png"} == {
        name: content for name, content in before.items() if name != "out/b/0.png"
    }
    assert not [name for name in after if "damaged-" in name and not name.startswith("out/b/0.png.damaged-")]
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


@pytest.mark.parametrize("path", OURS)
async def test_no_command_that_reads_shows_or_writes_beside_such_a_file(start, path) -> None:
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        out = bench.path / "out"
        edit(bench, path=path, output=path)
        (out / "a/0.png.json").unlink()
        before = contents(bench)
        write_report_again(out)
        planned = await api.plan(bench.path / "m.yaml", out_dir=out, settings=bench.settings)
        after = {name: content for name, content in contents(bench).items() if "/.crucible/thumbnails/" not in name}
        watch = Watch(out)
        watch.look()
        (shown,) = watch.newest(1)
        with pytest.raises(OSError, match="not the path of an output"):
            watch.open(shown)
    assert after == {name: content for name, content in before.items() if "/.crucible/thumbnails/" not in name}
    assert planned.states["done"] == 1


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
