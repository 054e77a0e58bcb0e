"""`ctl`: a run in one process, commands from another. The judge is the gateway's ledger."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from crucible_batch.features.control.part import SOCKET, connected, listening
from crucible_batch.journal import lock_run_directory
from tests.harness.commands import Cli, Done, running_sandbox

JOBS = "- {name: fox, prompt: a fox, repeat: 40}\n"
HEAD = "params: {size.width: 64, size.height: 64}\n"


@pytest.fixture(scope="module")
def busy_gateway() -> Iterator[str]:
    with running_sandbox("--time-scale", "1", "--runners", "4") as url:
        yield url


@pytest.fixture
def busy_cli(tmp_path: Path, busy_gateway: str) -> Cli:
    return Cli(tmp_path, busy_gateway)


@contextmanager
def active(cli: Cli, name: str, *options: str, jobs: str = JOBS) -> Iterator[subprocess.Popen[str]]:
    """A run, from the moment at which the gateway has accepted its first job."""
    run = cli.start("run", cli.write(name, jobs, head=HEAD), "--json", *options)
    try:
        follow(run, lambda line: line.get("event") == "accepted")
        yield run
    finally:
        run.kill()
        run.communicate()


def follow(run: subprocess.Popen[str], until: Any) -> list[dict[str, Any]]:
    """Read the run's events until one is as wanted."""
    assert run.stdout is not None
    lines: list[dict[str, Any]] = []
    for text in run.stdout:
        lines.append(json.loads(text))
        if until(lines[-1]):
            return lines
    raise AssertionError(f"the run ended: {lines[-1:]}")


def ctl(cli: Cli, name: str, *words: str) -> Done:
    return cli("ctl", f"outputs/{name}/default", *words, "--json")


def bought(url: str, name: str) -> int:
    """How many jobs of a manifest the gateway has accepted: the budget of each test's jobs is its
    own.
    """
    state = httpx.get(f"{url}/_sandbox/state", trust_env=False).json()
    return sum(name in job["params"].values() for job in state["jobs"])


def test_a_run_is_paused_and_resumed_and_not_one_job_is_bought_in_between(
    busy_cli: Cli, busy_gateway: str
) -> None:
    jobs = "- {name: fox, prompt: load, repeat: 16}\n"
    with active(busy_cli, "load", "-c", "2", jobs=jobs) as run:
        paused = ctl(busy_cli, "load", "pause")
        assert paused.code == 0, paused.err
        before = bought(busy_gateway, "load")
        assert 0 < before < 16
        again = ctl(busy_cli, "load", "pause").envelope["data"]
        while again["in_flight"]:
            assert again["message"].startswith("already paused by ")
            again = ctl(busy_cli, "load", "pause").envelope["data"]
        status = busy_cli("status", "outputs/load/default", "--json").envelope["data"]
        assert status["running"]
        assert status["paused"]["via"] == "terminal"
        assert [
            run["state"] for run in busy_cli("status", "--json").envelope["data"]["runs"]
        ].count("paused") == 1
        assert " paused " in busy_cli("status").out
        assert (
            "crucible-batch ctl outputs/load/default resume"
            in busy_cli("status", "outputs/load/default").out
        )
        assert bought(busy_gateway, "load") == before
        assert ctl(busy_cli, "load", "concurrency", "20").code == 0
        assert (
            ctl(busy_cli, "load", "resume").envelope["data"]["message"].startswith("resumed after ")
        )
        lines = follow(run, lambda line: line["type"] == "result")
        run.wait()
    assert lines[-1]["exit_code"] == 0
    assert bought(busy_gateway, "load") == 16
    shown = [
        (line["action"], line["via"], line["by"]) for line in lines if line["type"] == "control"
    ]
    assert [action for action, _, _ in shown] == ["pause", "concurrency", "resume"]
    assert {by for _, _, by in shown} == {status["paused"]["by"]}
    assert not (busy_cli.cwd / "outputs/load/default" / SOCKET).exists()


