"""What the docs hold that the program makes is what the program makes today."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_the_page_of_error_codes_is_todays() -> None:
    """Made by ``make schema``, too."""
    command = [sys.executable, "-m", "crucible_batch", "explain", "--markdown"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert (DOCS / "errors.md").read_text(encoding="utf-8") == printed
