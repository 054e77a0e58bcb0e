"""The viewer as its user starts it, on runs that go on in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness.commands import Cli, running_sandbox

MANY = """\
- name: harbour
  prompt: "A harbour, {{ style }}"
  matrix: {style: [noir, gouache]}
  repeat: 6
- {name: refused, prompt: nsfw}
"""


class Viewer:
    """A viewer that is running. ``get`` asks for an address, which may be odd, as it stands.

    ``token`` is that of its session, if it was started with ``--control``.
    """

    def __init__(self, process: subprocess.Popen[str], url: str, token: str = "") -> None:
        self.process = process
        self.url = url
        self.token = token
        self.client = httpx.Client(
            base_url=url.partition("/runs/")[0], trust_env=False, timeout=120
        )

    def get(self, address: str) -> httpx.Response:
        return self.client.get(address)

    def key(self, directory: str) -> str:
        """The key of a run, by its place as the list shows it."""
        (article,) = [
            part for part in self.get("/").text.split("<article") if f">{directory}</span>" in part
        ]
        return article.partition('id="run-')[2].partition('"')[0]

    def data(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/data/{key}").json()
        return found

    def events(self, address: str) -> Generator[tuple[str, dict[str, Any]], None, None]:
        """The events of a stream, until the server ends it."""
        with self.client.stream("GET", address) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            kind = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield kind, json.loads(line.removeprefix("data: "))


@contextmanager
def viewing(cli: Cli, *args: str) -> Iterator[Viewer]:
    """Start a viewer, and end it as its user does."""
    process = cli.start("view", *args, "--json")
    try:
        assert process.stdout is not None
        viewer = Viewer(process, json.loads(process.stdout.readline())["url"])
        if "--control" in args:
            told = json.loads(process.stdout.readline())
            viewer.token = told["token"]
            assert told["url"] == f"{viewer.url}#control={viewer.token}"
        yield viewer
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    viewer.client.close()
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["exit_code"] == 0
    assert "Traceback" not in err


@pytest.fixture(scope="session")
def queueing() -> Iterator[str]:
    """A gateway with a queue: some jobs wait while others run, and each takes a second."""
    with running_sandbox("--time-scale", "1.2", "--runners", "2") as url:
        yield url


@pytest.fixture(scope="session")
def instant() -> Iterator[str]:
    with running_sandbox("--time-scale", "0") as url:
        yield url


@pytest.fixture
def cli(tmp_path: Path, queueing: str) -> Cli:
    return Cli(tmp_path, queueing)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, instant: str) -> Cli:
    """A folder with a finished run, and one that nobody may write to in these tests."""
    cli = Cli(tmp_path_factory.mktemp("finished"), instant)
    assert cli("run", cli.write("done", MANY)).code == 1
    return cli


@pytest.fixture(scope="session")
def viewer(finished: Cli) -> Iterator[Viewer]:
    with viewing(finished) as running:
        yield running
