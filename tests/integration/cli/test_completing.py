"""The Tab key: in a real bash, and what zsh and fish are told; they are pressed in
``tests/verification/terminal``.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.commands import Cli
from tests.harness.forked_commands import COMMAND, forking_script

BASH = shutil.which("bash") or "bash"
# Sets what bash sets when Tab is pressed behind the words, calls what it would call, and prints
# what it would offer.
TAB = """
tab() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    [[ $(complete -p crucible-batch) =~ -F\\ ([^ ]+) ]] || return 1
    "${BASH_REMATCH[1]}" crucible-batch "${COMP_WORDS[COMP_CWORD]}"
    printf '%s\\n' "${COMPREPLY[@]}"
}
"""


def press_tab(cli: Cli, *words: str, is_installed: bool = False) -> list[str]:
    """Install the completion as a user does, start a bash that reads it, and press Tab behind the
    words.

    ``is_installed``: with the installed command, and not a fork. It installs the completion in any
    case: a fork can't see which shell has started it.
    """
    home = cli.cwd / "home"
    home.mkdir(exist_ok=True)
    found = Path(COMMAND if is_installed else forking_script(home)).parent
    environment = {
        **cli.environment,
        "HOME": str(home),
        "PATH": f"{found}:{cli.environment['PATH']}",
    }
    install = f"[ -f ~/.bashrc ] || '{COMMAND}' --install-completion >&2"
    script = f'{install}\n. ~/.bashrc\n{TAB}\ntab crucible-batch "$@"'
    done = subprocess.run(
        [BASH, "--norc", "-c", script, "bash", *words],
        cwd=cli.cwd, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line]


def test_commands_and_options_are_completed(lonely_cli: Cli) -> None:
    assert press_tab(lonely_cli, "sta", is_installed=True) == ["status"]
    assert press_tab(lonely_cli, "run", "--resub", is_installed=True) == ["--resubmit-unknown"]
    assert press_tab(lonely_cli, "run", "m.yaml", "--display", "") == [
        "auto",
        "rich",
        "plain",
        "none",
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_told_what_it_can_read(lonely_cli: Cli, shell: str) -> None:
    script = lonely_cli(
        "--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    ).out
    assert f"complete_{shell}" in script
    asked = {
        "_CRUCIBLE_BATCH_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "crucible-batch stat",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": "crucible-batch\nstat",
        "COMP_CWORD": "1",
    }
    assert "status" in lonely_cli(**asked).out


def test_zsh_is_told_to_complete_at_the_first_tab(lonely_cli: Cli) -> None:
    script = lonely_cli(
        "--show-completion", "zsh", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    ).out
    assert script.index('_crucible_batch_completion "$@"') < script.index(
        "  compdef _crucible_batch_completion"
    )
