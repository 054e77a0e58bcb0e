"""A run that changed nothing writes no report; one that was damaged, or says what is no longer so,
is written again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from crucible_batch.errors import JournalError
from crucible_batch.report.html import thumbnails
from crucible_batch.runs import report_note
from crucible_batch.runs.reporting import write_report_again

HAS_PAGES = True
SHORT_JOBS = True
EDITS = (
    "{name: c, prompt: 'to {{ k }}', workflow: qwen-edit, image: a.png, "
    "matrix: {k: [red, blue]}, repeat: 2}"
)
TWO = "{name: a, prompt: one}\n{name: b, prompt: two}"


def written(out: Path) -> dict[str, tuple[bytes, int, int]]:
    """What stands there of a report: bytes, when it was written, and as which file."""
    files = [out / "report.json", out / "report.html", *sorted((out / "thumbnails").glob("*"))]
    return {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino)
        for file in files
        if file.exists()
    }


@pytest.fixture
def in_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have thumbnails beside the page, as runs of more than a thousand jobs have."""
    monkeypatch.setattr(thumbnails, "_MOST_INLINE_JOBS", 0)


@pytest.mark.parametrize("options", [{}, {"html": False}], ids=["page", "no-page"])
async def test_a_run_that_changed_nothing_leaves_the_report_as_it_is(start, in_a_folder, options):
    async with start() as bench:
        manifest = bench.manifest(TWO)
        first = await bench.run(manifest, **options)
        before = written(bench.path / "out")
        again = await bench.run(manifest, **options)
    assert written(bench.path / "out") == before
    assert len(before) == (1 if options else 4)
    assert (again.exit_code, again.page) == (0, first.page)
    assert again.report.counts == first.report.counts
    assert again.report.finished_at > first.report.finished_at


async def test_a_run_of_the_same_plan_leaves_the_journals_plan_as_it_is(start):
    async with start() as bench:
        bench.picture("a.png")
        await bench.run(bench.manifest(f"{TWO}\n{EDITS}"))
        with closing(sqlite3.connect(bench.path / "out/.crucible/journal.sqlite3")) as connection:
            connection.execute(
                "CREATE TRIGGER kept BEFORE DELETE ON plan "
                "BEGIN SELECT RAISE(ABORT, 'the plan is rewritten'); END"
            )
        assert (await bench.run(bench.manifest(f"{TWO}\n{EDITS}"))).exit_code == 0
        with pytest.raises(JournalError, match="the plan is rewritten"):
            await bench.run(bench.manifest(TWO))


async def test_a_run_that_fails_as_before_leaves_the_report_as_it_is(start):
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: an nsfw picture}")
        assert (await bench.run(manifest)).exit_code == 1
        before = written(bench.path / "out")
        assert (await bench.run(manifest)).exit_code == 1
    assert written(bench.path / "out") == before


def forgotten(out: Path) -> None:
    with sqlite3.connect(out / ".crucible/journal.sqlite3") as db:
        db.execute("UPDATE meta SET value = '{' WHERE key = 'report'")
    db.close()


DAMAGES: list[Callable[[Path], object]] = [
    lambda out: (out / "report.json").unlink(),
    lambda out: (out / "report.html").unlink(),
    forgotten,
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_report_that_is_missing_or_not_known_is_written_again(start, in_a_folder, damage):
    async with start() as bench:
        manifest, out = bench.manifest(TWO), bench.path / "out"
        await bench.run(manifest)
        whole = written(out)
        damage(out)
        await bench.run(manifest)
        again = written(out)
    assert again.keys() == whole.keys()
    assert again["report.json"][1:] != whole["report.json"][1:]
    assert {row["status"] for row in json.loads(again["report.json"][0])["jobs"]} == {"succeeded"}
    small = {name: content for name, (content, _, _) in whole.items() if name.endswith(".webp")}
    assert {
        name: content for name, (content, _, _) in again.items() if name.endswith(".webp")
    } == small


@pytest.mark.parametrize(
    "change",
    [
        lambda bench, monkeypatch: (bench.manifest("{name: a, prompt: one}"), {}),
        lambda bench, monkeypatch: (
            bench.manifest("{name: b, prompt: two}\n{name: a, prompt: one}"),
            {},
        ),
        lambda bench, monkeypatch: (
            bench.manifest("{name: a, prompt: one}\n{name: c, prompt: two}"),
            {},
        ),
        lambda bench, monkeypatch: (bench.manifest(TWO, budget=77), {}),
        lambda bench, monkeypatch: (bench.manifest(TWO).rename(bench.path / "other.yaml"), {}),
        lambda bench, monkeypatch: (bench.manifest(TWO), {"html": False}),
        lambda bench, monkeypatch: (
            monkeypatch.setattr(report_note, "__version__", "9.9") or (bench.manifest(TWO), {})
        ),
    ],
    ids=["dropped", "order", "name", "budget", "path", "no-page", "version"],
)
async def test_a_report_that_would_say_something_else_is_written_again(start, monkeypatch, change):
    async with start() as bench:
        await bench.run(bench.manifest(TWO))
        before = written(bench.path / "out")
        manifest, options = change(bench, monkeypatch)
        result = await bench.run(manifest, **options)
        after = written(bench.path / "out")
    assert result.exit_code == 0
    assert after["report.json"][2] != before["report.json"][2]
    assert ("report.html" in after) == ("html" not in options)


async def test_what_is_asked_for_is_always_rebuilt_and_missing_sidecars_always_come_back(start):
    async with start() as bench:
        head = "provenance: {sidecar: true}\n"
        manifest, out = bench.manifest(TWO, head=head), bench.path / "out"
        await bench.run(manifest)
        before = written(out)
        write_report_again(out)
        rebuilt = written(out)
        assert all(rebuilt[name][2] != before[name][2] for name in before)
        (out / "a/0.png.json").unlink()
        await bench.run(manifest)
    assert (out / "a/0.png.json").is_file()
    assert written(out) == rebuilt
