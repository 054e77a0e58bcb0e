"""Where the key and the address come from: ``--env-file``, and a ``.env`` beside the manifest that
is not read.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.harness.commands import KEY, Cli
from tests.harness.forked_commands import COMMAND

MANIFEST = (
    "version: 1\nname: {}\nworkflow: zimage-base\nbudget: {{credits: 10}}\n"
    "jobs: [{{name: fox, prompt: a fox}}]\n"
)


def in_folder(cli: Cli, name: str, gateway: str) -> Path:
    """Write a manifest and a ``.env`` into a folder whose name needs quotes."""
    folder = cli.cwd / "my batch"
    folder.mkdir()
    (folder / "m.yaml").write_text(MANIFEST.format(name))
    (folder / ".env").write_text(f"MOLTAZINE_API_KEY={KEY}\nCRUCIBLE_API_BASE={gateway}\n")
    return folder


def test_a_run_takes_key_and_address_from_the_named_file(lonely_cli: Cli, gateway: str) -> None:
    in_folder(lonely_cli, "envfile", gateway)
    done = lonely_cli("run", "my batch/m.yaml", "--env-file", "my batch/.env")
    assert done.code == 0, done.err
    assert KEY not in done.out + done.err
    assert lonely_cli("credits", "--env-file", "my batch/.env").code == 0


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_dotenv_beside_the_manifest_is_pointed_at_and_not_read(
    lonely_cli: Cli, gateway: str, command: str
) -> None:
    in_folder(lonely_cli, f"pointed-{command}", gateway)
    done = lonely_cli(command, "my batch/m.yaml")
    said = " ".join((done.out + done.err).split())
    assert done.code == (3 if command == "run" else 0)
    assert "my batch/.env is not in the working directory, and so it was not read" in said
    assert "to use it, add: --env-file 'my batch/.env'" in said
    assert not (lonely_cli.cwd / "outputs").exists()
    advice = said.partition("to use it, add: ")[2]
    assert lonely_cli(command, "my batch/m.yaml", *shlex.split(advice)[:2]).code == 0


def test_a_file_that_is_a_pipe_is_read_once_and_its_key_is_hidden(
    lonely_cli: Cli, gateway: str
) -> None:
    script = (
        f"exec {COMMAND} doctor -v --env-file "
        "<(printf 'MOLTAZINE_API_KEY=%s\\nCRUCIBLE_API_BASE=%s\\n' $1 $2)"
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", KEY, gateway],
        cwd=lonely_cli.cwd,
        env=lonely_cli.environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr
