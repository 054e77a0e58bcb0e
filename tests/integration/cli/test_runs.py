"""``status`` without a run directory: the list of runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.harness.commands import Cli

SOME_FAIL = "- {name: fox, prompt: a fox}\n- {name: bad, prompt: nsfw}"


def line_of(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found


def test_runs_are_listed_with_state_counts_credits_and_a_next_command_that_works(cli: Cli) -> None:
    assert cli("run", cli.write("listed", SOME_FAIL)).code == 1
    assert cli("run", cli.write("done-one")).code == 0
    assert (
        cli(
            "run",
            cli.write("short", "- {name: fox, prompt: a fox, repeat: 3}", budget="{credits: 4}"),
        ).code
        == 4
    )
    done = cli("status")
    assert done.code == 0
    names = [line.split()[0] for line in done.out.splitlines() if "/default" in line]
    assert names == ["short/default", "done-one/default", "listed/default"]
    assert "done" in line_of(done.out, "done-one/default")
    assert "1 of 1" in line_of(done.out, "done-one/default")
    assert "stopped" in line_of(done.out, "short/default")
    assert "4 of 4" in line_of(done.out, "short/default")
    assert "BUDGET_EXHAUSTED" in done.out
    assert "failed jobs" in line_of(done.out, "listed/default")
    assert "3 runs · 4 of 6 jobs succeeded · 8 credits spent" in done.out
    (command,) = [line for line in done.out.splitlines() if "short.yaml" in line]
    assert cli(*command.split()[2:]).code == 0
    assert "short.yaml" not in cli("status").out  # nothing is left to do there


def test_on_a_narrow_terminal_words_are_wrapped_and_the_command_is_not(cli: Cli) -> None:
    cli("run", cli.write("narrow", SOME_FAIL), "--run-id", "2026-01-05")
    cli("run", cli.write("s", "- {name: fox, prompt: a fox, repeat: 3}", budget="{credits: 4}"))
    text = cli("status", COLUMNS="80").out
    assert text.splitlines()[0].split() == ["run", "state", "jobs", "credits", "age"]
    assert all(
        words in text for words in ("BUDGET_EXHAUSTED", "2 of 3", "1 blocked", "narrow/2026-01-05")
    )
    assert "  next  crucible-batch run s.yaml --budget 6" in cli("status", COLUMNS="40").out


@pytest.mark.parametrize(("columns", "shown"), [("50", 2), ("60", 3), ("80", 5)])
def test_a_name_is_whole_as_long_as_another_column_can_be_left_out(
    cli: Cli, columns: str, shown: int
) -> None:
    foxes = "- {name: fox, prompt: a fox, repeat: 3}"
    manifest = cli.write("portraits-and-places", foxes, budget="{credits: 4}")
    cli("run", manifest, "--run-id", "2026-11-3")
    lines = cli("status", COLUMNS=columns).out.splitlines()
    assert lines[0].split() == ["run", "state", "jobs", "credits", "age"][:shown]
    assert lines[1].startswith("portraits-and-places/2026-11-3  stopped")
    assert lines[2].split()[0] == "BUDGET_EXHAUSTED"


def test_a_folder_of_runs_is_listed_and_a_run_directory_is_shown(cli: Cli) -> None:
    for name in ("one", "two"):
        cli("run", cli.write(name))
    listed, shown = cli("status", "outputs/one"), cli("status", "outputs/one/default")
    assert [listed.code, shown.code] == [0, 0]
    assert "1 run · 1 of 1 jobs succeeded" in listed.out
    assert "two" not in listed.out
    assert "1 of 1 jobs succeeded   one · default" in shown.out
    assert len(cli("status", ".", "--json").envelope["data"]["runs"]) == 2


def test_without_runs_the_message_names_the_next_step(lonely_cli: Cli) -> None:
    done = lonely_cli("status")
    assert (
        done.code,
        "no runs in outputs" in done.out,
        "crucible-batch run MANIFEST" in done.out,
    ) == (0, True, True)
    missing = lonely_cli("status", "nowhere")
    assert (missing.code, "nowhere is not a run directory" in missing.err) == (2, True)


def test_hostile_names_are_printed_without_their_control_characters(cli: Cli) -> None:
    cli("run", cli.write("innocent", SOME_FAIL))
    _rename(
        cli.cwd / "outputs" / "innocent" / "default", "\x1b]0;taken\x07\x1b[2J\u202e" + "x" * 5000
    )
    done = cli("status")
    assert done.code == 0
    assert not {"\x1b", "\x07", "\u202e"} & set(done.out + done.err)
    assert len(done.out) < 6000


def _rename(run_dir: Path, name: str) -> None:
    with sqlite3.connect(run_dir / ".crucible" / "journal.sqlite3") as connection:
        connection.execute("UPDATE runs SET terms = json_set(terms, '$.manifest_name', ?)", (name,))
    connection.close()


def test_a_limit_names_the_command_that_shows_the_rest(cli: Cli) -> None:
    for name in ("limit-a", "limit-b"):
        cli("run", cli.write(name))
    done = cli("status", "--limit", "1")
    assert "limit-b/default" in done.out
    assert "1 older run is not shown: crucible-batch status outputs --limit 2" in done.out
    assert "limit-a/default" in cli("status", "outputs", "--limit", "2").out
