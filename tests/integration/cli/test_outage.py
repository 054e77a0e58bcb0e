"""Outages with real processes: a gateway that is started after the run, and one that is restarted
in the middle.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli, running_sandbox
from tests.harness.sandbox_audit import with_audit

JOBS = 12


def _free_ports(count: int) -> list[int]:
    """Ports that are free, and stay so while nobody listens: below those that the system gives to
    connections.
    """
    with ExitStack() as stack:
        found = list[int]()
        while len(found) < count:
            each = stack.enter_context(socket.socket())
            with suppress(OSError):
                each.bind(("127.0.0.1", secrets.choice(range(15_000, 32_000))))
                found.append(each.getsockname()[1])
        return found


@pytest.fixture
def away(tmp_path: Path) -> tuple[Cli, Callable[[], Any]]:
    """A command whose gateway is not there yet, and what starts it.

    It remembers everything across restarts.
    """
    port, storage_port = _free_ports(2)
    options = (
        "--port",
        str(port),
        "--storage-port",
        str(storage_port),
        "--state",
        str(tmp_path / "sandbox.db"),
    )
    return Cli(tmp_path, f"http://127.0.0.1:{port}"), lambda: running_sandbox(
        *options, "--time-scale", "0.5"
    )


@contextmanager
def _started(
    cli: Cli, *args: str
) -> Iterator[tuple[subprocess.Popen[str], Iterator[dict[str, Any]]]]:
    process = cli.start(*args, "--json", stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        yield process, (json.loads(line) for line in process.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _until(lines: Iterator[dict[str, Any]], kind: str, **fields: object) -> None:
    for line in lines:
        if line["type"] == kind and fields.items() <= line.items():
            return
    raise AssertionError(f"the run ended without a line {kind} {fields}")


def _state(url: str | None) -> Any:
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        return with_audit(json.load(answer))


def _bought_once(cli: Cli, count: int) -> None:
    state = _state(cli.url)
    assert state["audit"]["problems"] == state["violations"] == []
    assert len(state["jobs"]) == count
    report = json.loads((cli.cwd / "outputs/dark/default/report.json").read_text(encoding="utf-8"))
    assert float(report["credits"]["spent"]) == state["audit"]["spent_on_jobs"]
    assert report["counts"]["succeeded"] == count


def test_a_run_outlasts_a_restart_of_the_gateway_and_buys_nothing_twice(
    away: tuple[Cli, Callable[[], Any]],
) -> None:
    cli, gateway = away
    manifest = cli.write("dark", f"- {{name: fox, prompt: a fox, repeat: {JOBS}}}")
    with ExitStack() as stack:
        with gateway():
            process, lines = stack.enter_context(_started(cli, "run", manifest, "-c", "2"))
            for _ in range(3):
                _until(lines, "job", event="accepted")
            before = len(_state(cli.url)["jobs"])
        _until(lines, "gateway_unreachable")
        with gateway():
            assert before <= len(_state(cli.url)["jobs"]) < JOBS
            _until(lines, "gateway_back")
            _until(lines, "result", ok=True)
            assert process.wait(timeout=120) == 0
            _bought_once(cli, JOBS)


@pytest.mark.parametrize("text", ["never", "-1", "10 minutes"])
def test_what_is_not_a_duration_is_refused(away: tuple[Cli, Callable[[], Any]], text: str) -> None:
    cli, _ = away
    done = cli("run", cli.write("dark"), "--wait-for-gateway", text)
    assert done.code == 2
    assert "--wait-for-gateway" in done.err
