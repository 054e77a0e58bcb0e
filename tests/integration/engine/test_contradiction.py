"""A journal that contradicts itself about one job costs that job: all else is run, read, verified
and audited.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest

import crucible_batch as api
from crucible_batch.core.plan_diff import ChangeCause
from crucible_batch.errors import ExitCode
from crucible_batch.runs.reporting import write_report_again

SHORT_JOBS = True

IN_DOUBT = [
    (
        "Held",
        (
            '{"at": 1, "attempt": 1, "key": "k", "credits": "7", '
            '"price_class": "workflow:zimage-base"}'
        ),
    ),
    ("Failed", '{"at": 2, "error": {"code": "X", "message": "x"}}'),
]
"""The attempt was never accepted, so it can't have failed, and its hold must not end."""
THREE = "{name: a, prompt: one}\n{name: b, prompt: two}\n{name: c, prompt: three}"


def contradict(bench, name: str, story: list[tuple[str, str]] = IN_DOUBT) -> None:
    with (
        closing(sqlite3.connect(bench.path / "out/.crucible/journal.sqlite3")) as connection,
        connection,
    ):
        query = "SELECT identity FROM plan WHERE json_extract(body, '$.name') = ?"
        ((identity,),) = connection.execute(query, (name,))
        insert = "INSERT INTO events (subject, type, body) VALUES (?, ?, ?)"
        connection.executemany(insert, [(identity, *row) for row in story])


async def test_the_run_continues_with_the_others_and_neither_frees_nor_buys(start, caplog) -> None:
    async with start() as bench:
        manifest = bench.manifest(THREE, budget=20)
        await bench.run(manifest, only=["b"])
        contradict(bench, "a")
        result = await bench.run(manifest, retry_failed=True, resubmit_unknown=True)
        again = await bench.run(manifest, retry_failed=True, resubmit_unknown=True)
        state = await bench.state()
    for ended in (result, again):
        rows = {row.name: row for row in ended.jobs()}
        assert ended.exit_code is ExitCode.STOPPED
        assert {name: row.status for name, row in rows.items()} == {
            "a": "unknown",
            "b": "succeeded",
            "c": "succeeded",
        }
        assert rows["a"].error is not None
        assert rows["a"].error.code == "IMPOSSIBLE_HISTORY"
        assert ended.report.credits.held == 7
    assert len(state["jobs"]) == 2
    said = "".join(record.getMessage() for record in caplog.records)
    assert "job a: the journal contradicts itself" in said
    assert "restore the run directory from a backup" in said


async def test_what_it_holds_counts_against_the_budget(start) -> None:
    async with start() as bench:
        manifest = bench.manifest(THREE, budget=10)
        await bench.run(manifest, only=["b"])
        contradict(bench, "a")
        result = await bench.run(manifest)
        state = await bench.state()
    assert len(state["jobs"]) == 1
    assert result.report.credits.spent + result.report.credits.held == Decimal(9)
    assert {row.name: row.status for row in result.jobs()} == {
        "a": "unknown",
        "b": "succeeded",
        "c": "blocked",
    }


async def test_every_command_that_reads_continues_with_the_rest(start) -> None:
    async with start() as bench:
        manifest, out = bench.manifest(THREE, budget=20), bench.path / "out"
        await bench.run(manifest)
        contradict(bench, "a", [("HoldReleased", IN_DOUBT[1][1])])
        status = api.read_status(out)
        assert (status.report.counts.succeeded, status.report.counts.unknown) == (2, 1)
        head = write_report_again(out)
        assert (head.counts.succeeded, head.counts.unknown, head.credits.spent) == (2, 1, 6)
        planned = await api.plan(manifest, out_dir=out, settings=bench.settings, all_rows=True)
        assert {row.name: row.reason.why for row in planned.comparison.rows} == {
            "a": ChangeCause.UNREADABLE,
            "b": ChangeCause.DONE,
            "c": ChangeCause.DONE,
        }
        assert planned.lines == ()
        state = await bench.state()
    assert len(state["jobs"]) == 3


async def test_a_picture_of_such_a_job_makes_way_for_none(start) -> None:
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}", budget=20))
        contradict(bench, "a", [("HoldReleased", IN_DOUBT[1][1])])
        before = (bench.path / "out/a/0.png").read_bytes()
        result = await bench.run(bench.manifest("{name: a, prompt: another}", budget=20))
        (row,) = result.jobs()
    assert row.error is not None
    assert row.error.code == "OUTPUT_EXISTS"
    assert (bench.path / "out/a/0.png").read_bytes() == before


@pytest.mark.parametrize("kind", ["Intended", "Accepted"])
async def test_events_of_the_wrong_subject_stop_nobody(start, kind) -> None:
    body = '{"at": 1, "nonce": "n", "credits": "1", "payer": "p", "job_id": "j", "reused": false}'
    async with start() as bench:
        bench.picture("i.png")
        manifest = bench.manifest(
            "{name: a, prompt: x, workflow: qwen-edit, image: i.png}\n{name: b, prompt: y}"
        )
        await bench.run(manifest, only=["b"])
        with (
            closing(sqlite3.connect(bench.path / "out/.crucible/journal.sqlite3")) as connection,
            connection,
        ):
            subject = "asset:" + "0" * 64 if kind == "Accepted" else "f" * 64
            connection.execute(
                "INSERT INTO events (subject, type, body) VALUES (?, ?, ?)", (subject, kind, body)
            )
        result = await bench.run(manifest)
    assert result.ok
