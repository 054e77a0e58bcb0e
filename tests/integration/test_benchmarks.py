"""The benchmarks run, in their smallest form: what they measure is right, however long it takes."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import (
    journal,
    layers,
    manifest,
    polling,
    process,
    report,
    simulated_client,
    waits,
    whole_run,
)
from benchmarks.__main__ import measuring
from benchmarks.gateway import running
from benchmarks.simulated_gateway import Story, lognormal, sampled
from crucible_batch.journal import Binding, Journal


def test_each_measurement_of_the_table_has_its_module() -> None:
    table = Path(journal.__file__).with_name("measured.json")
    assert set(measuring()) == set(json.loads(table.read_text(encoding="utf-8")))


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_PICTURES", 2)
    monkeypatch.setattr(report, "_SIDE", 16)


@pytest.mark.usefixtures("small_pictures")
def test_the_report_of_a_few_jobs_is_written_and_measured() -> None:
    json_s, floor_s, page_mb, beside = report.measured(3)
    assert json_s > 0
    assert floor_s >= 0
    assert 0 < page_mb < 1
    assert beside == 0


@pytest.mark.slow
@pytest.mark.usefixtures("small_pictures")
def test_what_a_person_waits_for_is_measured_beside_another_tree() -> None:
    trees = [waits.ROOT, waits.ROOT / "benchmarks" / ".."]
    first, last, status, page = waits.lines(trees, 1, long=3, shown=2)
    assert first.startswith("`run` to the first submit, 10 jobs: ")
    assert last.startswith("last output to the prompt, 10 jobs: ")
    assert status.startswith("`status` of 3 jobs: ")
    assert page.startswith("`report` of 2 jobs, written again: ")
    for line in (first, last, status, page):
        assert line.count("×") == 2


def test_a_manifest_and_a_table_are_planned_and_loaded(tmp_path: Path) -> None:
    yaml, table = manifest.in_yaml(tmp_path, 3), manifest.in_table(tmp_path, "jsonl", 3)
    assert manifest.floor(yaml).cpu_s > 0
    assert manifest.ours(yaml, 3).peak_bytes > 1_000_000
    with pytest.raises(RuntimeError, match="--max-jobs"):  # it has three jobs
        manifest.ours(table, 2)


def test_the_journal_keeps_what_its_producers_and_the_floor_write(tmp_path: Path) -> None:
    with (
        closing(journal.floor(tmp_path)) as connection,
        Journal.open(tmp_path, Binding("m", "r", "g"), now=1.0) as ours,
    ):
        journal.transact(connection, 1)
        asyncio.run(journal.produce(ours, 2 * journal.PRODUCERS, producers=journal.PRODUCERS))
        row = journal.alone(ours, connection, times=3)
        assert len(list(ours.events())) == 2 * journal.PRODUCERS + 3
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (4,)
    assert row.note.startswith("medians of 3: ")


def test_simulated_clients_see_the_end_of_each_job() -> None:
    story = Story(sampled(lognormal, 50, 1), {"a": 8.0})
    loop, ours = simulated_client.fixed(story), simulated_client.ours(story)
    assert (len(loop.delays), len(ours.delays)) == (50, 50)
    assert ours.polls > 0
    assert polling._figures([(loop, ours)]).startswith("mean delay ")


def test_a_run_and_its_floor_are_measured_by_thread(tmp_path: Path) -> None:
    with running(output_bytes=2_000) as url:
        found = layers._measured(
            lambda jobs: whole_run.product(url, tmp_path, jobs), 2, is_profiled=False
        )
        floor = whole_run.script(url, tmp_path, 2, process.FLOORS / "safe_jobs.py")
    assert 0 < found["start"] < found["process"]
    assert 0 < found["journal"] < found["main"] < found["process"]
    assert floor.cpu_s > 0


@pytest.mark.slow
def test_the_time_of_a_run_is_divided_by_layer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["layers", "--jobs", "5", "--output-bytes", "2000"])
    layers.main()
    printed = capsys.readouterr().out
    assert printed.count("µs of CPU a job") == 2
    for layer in (
        "journal: encoding",
        "requests: gateway client",
        "the script itself",
        "event loop",
    ):
        assert layer in printed


@pytest.mark.slow
def test_an_acknowledged_event_outlives_the_kill_of_its_producers(tmp_path: Path) -> None:
    promised, lost = journal.killed(tmp_path, 20)
    assert promised >= 19
    assert lost == 0
