"""The commands ``schedule list``, ``export`` and ``serve``, as they are installed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from crucible_batch.scheduling.serve.serving import ServeOptions, state_file
from tests.preloaded import COMMAND

from .conftest import Cli

PATIENCE_S = 60
NIGHTLY = 'run_id: "{{ date }}"\nschedule: {cron: "15 3 * * *", timezone: Europe/Berlin, catch_up: 1}\n'
EVERY_MINUTE = 'run_id: "{{ scheduled_at }}"\nschedule: {cron: "* * * * *", catch_up: 1}\n'


def test_the_next_times_are_listed_in_order(lonely_cli: Cli) -> None:
    lonely_cli.write("nightly", head=NIGHTLY)
    lonely_cli.write("yearly", head='schedule: {cron: "0 0 1 1 *"}\n')
    lonely_cli.write("by-hand")
    (lonely_cli.cwd / "compose.yaml").write_text("version: '3'\n")
    done = lonely_cli("schedule", "list", "-n", "400")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert len(lines) == 400
    assert any("nightly.yaml   15 3 * * * Europe/Berlin" in line for line in lines[:2])
    assert all("03:15 +0" in line for line in lines if "nightly" in line)
    data = lonely_cli("schedule", "list", "--json", "-n", "400").envelope["data"]
    times = [datetime.fromisoformat(each["scheduled_at"]) for each in data["times"]]
    assert times == sorted(times)
    yearly = [each["scheduled_at"] for each in data["times"] if each["manifest"] == "yearly.yaml"]
    new_years = [datetime(year, 1, 1, tzinfo=UTC) for year in range(times[0].year, times[-1].year + 1)]
    assert yearly == [day.isoformat() for day in new_years if times[0] <= day <= times[-1]]
    assert data["unscheduled"] == ["by-hand.yaml"]


def test_an_invalid_manifest_is_named_and_only_a_named_one_fails(lonely_cli: Cli) -> None:
    lonely_cli.write("nightly", head=NIGHTLY)
    lonely_cli.write("typo", head='schedule: {corn: "15 3 * * *"}\n')
    done = lonely_cli("schedule", "list", "-n", "1")
    assert done.code == 0
    assert "typo.yaml:" in done.err
    assert "`cron` is missing" in done.err
    assert "nightly.yaml" in done.out
    assert lonely_cli("schedule", "list", "typo.yaml").code == 2
    assert lonely_cli("schedule", "list", "missing.yaml").code == 2


def test_a_folder_without_schedules_shows_how_to_add_one(lonely_cli: Cli) -> None:
    lonely_cli.write("by-hand")
    done = lonely_cli("schedule", "list")
    assert done.code == 0
    assert "no manifest with a schedule was found" in done.out
    assert 'schedule: {cron: "15 3 * * *"' in done.out


@pytest.mark.parametrize("to", ["systemd", "kubernetes"])
def test_files_are_written_for_another_scheduler_and_printed_as_they_are(lonely_cli: Cli, to: str) -> None:
    manifest = lonely_cli.write("nightly", head=NIGHTLY)
    options = ["schedule", "export", manifest, "--to", to, "--image", "registry.example/batch:1"]
    done = lonely_cli(*options, "-o", "units")
    assert done.code == 0
    files = sorted((lonely_cli.cwd / "units").iterdir())
    assert len(files) == 2
    printed = lonely_cli(*options)
    assert printed.out == "".join(f"# --- {file.name}\n{file.read_text()}" for file in files)
    data = lonely_cli(*options, "--json").envelope["data"]
    assert {each["name"]: each["text"] for each in data["files"]} == {file.name: file.read_text() for file in files}


def test_a_missing_env_file_and_a_fixed_run_id_are_pointed_out(lonely_cli: Cli) -> None:
    manifest = lonely_cli.write("nightly", head='schedule: {cron: "15 3 * * *"}\n')
    done = lonely_cli("schedule", "export", manifest, "--to", "systemd")
    assert done.code == 0
    assert "buys nothing new" in done.err
    assert f"there is no {lonely_cli.cwd}/.env" in done.err


@pytest.mark.parametrize("manifest", ["by-hand", "typo"])
def test_a_manifest_that_can_not_be_exported_is_refused(lonely_cli: Cli, manifest: str) -> None:
    lonely_cli.write("by-hand")
    lonely_cli.write("typo", head='schedule: {corn: "15 3 * * *"}\n')
    done = lonely_cli("schedule", "export", f"{manifest}.yaml", "--to", "systemd", "-o", "units")
    assert done.code == 2
    assert not (lonely_cli.cwd / "units").exists()


class Serving:
    """A scheduler in a process of its own. ``url`` is its health endpoint."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        assert process.stdout is not None
        self.process = process
        self._log = log
        first = json.loads(process.stdout.readline())
        self.url = first["health"]

    def wait_for(self, words: str) -> str:
        """Wait until its log has the words, and return it."""
        until = time.monotonic() + PATIENCE_S
        while words not in (text := self._log.read_text()):
            assert time.monotonic() < until, text
            assert self.process.poll() is None, text
            time.sleep(0.1)  # until another process writes
        return text

    def health(self) -> httpx.Response:
        return httpx.get(self.url, timeout=PATIENCE_S, trust_env=False)

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM, and return the exit code and the log."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=PATIENCE_S)
        return code, self._log.read_text()