def test_commands_change_the_run_and_stop_ends_it_like_ctrl_c(
    slow_cli: Cli, report_of: Any
) -> None:
    with active(slow_cli, "steered") as run:
        path = slow_cli.cwd / "outputs/steered/default" / SOCKET
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (
            ctl(slow_cli, "steered", "concurrency", "3")
            .envelope["data"]["message"]
            .startswith("at most 3 jobs")
        )
        assert (
            ctl(slow_cli, "steered", "deadline", "5m")
            .envelope["data"]["message"]
            .startswith("the run stops in 0:05")
        )
        assert ctl(slow_cli, "steered", "stop").envelope["data"]["message"].startswith("stopping; ")
        assert (
            ctl(slow_cli, "steered", "stop")
            .envelope["data"]["message"]
            .startswith("already stopping; ")
        )
        assert ctl(slow_cli, "steered", "pause").code == 2
        assert (
            ctl(slow_cli, "steered", "deadline", "0.01s").code == 0
        )  # so that the grace time is not waited for
        lines = follow(run, lambda line: line["type"] == "result")
    assert lines[-1]["exit_code"] == 130
    error = lines[-1]["error"]
    assert error["code"] == "INTERRUPTED"
    assert error["message"].startswith("stopped by ")
    assert report_of(slow_cli.cwd / "outputs/steered/default")["status"] == "interrupted"


def test_a_directory_without_an_active_run_is_refused_with_what_to_do(cli: Cli) -> None:
    assert cli("run", cli.write("done")).code == 0
    done = ctl(cli, "done", "pause")
    assert done.code == 2
    error = done.envelope["error"]
    assert error["code"] == "CONTROL_REFUSED"
    assert error["message"] == "no run is active in outputs/done/default"
    assert cli(*error["hint"].partition("crucible-batch ")[2].split()).code == 0
    assert cli("ctl", "nowhere", "pause").code == 2
    assert ctl(cli, "done", "halt").envelope["error"]["code"] == "USAGE"


def test_the_socket_that_a_killed_run_left_is_harmless(slow_cli: Cli) -> None:
    with active(slow_cli, "killed"):
        assert ctl(slow_cli, "killed", "pause").code == 0
    path = slow_cli.cwd / "outputs/killed/default" / SOCKET
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert "no run is active" in ctl(slow_cli, "killed", "resume").envelope["error"]["message"]
    with active_again(slow_cli, "killed"):
        assert "not paused" in ctl(slow_cli, "killed", "resume").envelope["data"]["message"]


@contextmanager
def active_again(cli: Cli, name: str) -> Iterator[None]:
    run = cli.start("run", f"{name}.yaml", "--json")
    try:
        follow(run, lambda line: line["type"] == "taken_up")
        yield
    finally:
        run.kill()
        run.communicate()


# -- the socket


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    directory = tmp_path / ("d" * 120)  # longer than the address of a socket may be
    (directory / ".crucible").mkdir(parents=True)
    return directory


def test_a_long_path_has_a_socket_as_well(run_dir: Path) -> None:
    with (
        lock_run_directory(run_dir),
        listening(run_dir) as bound,
        connected(run_dir, 5) as connection,
    ):
        served, _ = bound.accept()
        connection.sendall(b"x")
        assert served.recv(1) == b"x"
        served.close()
    assert not (run_dir / SOCKET).exists()


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_what_is_not_a_socket_is_neither_replaced_nor_connected_to(
    run_dir: Path, kind: str
) -> None:
    path = run_dir / SOCKET
    if kind == "file":
        path.write_text("mine")
    elif kind == "link":
        path.symlink_to("/etc/hosts")
    else:
        path.mkdir()
    with pytest.raises(OSError, match="in use"), listening(run_dir):
        pass
    assert os.path.lexists(path)
    with pytest.raises(FileNotFoundError):
        connected(run_dir, 5)


@pytest.mark.parametrize(
    "sent", [b"", b"\n", b"[]\n", b'{"words": "pause", "via": "terminal"}\n',
             b'{"words": ["pause"], "via": "x"}\n', b"[" * 60_000 + b"\n",
             b'{"words": ["' + b"a" * 70_000 + b'"]}\n', b"\xff\n"],
)  # fmt: skip
def test_what_is_no_command_does_not_disturb_the_run(steady: Cli, sent: bytes) -> None:
    with connected(steady.cwd / "outputs/steady/default", 30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").readline()
    assert not answer or json.loads(answer)["ok"] is False
    assert "not paused" in ctl(steady, "steady", "resume").envelope["data"]["message"]


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory, slow_gateway: str) -> Iterator[Cli]:
    """A folder in which a run is active for all tests that need one."""
    cli = Cli(tmp_path_factory.mktemp("steady"), slow_gateway)
    with active(cli, "steady"):
        yield cli
