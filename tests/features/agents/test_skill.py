"""The guide for agents is complete, short, and forbids what costs money."""

from __future__ import annotations

import re

from crucible_batch.cli.app import app
from crucible_batch.errors import ExitCode
from tests.harness.command_tree import all_commands
from tests.harness.commands import Cli

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


def test_the_guide_lists_every_command_and_exit_code(guide: str) -> None:
    import typer.main

    for name in all_commands(typer.main.get_command(app)):
        assert f"\n- `{name}`: " in guide
    for code in ExitCode:
        assert f"\n| {int(code)} | {code.meaning} | " in guide


def test_the_guide_is_a_skill_file_of_moderate_length(lonely_cli: Cli, guide: str) -> None:
    printed = lonely_cli("agent", "skill")
    assert (printed.code, printed.out, printed.err) == (0, guide, "")
    assert guide.startswith("---\nname: crucible-batch\ndescription: ")
    (description,) = re.findall(r"^description: (.*)$", guide, re.MULTILINE)
    assert len(description) < 1024
    assert len(guide.splitlines()) <= 170
    assert not re.search(r"\{[a-z_]+\}", guide)


def test_the_guide_forbids_what_costs_money(guide: str) -> None:
    section = guide.partition("## What must never be done")[2].partition("\n## ")[0]
    assert all(word in section for word in NEVER)
