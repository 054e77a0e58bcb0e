"""The installed command with its outputs on a real S3 server, the gateway's ledger as the judge."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from tests.harness.commands import running_sandbox
from tests.verification.objectstore.conftest import CANARIES, READER, S3Server

MANIFEST = """version: 1
name: trial
workflow: zimage-base
params: {size.width: 64, size.height: 64}
budget: {credits: 1000}
jobs:
  - {name: "j{{ n }}", prompt: "number {{ n }}", matrix: {n: [%s]}}
"""


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    with running_sandbox("--time-scale", "0.02", "--credits", "100000") as url:
        yield url


class Command:
    def __init__(self, s3: S3Server, gateway: str, directory: Path) -> None:
        self.s3 = s3
        self.directory = directory
        self.variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory / "home"),
            "MOLTAZINE_API_KEY": "moltazine_sandbox",
            "CRUCIBLE_API_BASE": gateway,
            **s3.variables(),
        }

    def manifest(self, jobs: int) -> Path:
        path = self.directory / "m.yaml"
        # Prompts of its own for each test, since all use one gateway.
        numbers = ", ".join(f"'{self.s3.prefix[-8:]}-{number}'" for number in range(jobs))
        path.write_text(MANIFEST % numbers)
        return path

    def start(self, *arguments: str | Path, **changes: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "crucible_batch", *map(str, arguments)],
            env={**self.variables, **changes},
            cwd=self.directory,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __call__(self, *arguments: str | Path, **changes: str) -> tuple[int, str]:
        with self.start(*arguments, **changes) as process:
            output, _ = process.communicate(timeout=300)
        assert not any(canary in output for canary in CANARIES)
        return process.returncode, output

    def spent(self) -> str:
        code, output = self("check", self.s3.url, "--ledger", "--json")
        assert code == 0, output
        return output


@pytest.fixture
def command(s3: S3Server, gateway: str, tmp_path: Path) -> Command:
    return Command(s3, gateway, tmp_path)


def test_a_run_its_report_its_verification_and_its_recovery(command: Command, s3: S3Server) -> None:
    manifest = command.manifest(6)
    code, output = command("run", manifest, "--out-dir", s3.url, "--json")
    assert code == 0, output
    ended = json.loads([line for line in output.splitlines() if line.startswith("{")][-1])
    assert ended["data"]["outputs_at"] == s3.url
    names = s3.names()
    assert len([name for name in names if name.endswith(".png")]) == 6
    assert {".crucible/run.json", "receipts.jsonl", "report.html", "report.json"} <= set(names)
    assert not list(command.directory.rglob("*.png"))

    assert command("check", s3.url, "--outputs")[0] == 0
    picture = next(name for name in names if name.endswith(".png"))
    obstore.delete(s3.backend(), picture)
    code, output = command("check", s3.url, "--outputs")
    assert (code, picture in output) == (7, True)
    assert command("check", s3.url, "--fix")[0] == 0
    assert s3.names() == names
    stored = {name for name in names if "/log/" not in name}
    assert command("report", s3.url)[0] == 0
    assert command("status", s3.url)[0] == 0
    command.spent()

    shutil.rmtree(command.directory / "home")
    code, output = command("run", manifest, "--out-dir", s3.url)
    assert code == 0, output
    assert {name for name in s3.names() if "/log/" not in name} == stored
    command.spent()


def test_a_run_killed_at_any_moment_is_resumed_and_every_output_is_there_once(
    command: Command, s3: S3Server
) -> None:
    manifest = command.manifest(30)
    for kill_at in (1, 8, 20):
        process = command.start("run", manifest, "--out-dir", s3.url)
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until:
            if len([name for name in s3.names() if name.endswith(".png")]) >= kill_at:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, output = command("run", manifest, "--out-dir", s3.url, "--json")
    assert code == 0, output
    ended = json.loads([line for line in output.splitlines() if line.startswith("{")][-1])["data"]
    assert ended["counts"]["succeeded"] == 30
    assert len([name for name in s3.names() if name.endswith(".png")]) == 30
    assert command("check", s3.url, "--outputs")[0] == 0
    command.spent()


def test_refusals_spend_nothing_and_name_what_to_do(command: Command, s3: S3Server) -> None:
    manifest = command.manifest(1)
    run = ("run", manifest, "--out-dir")
    for changes, url, words in (
        (
            {},
            "s3://no-such-bucket/x",
            "the bucket no-such-bucket of s3://no-such-bucket/x doesn't exist",
        ),
        (
            dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), READER, strict=True)),
            s3.url,
            "access is denied",
        ),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, s3.url, "rejects the credentials"),
        ({}, "s3://key:secret@bucket/x", "contains @, ? or #"),
    ):
        code, output = command(*run, url, **changes)
        assert (code, words in " ".join(output.split())) == (2, True), output
        assert "hint" in output
    assert s3.names() == []
