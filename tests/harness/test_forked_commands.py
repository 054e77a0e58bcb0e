"""The forks in which the other tests run commands: each ends as the installed command does."""

from contextlib import closing

import pytest

from tests.harness.commands import Cli
from tests.harness.forked_commands import Forked
from tests.harness.screen import Screen

COMMANDS = {
    "--version": 0,
    "plan --help": 0,
    "validate whole.yaml": 0,
    "validate broken.yaml": 2,
    "run whole.yaml": 3,
    "run --no-such-option": 2,
    "": 2,
}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_fork_writes_and_ends_as_the_installed_command(lonely_cli: Cli, line: str) -> None:
    lonely_cli.write("whole")
    lonely_cli.write("broken", "- {name: fox, promt: a fox}")
    words = line.split()
    ends = []
    for start in (lonely_cli.start, lonely_cli.start_installed):
        process = start(*words)
        ends.append((*process.communicate(timeout=120), process.returncode))
    assert ends[0] == ends[1]
    assert ends[0][2] == COMMANDS[line]


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1", "PYTHONUNBUFFERED": ""}])
def test_a_fork_shows_on_a_terminal_what_the_installed_command_shows(
    lonely_cli: Cli, variables: dict[str, str]
) -> None:
    lonely_cli.write("whole")
    shown = []
    for is_installed in (False, True):
        with closing(
            Screen(
                lonely_cli, ["validate", "whole.yaml"], 80, is_installed=is_installed, **variables
            )
        ) as screen:
            assert isinstance(screen.process, Forked) is not is_installed
            assert screen.finish() == 0
        shown.append(screen.text)
    assert shown[0] == shown[1]
    assert ("\x1b[32m" in shown[0]) is not bool(variables)


FREE = ("HOME", "TERM", "FORCE_COLOR", "CRUCIBLE_BATCH_ALLOW_COMMANDS")
READ_AT_LOAD = (
    "SSLKEYLOGFILE",
    "TYPER_USE_RICH",
    "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION",
    "LC_ALL",
    "PYTHONPATH",
)


def test_the_installed_command_is_started_where_other_modules_would_be_loaded(
    lonely_cli: Cli,
) -> None:
    for name in (*FREE, *READ_AT_LOAD):
        process = lonely_cli.start("--version", env={**lonely_cli.environment, name: "0"})
        assert isinstance(process, Forked) is (name in FREE), name
        process.communicate(timeout=120)
