"""The guide for agents is true: its commands run as printed, with the exit codes and results that
it shows.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from tests.harness.commands import Cli, Done

BLOCK = re.compile(
    r"^(?:`(?P<file>[\w.-]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
COMMAND_LINE = re.compile(r"^\$ crucible-batch (?P<words>.*?)(?:\s+# exit (?P<code>\d+))?$")


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


def test_every_command_of_the_guide_runs_as_it_shows(cli: Cli, guide: str) -> None:
    last: Done | None = None
    ran: list[str] = []
    for block in BLOCK.finditer(guide):
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
    beginning = ["validate", "plan", "run", "run", "explain", "run", "status", "report", "check"]
    assert ran == [*beginning, "run", "reject"]
