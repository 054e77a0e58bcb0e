"""The forks in which the other tests run commands: each ends as the installed command does."""

import signal
import subprocess

import pytest

from .conftest import COMMAND, Cli

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
    forked = lonely_cli(*words)
    installed = subprocess.run(
        [COMMAND, *words], cwd=lonely_cli.cwd, env=lonely_cli.environment, capture_output=True, text=True, check=False
    )
    assert (forked.code, forked.out, forked.err) == (installed.returncode, installed.stdout, installed.stderr)
    assert forked.code == COMMANDS[line]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_fork_is_a_process_of_its_own_that_signals_reach(slow_cli: Cli, number: signal.Signals) -> None:
    codes = []
    for start in (slow_cli.start, slow_cli.start_installed):
        process = start("view", "--json")
        assert process.stdout is not None
        process.stdout.readline()
        assert process.poll() is None
        process.send_signal(number)
        process.communicate(timeout=120)
        codes.append(process.returncode)
    assert codes == ([-signal.SIGKILL] * 2 if number is signal.SIGKILL else [0, 0])
