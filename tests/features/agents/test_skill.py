"""The guide for agents is true: its commands run as printed, with the exit codes and results that
it shows.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from crucible_batch.cli.app import app
from crucible_batch.errors import ExitCode
from crucible_batch.features.agents.skill import skill_text
from tests.harness.command_tree import all_commands
from tests.harness.commands import Cli, Done

BLOCK = re.compile(
    r"^(?:`(?P<file>[\w.-]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
COMMAND_LINE = re.compile(r"^\$ crucible-batch (?P<words>.*?)(?:\s+# exit (?P<code>\d+))?$")
NEVER = (
    "--yes",
    "--resubmit-unknown",
    "--same-account",
    "run directory",
    "--run-id",
    "budget",
    "API key",
    "journal",
)


@pytest.fixture(scope="module")
def text() -> str:
    import typer.main

    return skill_text(typer.main.get_command(app))


def command_lines(block: str) -> Iterator[tuple[list[str], int]]:
    for line in block.splitlines():
        found = COMMAND_LINE.match(line)
        assert found, line
        yield shlex.split(found["words"]), int(found["code"] or 0)


def assert_same_shape(shown: Any, real: Any, at: str = "") -> None:
    """What is shown is there, with the same types; figures and words too, unless they differ at
    each run."""
    if isinstance(shown, dict):
        assert isinstance(real, dict), at
        for key, value in shown.items():
            assert key in real, f"{at}.{key}"
            assert_same_shape(value, real[key], f"{at}.{key}")
    elif isinstance(shown, list):
        assert isinstance(real, list), at
        for each, other in zip(shown, real, strict=True):
            assert_same_shape(each, other, f"{at}[]")
    elif shown == "..." or at == ".at":
        assert isinstance(real, str), at
    else:
        assert shown == real, at


def test_every_command_of_the_guide_runs_as_it_shows(cli: Cli, text: str) -> None:
    last: Done | None = None
    ran: list[str] = []
    for block in BLOCK.finditer(text):
        match block["kind"]:
            case "yaml":
                (cli.cwd / block["file"]).write_text(block["text"])
            case "json":
                assert last is not None
                assert_same_shape(json.loads(block["text"]), last.envelope)
            case "console":
                for words, code in command_lines(block["text"]):
                    last = cli(*words)
                    assert last.code == code, (words, last.err)
                    assert last.envelope["exit_code"] == code
                    ran.append(words[0])
            case kind:
                raise AssertionError(kind)
    assert ran == ["validate", "plan", "run", "run", "explain", "run", "status", "report", "check"]


def test_the_guide_lists_every_command_and_exit_code(text: str) -> None:
    import typer.main

    for name in all_commands(typer.main.get_command(app)):
        assert f"\n- `{name}`: " in text
    for code in ExitCode:
        assert f"\n| {int(code)} | {code.meaning} | " in text


def test_the_guide_is_a_skill_file_of_moderate_length(lonely_cli: Cli, text: str) -> None:
    printed = lonely_cli("agent", "skill")
    assert (printed.code, printed.out, printed.err) == (0, text, "")
    assert text.startswith("---\nname: crucible-batch\ndescription: ")
    (description,) = re.findall(r"^description: (.*)$", text, re.MULTILINE)
    assert len(description) < 1024
    assert len(text.splitlines()) <= 160
    assert not re.search(r"\{[a-z_]+\}", text)


def test_the_guide_forbids_what_costs_money(text: str) -> None:
    section = text.partition("## What must never be done")[2].partition("\n## ")[0]
    assert all(word in section for word in NEVER)
