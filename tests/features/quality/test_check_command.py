"""The installed command with checks: what it prints, and a program that misbehaves."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
from PIL import Image

from tests.harness.commands import Cli, check_stream, clean_environment, wait_until
from tests.harness.forked_commands import start_installed

THREE = "- {name: heron, prompt: a heron, repeat: 3}"


def script(cli: Cli, text: str) -> None:
    path = cli.cwd / "judge"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)


def test_flagged_outputs_are_a_line_of_the_summary_and_counts_in_json(cli: Cli) -> None:
    """The harness draws pictures of one colour."""
    cli.write("flagged", THREE, head="checks: {blank: flag, size: {min: [9, 9]}}\n")
    done = cli("run", "flagged.yaml")
    assert done.code == 0
    assert "checks   3 flagged · blank × 3" in done.out
    done = cli("run", "flagged.yaml", "--json")
    data = check_stream(done, "run")["data"]
    assert data["checks"] == {
        "checked": 3,
        "flagged": 3,
        "rejected": 0,
        "failed": 0,
        "unchecked": 0,
        "by_check": {"blank": 3},
    }
    assert "3 flagged" in cli("status", "outputs/flagged/default").out


def test_outputs_that_pass_are_counted(cli: Cli) -> None:
    cli.write("passing", THREE, head="checks: {size: {min: [9, 9]}}\n")
    assert "checks   3 outputs passed" in cli("run", "passing.yaml").out


def test_a_failed_check_is_exit_code_1_with_a_next_command_that_works(
    cli: Cli, report_of: Any
) -> None:
    cli.write("strict", THREE, head="checks: {size: {min: [9999, 1], then: fail}}\n")
    done = cli("run", "strict.yaml")
    assert done.code == 1
    assert "CHECK_FAILED × 3" in done.out
    assert "checks   3 failed · size × 3" in done.out
    next_line = next(line for line in done.out.splitlines() if "then: crucible-batch" in line)
    assert "review the pictures that failed a check" in next_line
    again = cli(*next_line.rpartition("crucible-batch ")[2].split())
    assert again.code == 1
    report = report_of(cli.cwd / "outputs" / "strict" / "default")
    assert report["credits"]["spent"] == "6"
    assert "CHECK_FAILED" in cli("explain", "CHECK_FAILED").out


def test_a_program_is_refused_without_consent_and_nothing_is_spent(cli: Cli) -> None:
    script(cli, "exit 0")
    cli.write("consent", THREE, head="checks: {command: [./judge]}\n")
    done = cli("run", "consent.yaml")
    assert done.code == 2
    assert "INVALID_CHECK" in done.err
    assert "running ./judge needs your consent: add --allow-command" in done.err
    assert not (cli.cwd / "outputs").exists()
    assert "run needs --allow-command" in cli("plan", "consent.yaml").out


def test_a_program_judges_each_output_once(cli: Cli, report_of: Any) -> None:
    judge = (
        'read -r line; echo "$line" >> asked\n'
        "case $line in *heron-2*) echo 'six fingers'; exit 10;;"
        " *heron-3*) printf '\\033[31mbroken'; exit 3;; esac"
    )
    script(cli, judge)
    head = "checks: {command: {run: [./judge], then: reject}}\n"
    cli.write("judged", THREE, head=head, budget="")  # without one, only the next run buys again
    done = cli("run", "judged.yaml", "--yes", "--allow-command", "--concurrency", "1")
    assert done.code == 0
    assert "checks   1 rejected · 1 could not be checked · command × 1" in done.out
    assert "\x1b[31mbroken" not in done.out + done.err
    assert (
        "next     crucible-batch run judged.yaml --yes --allow-command --concurrency 1" in done.out
    )
    assert "the check command of heron-3/0 could not be made: ./judge: exit code 3" in done.err
    run_dir = cli.cwd / "outputs" / "judged" / "default"
    rows = {job["name"]: job["outputs"][0] for job in report_of(run_dir)["jobs"]}
    assert rows["heron-1"]["checks"] == []
    assert rows["heron-2"]["checks"] == [
        {"check": "command", "verdict": "reject", "reason": "six fingers"}
    ]
    assert rows["heron-3"]["checks"][0]["verdict"] == "unchecked"
    line = f"heron-2/0 g0 {rows['heron-2']['sha256'][:12]} check command: six fingers\n"
    assert (run_dir / "rejects.txt").read_text() == line
    assert report_of(run_dir)["notify_option"] == "--allow-command"
    assert cli("run", "judged.yaml", "--yes", "--allow-command").code == 0
    asked = [json.loads(line)["job"] for line in (cli.cwd / "asked").read_text().splitlines()]
    # The rejected one was bought again, and that could not be checked is asked about again.
    assert sorted(asked) == ["heron-1", "heron-2", "heron-2", "heron-3", "heron-3"]


def test_a_program_that_hangs_is_stopped_and_loses_nothing(cli: Cli) -> None:
    script(cli, "sleep 3600")
    cli.write("hanging", head="checks: {command: {run: [./judge], timeout: 1s, then: fail}}\n")
    done = cli("run", "hanging.yaml", "--allow-command")
    assert done.code == 0
    assert "1 could not be checked" in done.out
    assert "did not end within 1 s and was stopped" in done.err


def test_a_mistake_in_checks_has_its_place(cli: Cli, tmp_path: Path) -> None:
    head = "checks: {blank: rejct, size: {min: [768]}, command: [], colour: flag}\n"
    cli.write("wrong", head=head)
    done = cli("validate", "wrong.yaml")
    assert done.code == 2
    for words in (
        "checks.blank: must be 'flag', 'reject' or 'fail', got the text 'rejct'",
        "checks.size.min: must be [width, height] in pixels, such as [768, 768]",
        "checks.command.run: is an empty list",
        "checks.colour: unknown key 'colour'",
    ):
        assert words in done.err


@pytest.fixture
def black_gateway(tmp_path: Path) -> Iterator[str]:
    """The URL of a sandbox that draws what users see, and black pictures for a tenth of the jobs.

    It is installed, since forked ones draw plain pictures.
    """
    options = ["sandbox", "--faults", "black:0.1", "--seed", "37"]
    process = start_installed(options, cwd=tmp_path, env=clean_environment(), stderr=DEVNULL)
    assert process.stdout is not None
    exports = [process.stdout.readline() for _ in range(2)]
    yield exports[1].strip().removeprefix("export CRUCIBLE_API_BASE=")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)


def test_a_night_at_a_gateway_that_returns_black_pictures_for_a_tenth_of_the_jobs(
    tmp_path: Path, black_gateway: str, report_of: Any
) -> None:
    cli = Cli(tmp_path, black_gateway)
    jobs = (
        '- {name: "scene", prompt: "{{ what }} at {{ hour }}", matrix: {what: [a heron, a mill,'
        " a lake, a boat, a road, a tower], hour: [dawn, noon, dusk, night, four]}}"
    )
    cli.write("night", jobs, head="checks: {blank: reject, duplicate: flag}\n")
    assert cli("run", "night.yaml").code == 0
    run_dir = tmp_path / "outputs" / "night" / "default"
    report = report_of(run_dir)
    retakes = sum(job["generation"] for job in report["jobs"])
    assert 1 < retakes < 15
    assert report["credits"]["spent"] == str(60 + 2 * retakes)
    for job in report["jobs"]:
        assert job["generation"] == len(job["takes"]) <= 3
        with Image.open(run_dir / job["outputs"][0]["path"]) as image:
            assert image.convert("L").getextrema() != (0, 0)
        for take in job["takes"]:
            assert take["rejected"] == "check blank: one colour"
            assert "blank" in [check["check"] for check in take["checks"]]
            with Image.open(run_dir / take["path"]) as image:
                assert image.convert("L").getextrema() == (0, 0)
    lines = (run_dir / "rejects.txt").read_text().splitlines()
    bad = {job["name"] for job in report["jobs"] if job["takes"]}
    assert {line.partition("/")[0] for line in lines} == bad
    assert cli("run", "night.yaml").code == 0
    assert report_of(run_dir)["credits"] == report["credits"]
    assert (run_dir / "rejects.txt").read_text().splitlines() == lines


def test_a_kill_between_an_output_and_its_verdict_loses_neither(cli: Cli, report_of: Any) -> None:
    """The next run asks the program again, and buys nothing."""
    script(
        cli, "cat > /dev/null; echo asked >> asked\n[ -e go ] || exec sleep 3600\necho odd; exit 10"
    )
    head = "checks: {command: {run: [./judge], then: reject}}\n"
    cli.write("killed", head=head, budget="")
    process = cli.start("run", "killed.yaml", "--yes", "--allow-command")
    wait_until((cli.cwd / "asked").exists)
    process.kill()
    process.communicate(timeout=120)
    run_dir = cli.cwd / "outputs" / "killed" / "default"
    assert (run_dir / "fox" / "0.png").is_file()
    assert not (run_dir / "rejects.txt").exists()
    (cli.cwd / "go").touch()
    assert cli("run", "killed.yaml", "--yes", "--allow-command").code == 0
    report = report_of(run_dir)
    (mark,) = report["jobs"][0]["outputs"][0]["checks"]
    assert (mark["verdict"], mark["reason"]) == ("reject", "odd")
    assert (report["credits"]["spent"], len(report["jobs"][0]["attempts"])) == ("2", 1)
    assert len((run_dir / "rejects.txt").read_text().splitlines()) == 1
    assert (cli.cwd / "asked").read_text().count("asked") == 2
