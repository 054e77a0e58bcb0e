"""The command as a child process, and local gateways for it to talk to: fixtures and what they
give.

The ``conftest.py`` of a folder imports the fixtures that its tests use.
"""

import functools
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
import typer.main
import typer.testing

from tests.harness.forked_commands import Process, run_command, start_command, start_installed

KEY = "moltazine_sandbox"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Stdout as NDJSON: every line of it has to be an object."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def envelope(self) -> dict[str, Any]:
        return self.lines[-1]


def check_stream(done: Done, command: str) -> dict[str, Any]:
    """Check what every stream promises, and return its envelope."""
    for line in done.lines:
        assert line["type"]
        assert datetime.fromisoformat(line["at"]).tzinfo is not None
    envelope = done.envelope
    assert envelope.keys() >= {"type", "ok", "command", "exit_code", "data", "error"}
    assert envelope["type"] == "result"
    assert envelope["command"] == command
    assert envelope["exit_code"] == done.code
    assert envelope["ok"] is (done.code == 0)
    assert (envelope["error"] is None) is (done.code == 0)
    if envelope["error"] is not None:
        assert envelope["error"].keys() == {"code", "message", "hint", "request_id"}
    return envelope


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what would change the command's ways."""
    ours = {"MOLTAZINE_API_KEY", "CRUCIBLE_API_BASE", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and "proxy" not in name.lower()
    }
    return {**kept, "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1", **more}


@dataclass(frozen=True)
class Cli:
    """Runs commands in a folder of their own.

    ``url`` is the gateway; None means no key and no gateway.
    """

    cwd: Path
    url: str | None

    @property
    def environment(self) -> dict[str, str]:
        if self.url is None:
            return clean_environment()
        return clean_environment(MOLTAZINE_API_KEY=KEY, CRUCIBLE_API_BASE=self.url)

    def __call__(self, *args: str, timeout_s: float = 240, **environment: str) -> Done:
        """Run a command to its end."""
        done = run_command(
            args, cwd=self.cwd, env={**self.environment, **environment}, timeout_s=timeout_s
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *args: str, **options: Any) -> Process:
        """Start a command and leave it running."""
        return start_command(args, cwd=self.cwd, **{"env": self.environment, **options})

    def start_installed(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Start the installed command, where a test is about how it starts or about signals."""
        return start_installed(args, cwd=self.cwd, **{"env": self.environment, **options})

    def write(
        self, name: str, jobs: str = "", *, budget: str = "{credits: 100}", head: str = ""
    ) -> str:
        """Write NAME.yaml, by default one job; the name is part of every idempotency key, so give
        each test its own."""
        jobs = jobs or "- {name: fox, prompt: a fox}"
        budget_line = f"budget: {budget}\n" if budget else ""
        text = f"version: 1\nname: {name}\nworkflow: zimage-base\n{budget_line}{head}jobs:\n"
        path = self.cwd / f"{name}.yaml"
        path.write_text(
            text + "".join(f"  {line}\n" for line in jobs.splitlines()), encoding="utf-8"
        )
        return path.name


@contextmanager
def running_sandbox(*options: str) -> Iterator[str]:
    """Run ``crucible-batch sandbox`` as a child, and give the URL of its API."""
    process = start_command(
        ["sandbox", *options], cwd=Path.cwd(), env=clean_environment(), stderr=DEVNULL
    )
    try:
        assert process.stdout is not None
        exports = [process.stdout.readline() for _ in range(2)]
        yield exports[1].strip().removeprefix("export CRUCIBLE_API_BASE=")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 0


@contextmanager
def answering(
    status: int | Callable[[str], int],
    kind: str = "application/json",
    body: bytes = b"{}",
    *,
    seen: list[tuple[str, dict[str, str], bytes]] | None = None,
    **headers: str,
) -> Iterator[str]:
    """A server that answers each request so; ``status`` may depend on the path.

    ``seen`` gets path, headers, body.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if seen is not None:
                seen.append(
                    (self.path, {name.lower(): value for name, value in self.headers.items()}, sent)
                )
            self.send_response_only(status if isinstance(status, int) else status(self.path))
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session", autouse=True)
def one_command_tree() -> Iterator[None]:
    """Build the tree of commands once for all that run in this process, as the forks do: it takes
    70 ms.
    """
    build = functools.cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", build)
        patch.setattr(typer.testing, "_get_command", build)
        yield


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    """A gateway that answers at once."""
    with running_sandbox("--time-scale", "0", "--credits", "100000") as url:
        yield url


@pytest.fixture(scope="session")
def slow_gateway() -> Iterator[str]:
    """A gateway at which a job takes half a minute."""
    with running_sandbox("--time-scale", "60", "--runners", "1") as url:
        yield url


@pytest.fixture
def cli(tmp_path: Path, gateway: str) -> Cli:
    return Cli(tmp_path, gateway)


@pytest.fixture
def slow_cli(tmp_path: Path, slow_gateway: str) -> Cli:
    return Cli(tmp_path, slow_gateway)


@pytest.fixture
def lonely_cli(tmp_path: Path) -> Cli:
    """The command without a key and without a gateway."""
    return Cli(tmp_path, None)


@pytest.fixture
def report_of() -> Callable[[Path], dict[str, Any]]:
    return lambda run_dir: json.loads((run_dir / "report.json").read_text(encoding="utf-8"))


def journalled(cli: Cli, name: str, event: str) -> bool:
    """Return whether the run of a manifest has an event of this type in its journal."""
    file = cli.cwd / f"outputs/{name}/default/.crucible/journal.sqlite3"
    if not file.exists():
        return False
    query = "SELECT 1 FROM events WHERE type = ?"
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query, (event,)).fetchone() is not None
    except sqlite3.Error:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
