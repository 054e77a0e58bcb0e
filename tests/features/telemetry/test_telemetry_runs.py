"""Metrics of runs against the sandbox, and that their failures do not reach the run."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from crucible_batch.core.events import Accepted
from crucible_batch.core.progress import JobAdvanced, RunEnded
from crucible_batch.errors import ConsentError, KeyRefusedError, RunBusyError, UserError
from crucible_batch.features.telemetry import figures
from crucible_batch.journal import lock_run_directory
from crucible_batch.settings import Settings

TWO = "{name: a, prompt: a}\n{name: bad, prompt: nsfw}"


def read(directory: Path) -> dict[str, float]:
    """The samples of the only file, without the label that all have."""
    (path,) = directory.iterdir()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        for sample in family.samples:
            assert sample.labels.pop("manifest")
            labels = "".join(f" {value}" for value in sample.labels.values())
            found[sample.name.removeprefix("crucible_batch_") + labels] = sample.value
    return found


@pytest.fixture
def prom(tmp_path: Path) -> Path:
    directory = tmp_path / "prom"
    directory.mkdir()
    return directory


async def test_the_file_has_what_the_report_has(start, prom):
    async with start() as bench:
        first = await bench.run(bench.manifest(TWO), metrics_textfile=prom)
        found = read(prom)
        assert found["exit_code"] == first.exit_code == 1
        assert (found["jobs succeeded"], found["jobs failed"], found["jobs pending"]) == (1, 1, 0)
        assert (
            found["spent_credits"]
            == found["run_spent_credits"]
            == float(first.report.credits.spent)
        )
        assert (found["held_credits"], found["budget_credits"], found["outputs"]) == (0, 100, 1)
        assert found["last_success_timestamp_seconds"] == 0
        assert (
            0
            <= found["duration_seconds"]
            == pytest.approx(
                found["last_end_timestamp_seconds"] - found["last_start_timestamp_seconds"],
                abs=0.01,
            )
        )
        again = await bench.run(bench.manifest("{name: a, prompt: a}"), metrics_textfile=prom)
        found = read(prom)
    assert again.ok
    assert (
        found["exit_code"],
        found["jobs succeeded"],
        found["run_spent_credits"],
        found["outputs"],
    ) == (0, 1, 0, 0)
    assert found["last_success_timestamp_seconds"] == found["last_end_timestamp_seconds"]


async def test_a_run_that_fails_before_it_begins_is_reported(start, prom):
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: a}"), metrics_textfile=prom)
        success = read(prom)["last_success_timestamp_seconds"]
        with pytest.raises(ConsentError):
            await bench.run(bench.manifest(TWO, budget=None), metrics_textfile=prom)
        found = read(prom)
        assert (found["exit_code"], found["last_success_timestamp_seconds"]) == (2, success)
        assert not [name for name in found if name.startswith("jobs")]
        wrong = Settings(api_key="moltazine_wrong", base_url=bench.running.api_url)
        with pytest.raises(KeyRefusedError):
            await bench.run(bench.manifest(TWO), metrics_textfile=prom, settings=wrong)
        assert read(prom)["exit_code"] == 3
        assert success > 0


async def test_a_run_that_finds_another_one_active_leaves_its_metrics_alone(start, prom):
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: a}"), metrics_textfile=prom)
        before = read(prom)
        with lock_run_directory(bench.path / "out"), pytest.raises(RunBusyError):
            await bench.run(bench.manifest("{name: a, prompt: a}"), metrics_textfile=prom)
    assert read(prom) == before


async def test_a_cancelled_run_is_no_success(start, prom):
    class Cancelling:
        def notify(self, message: object) -> None:
            if isinstance(message, JobAdvanced) and isinstance(message.event, Accepted):
                running.cancel()

    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: a}")
        running = asyncio.create_task(
            bench.run(manifest, metrics_textfile=prom, observer=Cancelling())
        )
        with pytest.raises(asyncio.CancelledError):
            await running
    found = read(prom)
    assert (found["exit_code"], found["last_success_timestamp_seconds"]) == (130, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"metrics_textfile": Path("/nowhere")},
        {"metrics_listen": "x"},
        {"metrics_listen": "198.51.100.7:9464"},
    ],
    ids=["directory", "form", "address"],
)
async def test_what_cannot_be_used_is_refused_before_anything_is_bought(start, options):
    async with start() as bench:
        with pytest.raises(UserError):
            await bench.run(bench.manifest(TWO), **options)
        assert (await bench.state())["audit"]["spent_on_jobs"] == 0
        assert not (bench.path / "out").exists()


async def test_a_port_in_use_is_refused_before_anything_is_bought(start):
    async with start() as bench:
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            pytest.raises(UserError, match="already in use"),
        ):
            await bench.run(bench.manifest(TWO), metrics_listen=str(taken.getsockname()[1]))
        assert (await bench.state())["audit"]["spent_on_jobs"] == 0


async def test_metrics_are_served_until_the_run_ends(start):
    """The messages come from the event loop, so the endpoint is read in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, pages = f"http://127.0.0.1:{port}/metrics", []

    class Reader:
        def notify(self, message: object) -> None:
            if isinstance(message, RunEnded):
                pages.append(httpx.get(url, trust_env=False).text)

    async with start() as bench:
        await bench.run(bench.manifest(TWO), metrics_listen=str(port), observer=Reader())
    assert 'crucible_batch_jobs{manifest="trial",outcome="succeeded"} 1.0' in pages[0]
    assert 'crucible_batch_running{manifest="trial"} 1.0' in pages[0]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


async def test_a_bug_in_a_metric_does_not_reach_the_run(start, prom, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(figures.RunFigures, "_advance", broken)
    async with start() as bench:
        result = await bench.run(bench.manifest("{name: a, prompt: a}"), metrics_textfile=prom)
    assert result.ok
    assert caplog.text.count("no longer recorded") == 1
    assert read(prom)["exit_code"] == 0
