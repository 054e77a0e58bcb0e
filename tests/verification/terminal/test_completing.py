"""The Tab key in a real zsh and a real fish, installed as a user does it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness.commands import clean_environment
from tests.harness.forked_commands import COMMAND
from tests.verification.terminal.conftest import Start, Terminal, needed


@pytest.fixture(params=["zsh", "fish"])
def shell(request: pytest.FixtureRequest, tmp_path: Path, start: Start) -> Terminal:
    """A new shell whose user has installed completion, in a folder with a manifest and a run."""
    (tmp_path / "outputs/spring/default").mkdir(parents=True)
    (tmp_path / "spring.yaml").touch()
    path = f"{Path(COMMAND).parent}:/usr/local/bin:/usr/bin:/bin"
    env = {
        **clean_environment(),
        "HOME": str(tmp_path),
        "PATH": path,
        "PS1": "$ ",
        "LC_ALL": "C.UTF-8",
    }
    program = needed(request.param)
    # The shell is known by what the command is started from; the last word keeps it from being
    # replaced by it.
    install = [program, "-c", "crucible-batch --install-completion; true"]
    done = subprocess.run(
        install, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=40, check=True
    )
    assert f"{request.param} completion installed" in done.stdout
    return start([program, "-i"], env)


def test_a_shells_first_tab_completes_a_command_and_the_next_its_run_directory(
    shell: Terminal,
) -> None:
    shell.type("crucible-batch sta")
    shell.press("Tab")
    shell.wait_for("crucible-batch status")
    shell.type("outputs/s")
    shell.press("Tab")
    shell.wait_for("crucible-batch status outputs/spring/")


def test_a_manifest_is_completed_as_the_file_that_it_is(shell: Terminal) -> None:
    shell.type("crucible-batch run spr")
    shell.press("Tab")
    shell.wait_for("crucible-batch run spring.yaml")


def test_what_an_option_takes_is_offered(shell: Terminal) -> None:
    shell.type("crucible-batch run spring.yaml --display ")
    shell.press("Tab")
    shell.wait_for("auto", "rich", "plain", "none")