@contextmanager
def serving(cli: Cli, *, handled: timedelta | None = None) -> Iterator[Serving]:
    """Serve the folder of a command. ``handled`` is how long ago an earlier scheduler dealt with every-minute.yaml."""
    home = cli.cwd / "home"
    if handled is not None:
        options = ServeOptions((Path(),), cli.cwd, 1, state_directory=home / "crucible-batch")
        state = state_file(options)
        assert state is not None
        state.parent.mkdir(parents=True)
        progress = {"handled": (datetime.now(UTC) - handled).isoformat()}
        manifest = str(cli.cwd / "every-minute.yaml")
        state.write_text(json.dumps({"version": 1, "manifests": {manifest: progress}}))
    log = cli.cwd / "log"
    words = [COMMAND, "schedule", "serve", ".", "--health", "0", "--json"]
    environment = {**cli.environment, "XDG_STATE_HOME": str(home)}
    with (
        log.open("w") as stream,
        subprocess.Popen(
            words,
            cwd=cli.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        ) as process,
    ):
        try:
            yield Serving(process, log)
        finally:
            process.kill()


def test_changes_of_a_folder_are_noticed_and_a_signal_ends_it_with_0(cli: Cli) -> None:
    cli.write("nightly", head=NIGHTLY)
    with serving(cli) as scheduler:
        scheduler.wait_for("nightly.yaml: 15 3 * * * Europe/Berlin")
        cli.write("weekly", head='schedule: {cron: "0 9 * * MON"}\n')
        scheduler.wait_for("weekly.yaml: 0 9 * * MON UTC")
        (cli.cwd / "nightly.yaml").write_text("version: 1\nschedule: [\n")
        scheduler.wait_for("its last valid schedule is kept")
        answer = scheduler.health()
        assert answer.status_code == 200
        assert [each["name"] for each in answer.json()["manifests"]] == ["nightly", "weekly"]
        assert [each["manifest"] for each in answer.json()["problems"]] == [str(cli.cwd / "nightly.yaml")]
        assert scheduler.stop()[0] == 0


def test_a_missed_time_is_run_and_its_output_is_reported(cli: Cli) -> None:
    cli.write("every-minute", head=EVERY_MINUTE)
    with serving(cli, handled=timedelta(minutes=3)) as scheduler:
        text = scheduler.wait_for("every-minute: ended with exit code 0")
        assert "every-minute | " in text
        code, _ = scheduler.stop()
    assert code == 0
    assert list((cli.cwd / "outputs" / "every-minute").glob("*/fox/0.png"))


@pytest.mark.slow
def test_a_signal_stops_the_active_run_and_the_next_start_resumes_it(slow_cli: Cli) -> None:
    slow_cli.write("every-minute", head=EVERY_MINUTE)
    with serving(slow_cli, handled=timedelta(minutes=3)) as scheduler:
        scheduler.wait_for("every-minute | ")
        code, text = scheduler.stop()
    assert code == 0
    assert "every-minute: ended with exit code 143" in text
    (state,) = (slow_cli.cwd / "home" / "crucible-batch" / "schedules").glob("*.json")
    (progress,) = json.loads(state.read_text())["manifests"].values()
    started = progress["unfinished"]["scheduled_at"]
    with serving(slow_cli) as scheduler:
        scheduler.wait_for("every-minute: started for ")
        scheduler.stop()
        assert scheduler.process.stdout is not None
        events = [json.loads(line) for line in scheduler.process.stdout]
    starts = [event for event in events if event["type"] == "scheduled_start"]
    assert starts[0]["scheduled_at"] >= started
    assert events[-1]["type"] == "result"


def test_two_schedulers_of_one_folder_are_refused(cli: Cli) -> None:
    cli.write("nightly", head=NIGHTLY)
    with serving(cli) as scheduler:
        scheduler.wait_for("nightly.yaml")
        done = cli("schedule", "serve", ".", XDG_STATE_HOME=str(cli.cwd / "home"))
        assert done.code == 6
        assert "another scheduler" in done.err


@pytest.mark.parametrize(
    "options", [("missing",), (".", "--health", "nowhere"), (".", "--env-file", "missing.env")], ids=str
)
def test_a_scheduler_that_can_not_serve_ends_with_2(lonely_cli: Cli, options: tuple[str, ...]) -> None:
    assert lonely_cli("schedule", "serve", *options).code == 2


@pytest.mark.slow
def test_two_manifests_of_every_minute_are_run_by_the_clock(cli: Cli) -> None:
    for name in ("foxes", "owls"):
        cli.write(name, head=EVERY_MINUTE)
    with serving(cli) as scheduler:
        until = time.monotonic() + 240
        while any(len(list((cli.cwd / "outputs" / name).glob("*/fox/0.png"))) < 2 for name in ("foxes", "owls")):
            assert time.monotonic() < until, (cli.cwd / "log").read_text()
            time.sleep(1)  # of the clock that the scheduler goes by
        assert scheduler.stop()[0] == 0
