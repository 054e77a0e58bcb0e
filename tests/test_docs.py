"""What the docs hold that the program makes is what the program makes today."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from crucible_batch.api import Message

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    ("file", "options"),
    [("manifest.schema.json", []), ("report.schema.json", ["--report"]), ("plan.schema.json", ["--plan"])],
    ids=["manifest", "report", "plan"],
)
def test_a_schema_in_the_docs_is_todays(file: str, options: list[str]) -> None:
    """Made by ``make schema``."""
    command = [sys.executable, "-m", "crucible_batch", "schema", *options]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads((DOCS / file).read_text(encoding="utf-8")) == json.loads(printed)


def test_every_line_of_json_is_in_the_docs() -> None:
    """The types are read from the code that words them: one ``case`` for each message."""
    source = (DOCS.parent / "crucible_batch/cli/display/json_lines.py").read_text(encoding="utf-8")
    types = re.findall(r'return "([a-z_]+)", \{', source)
    assert len(types) == len(get_args(Message))
    table = re.findall(r"^\| `([a-z_]+)` \|", (DOCS / "events.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(table) == sorted(["type", *types, "result"])  # the head, the events, the envelope
