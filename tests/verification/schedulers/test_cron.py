"""cron's own parser accepts the lines, and a shell runs their very words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from crucible_batch.features.schedule.cron_fields import read_fields
from tests.verification.schedulers.conftest import HOSTILE, needed

_EXPRESSIONS = (
    "15 3 * * *", "*/15 * * * *", "0 0 1,15 * 5", "5/20 9-17/4 * * MON-fri", "0 6 * jan,JUL sun,7",
    "0 12 */10 * 1", "0-59/2 0-23/3 1-31/4 1-12/5 0-6/2", "* * * * *",
)  # fmt: skip


def _accepts(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [needed("crontab", "cron"), "-n", str(file)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("expression", _EXPRESSIONS)
def test_cron_accepts_the_fields(tmp_path: Path, expression: str) -> None:
    file = tmp_path / "crontab"
    file.write_text(f"{' '.join(read_fields(expression).written)} true\n")
    done = _accepts(file)
    assert done.returncode == 0, done.stderr
    file.write_text("61 * * * * true\n")
    assert _accepts(file).returncode != 0  # and it does look at them


@pytest.mark.parametrize("name", ["plain", *HOSTILE])
def test_a_line_starts_the_very_words(
    exported: Callable[..., Path], folder: Path, name: str
) -> None:
    written = (
        exported("cron", "--env-file", f"{name}.env", place=name, file=f"{name}.yaml")
        / "crucible-batch.crontab"
    )
    assert _accepts(written).returncode == 0
    line = written.read_text(encoding="utf-8").splitlines()[-1]
    command = line.split(maxsplit=5)[5]
    # cron ends the command at a bare %, and removes the backslash of others.
    assert "%" not in command.replace("\\%", "")
    command = command.replace("\\%", "%")
    # The interpreter shows its words in place of our command.
    shown = 'import os, sys; print(os.getcwd(), *sys.argv[1:], sep="\\0", end="")'
    (folder / "show").write_text(f"#!/bin/sh\nexec python3 -c '{shown}' \"$@\"\n")
    (folder / "show").chmod(0o755)
    begin, _, rest = command.partition(" && ")
    words = f"{begin} && {folder / 'show'} {rest.partition(' ')[2]}"
    done = subprocess.run(
        ["/bin/sh", "-c", words], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.split("\0") == [
        str(folder / name), "run", f"{folder / name / name}.yaml", "--if-running", "skip",
        "--deadline", "6h", "--env-file", f"{folder / name / name}.env", "--quiet",
    ]  # fmt: skip


def test_a_file_for_cron_d_names_its_user(exported: Callable[..., Path]) -> None:
    written = exported("cron", "--user", "batch") / "crucible-batch"
    fields = written.read_text().splitlines()[-1].split()
    assert fields[5:7] == ["batch", "cd"]
