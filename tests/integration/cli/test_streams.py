"""Streams that are closed, or whose readers have gone: a command ends as it would have, and a run
loses nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.harness.commands import Cli
from tests.harness.slow_cases import quick_every, quick_where

RUN_DIR = "outputs/streams/default"
COMMANDS = [
    ("run", "streams.yaml"),
    ("run", "streams.yaml", "--json"),
    ("plan", "streams.yaml"),
    ("plan", "streams.yaml", "--json"),
    ("validate", "streams.yaml"),
    ("validate", "streams.yaml", "--json"),
    ("status", RUN_DIR),
    ("status", RUN_DIR, "--json"),
    ("report", RUN_DIR),
    ("workflows",),
    ("workflows", "--json"),
    ("schema",),
    ("explain",),
    ("--help",),
    ("--version",),
]


def closed(descriptors: str) -> Callable[..., tuple[int, str]]:
    """How to start a command with these descriptors closed; returns its exit code and what it says
    on stderr."""

    def start_so(start: Any, command: Sequence[str]) -> tuple[int, str]:
        process = start(*command, closed=descriptors)
        _, err = process.communicate(timeout=120)
        return process.returncode, err

    return start_so


def left(start: Any, command: Sequence[str]) -> tuple[int, str]:
    """Start a command with a stdout that nobody reads any more."""
    ours, theirs = os.pipe()
    os.close(ours)
    process = start(*command, stdout=theirs)
    os.close(theirs)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


ENDS = [
    (command, situation)
    for command in COMMANDS
    for situation in ("stdout closed", "all closed", "left")
]


def _is_quick(case: tuple[tuple[str, ...], str]) -> bool:
    """Each command meets one of the situations, in turn."""
    return ENDS.index(case) % 3 == COMMANDS.index(case[0]) % 3


def _name(value: tuple[str, ...] | str) -> str:
    return value if isinstance(value, str) else " ".join(value)


SITUATIONS = {
    "stdin closed": closed("0"),
    "stdout closed": closed("1"),
    "all closed": closed("012"),
    "left": left,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, gateway: str) -> Cli:
    """A folder with a finished run."""
    cli = Cli(tmp_path_factory.mktemp("streams"), gateway)
    cli.write("streams")
    assert cli("run", "streams.yaml").code == 0
    return cli


@pytest.mark.parametrize(("command", "situation"), quick_where(ENDS, _is_quick), ids=_name)
def test_a_command_ends_quietly_and_as_it_would_have(
    place: Cli, command: tuple[str, ...], situation: str
) -> None:
    code, said = SITUATIONS[situation](place.start, command)
    assert code == 0, said
    for word in ("Traceback", "Exception", "Error", "bug"):
        assert word not in said


@pytest.mark.parametrize("json_too", quick_every(2, [[], ["--json"]]), ids=["", "--json"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_run_continues_to_its_end_and_loses_nothing(
    place: Cli, situation: str, json_too: list[str]
) -> None:
    name = f"{situation.replace(' ', '-')}{len(json_too)}"
    code, said = SITUATIONS[situation](
        place.start, ["run", "streams.yaml", "--run-id", name, *json_too]
    )
    assert code == 0, said
    run_dir = place.cwd / "outputs/streams" / name
    report = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
    assert (report["counts"]["succeeded"], report["counts"]["total"]) == (1, 1)
    assert (run_dir / "fox/0.png").is_file()
    assert (run_dir / ".crucible/journal.sqlite3").read_bytes().startswith(b"SQLite format 3\0")


def test_what_is_wrong_is_the_exit_code_without_streams_too(place: Cli) -> None:
    (place.cwd / "broken.yaml").write_text("version: 1\n")
    for situation in SITUATIONS.values():
        code, said = situation(place.start_installed, ["validate", "broken.yaml"])
        assert code == 2
        assert "Traceback" not in said
