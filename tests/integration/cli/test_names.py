"""Names that text or the file system can't hold: refused with exit code 2 before anything is
bought.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
BYTE = os.fsdecode(b"\xff")


def refused(cli: Any, *args: str, **environment: str) -> str:
    """Run a command that must be refused, and return what it says.

    Nothing may be bought, nothing written.
    """
    before = cli("credits", "--json").envelope["data"]
    done = cli(*args, **environment)
    assert done.code == 2, done.err
    assert cli("credits", "--json").envelope["data"] == before
    assert not (cli.cwd / "outputs").exists()
    return str(done.err)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out-dir", f"out{BYTE}"], r"the run directory 'out\udcff' is not UTF-8"),
        (["--out-dir", "x" * 300], "has a part of more than 255 bytes"),
        (["--out-dir", "/".join(["x" * 100] * 6)], "absolute path is longer than 470 bytes"),
        (["--run-id", f"r{BYTE}"], "can't be a run id"),
        (["--var", f"a={BYTE}"], "the value is not UTF-8"),
    ],
)
@pytest.mark.parametrize("command", ["run", pytest.param("plan", marks=pytest.mark.slow)])
def test_an_option_that_names_what_cannot_be_written(
    cli: Any, command: str, options: list[str], says: str
) -> None:
    manifest = cli.write("names", head="vars: {a: b}\n")
    assert says in refused(cli, command, manifest, *options)


def test_a_plan_is_saved_under_a_name_that_is_text(cli: Any) -> None:
    assert "the path of the plan" in refused(
        cli, "plan", cli.write("names-plan"), "-o", f"plan{BYTE}"
    )


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_manifest_of_a_name_that_is_no_text(cli: Any, command: str) -> None:
    path = cli.cwd / f"m{BYTE}.yaml"
    (cli.cwd / cli.write("names-manifest")).rename(path)
    assert r"the path of the manifest 'm\udcff.yaml' is not UTF-8" in refused(
        cli, command, path.name
    )


def test_a_job_that_the_locale_has_no_characters_for(cli: Any) -> None:
    manifest = cli.write("names-locale", "- {name: é, prompt: a}")
    assert "use a UTF-8 locale" in refused(cli, "run", manifest, **ASCII)
    assert "use a UTF-8 locale" in refused(
        cli, "run", cli.write("names-dir"), "--out-dir", "é", **ASCII
    )


def test_a_report_is_not_written_where_its_path_is_no_text(cli: Any) -> None:
    assert cli("run", cli.write("names-report"), "--out-dir", "out").code == 0
    (cli.cwd / "out").rename(cli.cwd / f"out{BYTE}")
    done = cli("report", f"out{BYTE}")
    assert (done.code, "is not UTF-8" in done.err) == (2, True)
