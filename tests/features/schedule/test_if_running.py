"""`run --if-running` while a run of the manifest is active, under another run id or the same."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.harness.commands import Cli, check_stream

TONIGHT = ("--run-id", "tonight")


@contextmanager
def _active(cli: Cli, name: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A run of the manifest that has a job in flight, which takes longer than any test."""
    run = cli.start("run", f"{name}.yaml", "--json", "--run-id", "last-night", *options)
    try:
        assert run.stdout is not None
        assert '"run_began"' in run.stdout.readline()
        yield run
    finally:
        run.kill()
        run.communicate()


@dataclass(frozen=True)
class Busy:
    """A folder in which a run of `held.yaml` is active for all tests of this module, in
    `outputs/held/last-night`."""

    cli: Cli
    pid: int


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, slow_gateway: str) -> Iterator[Busy]:
    cli = Cli(tmp_path_factory.mktemp("busy"), slow_gateway)
    cli.write("held")
    with _active(cli, "held") as process:
        yield Busy(cli, process.pid)


# It is decided before the gateway is asked for anything: there is none at this address.
NOWHERE = {"CRUCIBLE_API_BASE": "http://127.0.0.1:1"}


@pytest.mark.parametrize("run_id", ["last-night", "tonight"])
def test_a_run_fails_while_another_is_active_under_any_id(busy: Busy, run_id: str) -> None:
    done = busy.cli(
        "run", "held.yaml", "--run-id", run_id, "--if-running", "fail", "--json", **NOWHERE
    )
    assert done.code == 6, done.err
    error = check_stream(done, "run")["error"]
    assert (error["code"], f"process {busy.pid} on " in error["message"]) == ("RUN_BUSY", True)


def test_a_run_is_skipped_with_one_line(busy: Busy) -> None:
    done = busy.cli("run", "held.yaml", *TONIGHT, "--if-running", "skip", **NOWHERE)
    assert (done.code, done.out.count("\n"), done.err) == (0, 1, "")
    assert done.out.startswith("skipped  another run holds outputs/held/last-night: process ")
    done = busy.cli("run", "held.yaml", *TONIGHT, "--if-running", "skip", "--json", **NOWHERE)
    data = check_stream(done, "run")["data"]
    assert (data["skipped"], f"process {busy.pid} on " in data["reason"]) == (True, True)


def _waiting(cli: Cli, name: str) -> subprocess.Popen[str]:
    """A run that has said that it waits."""
    run = cli.start("run", f"{name}.yaml", *TONIGHT, "--if-running", "wait")
    assert run.stderr is not None
    assert run.stderr.readline().startswith("waiting  another run holds ")
    return run


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_wait(busy: Busy, number: signal.Signals, code: int) -> None:
    run = _waiting(busy.cli, "held")
    run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert (run.returncode, "stopped by" in err) == (code, True)
    assert not (busy.cli.cwd / "outputs/held/tonight").exists()


def test_a_run_that_waited_begins_when_the_other_is_killed_with_the_manifest_as_it_is_then(
    slow_cli: Cli,
) -> None:
    slow_cli.write("after")
    with _active(slow_cli, "after", "--if-running", "fail") as other:
        run = _waiting(slow_cli, "after")
        slow_cli.write("after", "- {name: a, prompt: '{{ nope }}'}")
        other.send_signal(signal.SIGKILL)
        _, err = run.communicate(timeout=60)
    assert (run.returncode, "the variable 'nope' is unknown" in err) == (2, True)


def test_the_lock_is_no_run_to_anything_that_lists_runs(cli: Cli) -> None:
    cli.write("listed")
    assert cli("run", "listed.yaml", "--if-running", "fail", "-q").code == 0
    assert sorted(path.name for path in (cli.cwd / "outputs/listed").iterdir()) == [
        ".crucible",
        "default",
    ]
    assert [path.name for path in (cli.cwd / "outputs/listed/.crucible").iterdir()] == ["lock"]
    data = check_stream(cli("status", "outputs/listed", "--json"), "status")["data"]
    assert [run["run_dir"] for run in data["runs"]] == ["outputs/listed/default"]
    assert "1 run · 1 of 1 jobs succeeded" in cli("status").out
