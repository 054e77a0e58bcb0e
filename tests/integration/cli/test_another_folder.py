"""A run that is started in another folder than the last one is noticed before it buys anything
again."""

from __future__ import annotations

import re
import shlex
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli, Done, running_sandbox
from tests.harness.screen import Screen

ANOTHER = {"XDG_STATE_HOME": "/dev/null"}  # a machine or a user without the list of runs


@pytest.fixture(autouse=True)
def _list_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def credits(cli: Cli) -> str:
    return cli("credits", "--json").envelope["data"]["available"]


def in_folder(cli: Cli, folder: str) -> Cli:
    (cli.cwd / folder).mkdir(parents=True, exist_ok=True)
    return replace(cli, cwd=cli.cwd / folder)


def run_there(cli: Cli, name: str, **environment: str) -> Cli:
    """Run NAME.yaml in its own folder, ``it's x``."""
    there = in_folder(cli, "it's x")
    there.write(name)
    assert there("run", f"{name}.yaml", "-q", **environment).code == 0
    return there


def commands(done: Done) -> list[list[str]]:
    """The words of both printed commands."""
    one = "crucible-batch (.*?)"
    both = f"to continue the earlier run: {one}; to begin a new one: {one} more crucible-batch"
    found = re.search(both, said(done))
    assert found is not None, done.err
    return [shlex.split(words) for words in found.groups()]


def said(done: Done) -> str:
    return " ".join((done.out + done.err).split())


@pytest.mark.parametrize("environment", [{}, ANOTHER], ids=["with the list", "without it"])
def test_a_run_from_another_folder_is_refused_and_both_printed_commands_work(
    cli: Cli, environment: dict[str, str]
) -> None:
    name = "elsewhere" + "-listed" * (not environment)
    there = run_there(cli, name, **environment)
    before = credits(cli)
    done = cli("run", f"it's x/{name}.yaml", "-c", "2", "--yes", **environment)
    assert done.code == 2
    assert (
        f"an earlier run of this manifest is in it's x/outputs/{name}/default, "
        "which bought 1 job for 2 credits"
    ) in said(done)
    assert not (cli.cwd / "outputs").exists()
    continued, new = commands(done)
    assert continued[:5] == ["run", f"it's x/{name}.yaml", "-c", "2", "--yes"]
    again = cli(*continued, **environment)
    assert again.code == 0, again.err
    assert "0 spent by this run" in again.out
    assert cli("run", f"it's x/{name}.yaml", **environment).code == 2
    assert credits(cli) == before
    assert cli(*new, **environment).code == 0
    assert (cli.cwd / f"outputs/{name}/default/report.json").is_file()
    assert cli("run", f"it's x/{name}.yaml", **environment).code == 0
    assert there("run", f"{name}.yaml", **environment).code == 0


def test_a_run_from_below_finds_the_folder_above(cli: Cli) -> None:
    there = in_folder(cli, "deep/below")
    there.write("above")
    assert cli("run", "deep/below/above.yaml", "-q", **ANOTHER).code == 0
    done = there("run", "above.yaml", "--json", **ANOTHER)
    assert (done.code, done.envelope["error"]["code"]) == (2, "EARLIER_RUN")
    assert str(cli.cwd / "outputs/above/default") in done.envelope["error"]["message"]


def test_the_list_knows_folders_that_are_not_above_the_manifest_and_named_directories(
    cli: Cli,
) -> None:
    in_folder(cli, "m").write("aside")
    assert in_folder(cli, "a")("run", "../m/aside.yaml", "-q", "--out-dir", "named").code == 0
    done = in_folder(cli, "b")("run", "../m/aside.yaml")
    assert done.code == 2
    assert str(cli.cwd / "a/named") in said(done)


def test_a_plan_from_another_folder_mentions_the_earlier_run(cli: Cli) -> None:
    run_there(cli, "planned")
    done = cli("plan", "it's x/planned.yaml")
    assert done.code == 0
    option = shlex.join(["--out-dir", "it's x/outputs/planned/default"])
    assert f"To continue the earlier one, add: {option}" in said(done)
    found = re.search(r"next +crucible-batch (.*)", done.out)
    assert found is not None
    follow = cli(*shlex.split(found[1]))
    assert (follow.code, "1 already done" in follow.out) == (0, True)
    assert "earlier run" not in said(cli("plan", "it's x/planned.yaml", "--out-dir", "other"))


def begin_new(cli: Cli, *options: str, manifest: str, **environment: str) -> None:
    done = cli("run", manifest, "-q", *options, **environment)
    assert done.code == 0, done.err


def test_a_named_directory_and_another_run_id_are_never_refused(cli: Cli) -> None:
    run_there(cli, "free")
    begin_new(cli, "--out-dir", "anywhere", manifest="it's x/free.yaml")
    begin_new(cli, "--run-id", "second", manifest="it's x/free.yaml")
    assert cli("plan", "it's x/free.yaml", "-q", "-o", "plan.json").code == 0
    begin_new(cli, manifest="plan.json")


def test_another_manifest_of_the_same_name_is_another_run(cli: Cli) -> None:
    cli.write("twin")
    assert cli("run", "twin.yaml", "-q", **ANOTHER).code == 0
    below = in_folder(cli, "below")
    below.write("twin")
    begin_new(below, manifest="twin.yaml", **ANOTHER)


def test_an_earlier_run_at_another_gateway_or_one_that_is_gone_is_not_in_the_way(
    cli: Cli, tmp_path: Path
) -> None:
    there = run_there(cli, "moved")
    with running_sandbox("--time-scale", "0") as url:
        begin_new(replace(cli, url=url), manifest="it's x/moved.yaml")
    (there.cwd / "outputs").rename(tmp_path / "archive")
    begin_new(in_folder(cli, "third"), manifest="../it's x/moved.yaml")


def test_an_earlier_run_of_another_key_is_mentioned_and_not_in_the_way(cli: Cli) -> None:
    there = run_there(cli, "rekeyed")
    with (
        closing(
            sqlite3.connect(there.cwd / "outputs/rekeyed/default/.crucible/journal.sqlite3")
        ) as journal,
        journal,
    ):
        journal.execute("UPDATE meta SET value = 'pbkdf2:00:00' WHERE key = 'key'")
    done = cli("run", "it's x/rekeyed.yaml")
    assert done.code == 0, done.err
    assert (
        "this manifest was run before with another key in it's x/outputs/rekeyed/default"
        in said(done)
    )


CHOICES: list[tuple[str, int, bool]] = [("c\n", 0, False), ("n\n", 0, True), ("\n", 2, False)]


@pytest.mark.parametrize(("typed", "code", "is_new"), CHOICES)
def test_on_a_terminal_the_choice_is_asked_for(
    cli: Cli, typed: str, code: int, is_new: bool
) -> None:
    name = f"asked{CHOICES.index((typed, code, is_new))}"
    run_there(cli, name)
    arguments: Any = ["run", f"it's x/{name}.yaml", "--display", "plain"]
    with closing(Screen(cli, arguments, 200)) as screen:
        screen.read_until("[c]ontinue/[n]ew/[S]top")
        screen.type(typed)
        assert screen.finish() == code
    assert (cli.cwd / "outputs").exists() is is_new
