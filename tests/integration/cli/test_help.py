"""Help: complete, quick, and the same promises as the interface makes."""

import re
import signal
import sys

import pytest

from crucible_batch.cli import main
from crucible_batch.errors import ExitCode
from tests.harness.case_table import each_case
from tests.harness.command_tree import all_commands
from tests.harness.commands import Cli
from tests.harness.features import commands_of_features

COMMANDS = (
    "run", "plan", "validate", "status", "report",
    "credits", "workflows", "assets", "schema", "init",
    "doctor", "sandbox", "demo", "explain",
    *commands_of_features(),
)  # fmt: skip


def test_the_help_lists_every_command_and_every_exit_code(lonely_cli: Cli) -> None:
    done = lonely_cli("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert re.search(rf"│ {command.split()[0]} ", done.out), command
    text = " ".join(done.out.split())
    for code in ExitCode:
        assert f"{code.value} {code.meaning}" in text


@each_case("command", COMMANDS)
def test_the_help_of_a_command_is_complete_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert exit_code(*command.split(), "--help", monkeypatch=monkeypatch) == 0
    text = capsys.readouterr().out
    assert not re.search(r"<(bool|str|path|int)|list\[|every job succeeded", text), (
        "types, or the table of exit codes"
    )
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text  # a word that is cut at the width of its column
    assert command in {"run", "plan"} or "\n   crucible-batch " in text, "examples are indented"
    assert not re.search(r"\[\[|\.\.\.[\]}]", text.replace("[OPTIONS]", "")), (
        "the brackets of an argument are doubled"
    )


def test_the_version_is_shown(lonely_cli: Cli) -> None:
    assert re.fullmatch(r"crucible-batch \d+\.\d+\.\d+\n", lonely_cli("--version").out)


def exit_code(*args: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run the command within this process: for the many that end before they begin."""
    monkeypatch.setattr(sys, "argv", ["crucible-batch", *args])
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ending:
            main()
    finally:
        signal.signal(signal.SIGTERM, handler)
    return ending.value.code


@pytest.mark.parametrize(
    "args", [("rnu",), ("run",), ("run", "x.yaml", "--budgt", "3"), ("run", "x", "-c", "0"), ()]
)
def test_a_wrong_command_line_is_exit_2(
    monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    assert exit_code(*args, monkeypatch=monkeypatch) == 2


@pytest.mark.parametrize(
    "option",
    [
        "--budget=-1",
        "--budget=many",
        "--deadline=soon",
        "--job-timeout=0",
        "--var=x",
        "--display=loud",
    ]
    + [f"--polls-per-second={rate}" for rate in ("0", "-1", "nan", "1e9", "many")],
)
def test_an_option_that_cannot_be_read_is_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert exit_code("run", "x.yaml", option, monkeypatch=monkeypatch) == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def test_every_option_of_every_command_has_a_help() -> None:
    import typer.main

    from crucible_batch.cli.app import app

    commands = all_commands(typer.main.get_command(app))
    assert set(commands) == set(COMMANDS)
    for name, found in commands.items():
        assert found.help
        assert f"crucible-batch {name}" in found.epilog
        for option in found.params:
            assert getattr(option, "help", None), (name, option.name)


@pytest.mark.parametrize("command", ["run", "plan"])
def test_the_everyday_options_fit_a_screen_and_the_others_are_shown_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """A screen has 24 lines, the last of which is the shell's next prompt."""
    monkeypatch.setenv("COLUMNS", "80")
    assert exit_code(command, "--help", monkeypatch=monkeypatch) == 0
    short = capsys.readouterr().out
    assert len(short.rstrip().splitlines()) <= 23
    assert short.count("│ --") == {"run": 12, "plan": 9}[command]
    assert f"crucible-batch {command} --help-all" in short
    assert exit_code(command, "--help-all", monkeypatch=monkeypatch) == 0
    everything = capsys.readouterr().out
    assert max(map(len, everything.splitlines())) <= 80
    assert "…" not in everything
    assert ("stopped by SIGTERM" in everything) is (command == "run")
    for option in set(re.findall(r"--[a-z-]+", short)) - {"--help-all"}:
        assert option in everything
    assert "--max-manifest-size" in everything
