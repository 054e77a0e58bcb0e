"""The guide for agents is complete, short, and forbids what costs money."""

from __future__ import annotations

import re

import yaml

from crucible_batch import __version__
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
    assert len(guide.splitlines()) <= 176
    assert not re.search(r"\{[a-z_]+\}", guide)


def test_the_head_of_the_guide_is_what_registries_of_skills_ask_for(guide: str) -> None:
    head = yaml.safe_load(guide.split("---\n")[1])
    assert set(head) == {"name", "description", "license", "compatibility", "metadata"}
    assert head["name"] == "crucible-batch", "the folder of the guide has this name"
    assert 0 < len(head["description"]) <= 1024
    assert 0 < len(head["compatibility"]) <= 500
    assert head["metadata"]["version"] == __version__
    assert all(isinstance(value, str) for value in head["metadata"].values())


def test_the_guide_forbids_what_costs_money(guide: str) -> None:
    section = guide.partition("## What must never be done")[2].partition("\n## ")[0]
    assert all(word in section for word in NEVER)
