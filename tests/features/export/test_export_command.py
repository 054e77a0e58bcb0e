"""The installed command ``export``: what it prints, and its exit codes."""

from __future__ import annotations

from pathlib import Path

from tests.harness.commands import Cli, check_stream


def test_it_prints_what_it_wrote_and_what_was_there(cli: Cli, run_dir: Path) -> None:
    command = ("export", str(run_dir), "--as", "captions", "-o", "to")
    done = cli(*command)
    assert done.code == 0
    assert "✓ 5 pictures exported as captions   to\n" in done.out
    assert "files    10 written\n" in done.out
    assert "files    10 there before\n" in cli(*command).out
    (cli.cwd / "to" / "heron-1-0.txt").write_text("mine")
    assert "heron-1-0.txt: changed since, and left as they are" in cli(*command).out
    assert cli(*command, "--quiet").out == ""


def test_it_has_json(cli: Cli, run_dir: Path) -> None:
    done = cli("export", str(run_dir), "--as", "zip", "-o", "to", "--json")
    assert check_stream(done, "export")["data"] == {
        "run_dir": str(run_dir),
        "directory": "to",
        "form": "zip",
        "pictures": 5,
        "written": 1,
        "kept": 0,
        "removed": 0,
        "changed": [],
        "missing": [],
    }


def test_a_missing_output_is_named_with_the_command_that_restores_it(
    cli: Cli, run_dir: Path
) -> None:
    (run_dir / "heron-2" / "0.png").unlink()
    command = ("export", str(run_dir), "--as", "csv", "-o", "to")
    done = cli(*command)
    assert done.code == 1
    assert "✗ 4 pictures exported as csv" in done.out
    assert "missing  heron-2/0.png: missing" in done.out
    assert f"next     crucible-batch check {run_dir} --fix" in done.out
    envelope = check_stream(cli(*command, "--json"), "export")
    assert envelope["error"]["code"] == "NOT_EXPORTED"
    assert envelope["data"]["missing"] == [
        {"job": "heron-2", "index": 0, "path": "heron-2/0.png", "state": "missing"}
    ]
    assert "NOT_EXPORTED" in cli("explain", "NOT_EXPORTED").out


def test_what_is_refused_has_place_cause_and_remedy(cli: Cli, run_dir: Path) -> None:
    (cli.cwd / "to").mkdir()
    (cli.cwd / "to" / "heron-1-0.png").write_text("mine")
    for options, words in (
        (("--as", "captions", "-o", "to"), "to has files that an export of this run did not write"),
        (("--as", "captions", "-o", str(run_dir)), "where only runs write"),
        (("--as", "pdf", "-o", "to"), "use one of captions, imagefolder, webdataset, csv, zip"),
        (("--as", "captions", "-o", "to", "--picked"), "no output that can be exported is picked"),
        (("-o", "to"), "--as"),
    ):
        done = cli("export", str(run_dir), *options)
        assert done.code == 2
        assert words in done.err
    assert (cli.cwd / "to" / "heron-1-0.png").read_text() == "mine"


def test_it_needs_no_key_and_no_gateway(lonely_cli: Cli, run_dir: Path) -> None:
    assert lonely_cli("export", str(run_dir), "--as", "webdataset", "-o", "to").code == 0
