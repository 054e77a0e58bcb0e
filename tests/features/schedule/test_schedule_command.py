"""The commands ``schedule list`` and ``schedule export``, as they are installed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.harness.commands import Cli

NIGHTLY = (
    'run_id: "{{ date }}"\nschedule: {cron: "15 3 * * *", timezone: Europe/Berlin, catch_up: 1}\n'
)


def test_the_next_times_are_listed_in_order(lonely_cli: Cli) -> None:
    lonely_cli.write("nightly", head=NIGHTLY)
    lonely_cli.write("yearly", head='schedule: {cron: "0 0 1 1 *"}\n')
    lonely_cli.write("by-hand")
    (lonely_cli.cwd / "compose.yaml").write_text("version: '3'\n")
    done = lonely_cli("schedule", "list", "-n", "400")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert len(lines) == 400
    assert any("nightly.yaml   15 3 * * * Europe/Berlin" in line for line in lines[:2])
    assert all("03:15 +0" in line for line in lines if "nightly" in line)
    data = lonely_cli("schedule", "list", "--json", "-n", "400").envelope["data"]
    times = [datetime.fromisoformat(each["scheduled_at"]) for each in data["times"]]
    assert times == sorted(times)
    yearly = [each["scheduled_at"] for each in data["times"] if each["manifest"] == "yearly.yaml"]
    new_years = [
        datetime(year, 1, 1, tzinfo=UTC) for year in range(times[0].year, times[-1].year + 1)
    ]
    assert yearly == [day.isoformat() for day in new_years if times[0] <= day <= times[-1]]
    assert data["unscheduled"] == ["by-hand.yaml"]


def test_an_invalid_manifest_is_named_and_only_a_named_one_fails(lonely_cli: Cli) -> None:
    lonely_cli.write("nightly", head=NIGHTLY)
    lonely_cli.write("typo", head='schedule: {corn: "15 3 * * *"}\n')
    done = lonely_cli("schedule", "list", "-n", "1")
    assert done.code == 0
    assert "typo.yaml:" in done.err
    assert "`cron` is missing" in done.err
    assert "nightly.yaml" in done.out
    assert lonely_cli("schedule", "list", "typo.yaml").code == 2
    assert lonely_cli("schedule", "list", "missing.yaml").code == 2


def test_a_folder_without_schedules_shows_how_to_add_one(lonely_cli: Cli) -> None:
    lonely_cli.write("by-hand")
    done = lonely_cli("schedule", "list")
    assert done.code == 0
    assert "no manifest with a schedule was found" in done.out
    assert 'schedule: {cron: "15 3 * * *"' in done.out


@pytest.mark.parametrize("to", ["systemd", "kubernetes"])
def test_files_are_written_for_another_scheduler_and_printed_as_they_are(
    lonely_cli: Cli, to: str
) -> None:
    manifest = lonely_cli.write("nightly", head=NIGHTLY)
    options = ["schedule", "export", manifest, "--to", to, "--image", "registry.example/batch:1"]
    done = lonely_cli(*options, "-o", "units")
    assert done.code == 0
    files = sorted((lonely_cli.cwd / "units").iterdir())
    assert len(files) == 2
    printed = lonely_cli(*options)
    assert printed.out == "".join(f"# --- {file.name}\n{file.read_text()}" for file in files)
    data = lonely_cli(*options, "--json").envelope["data"]
    assert {each["name"]: each["text"] for each in data["files"]} == {
        file.name: file.read_text() for file in files
    }


def test_a_workflow_of_github_is_for_the_repository_around_the_working_directory(
    lonely_cli: Cli,
) -> None:
    (lonely_cli.cwd / ".git").mkdir()
    folder = lonely_cli.cwd / "shop"
    folder.mkdir()
    there = replace(lonely_cli, cwd=folder)
    there.write("nightly", head=NIGHTLY)
    done = there("schedule", "export", "nightly.yaml", "--to", "github-actions")
    assert done.code == 0, done.err
    assert "shop/nightly.yaml" in done.out
    assert f"--wheel-dir {lonely_cli.cwd}/.github ." in " ".join(done.err.split())


def test_a_missing_env_file_and_a_fixed_run_id_are_pointed_out(lonely_cli: Cli) -> None:
    manifest = lonely_cli.write("nightly", head='schedule: {cron: "15 3 * * *"}\n')
    done = lonely_cli("schedule", "export", manifest, "--to", "systemd")
    assert done.code == 0
    assert "buys nothing new" in done.err
    assert f"there is no {lonely_cli.cwd}/.env" in done.err


@pytest.mark.parametrize("manifest", ["by-hand", "typo"])
def test_a_manifest_that_can_not_be_exported_is_refused(lonely_cli: Cli, manifest: str) -> None:
    lonely_cli.write("by-hand")
    lonely_cli.write("typo", head='schedule: {corn: "15 3 * * *"}\n')
    done = lonely_cli("schedule", "export", f"{manifest}.yaml", "--to", "systemd", "-o", "units")
    assert done.code == 2
    assert not (lonely_cli.cwd / "units").exists()
