"""The text of exports, and what is refused because another scheduler would do something else."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from crucible_batch import __version__
from crucible_batch.cli.exported_files import write_files
from crucible_batch.errors import UserError
from crucible_batch.features.schedule.export.target import (
    MARK,
    ExportOptions,
    deadline_text,
    own_command,
)
from crucible_batch.features.schedule.export.writing import _EXPORTS, export
from crucible_batch.features.schedule.options import SchedulerName
from crucible_batch.features.schedule.schedules import ScheduledManifest
from crucible_batch.scheduled_time import read_timezone
from tests.features.schedule.conftest import schedule
from tests.harness.case_table import each_case
from tests.harness.pinned_actions import assert_actions_are_pinned

OPTIONS = ExportOptions(
    directory=Path("/srv/shop"),
    command=("/opt/bin/crucible-batch",),
    now=datetime(2026, 11, 26, tzinfo=UTC),
    system_zone=read_timezone("UTC"),
    image="registry.example/batch:1",
)
SCHEDULERS = tuple(SchedulerName)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "nightly.yaml").write_text("version: 1\n")
    return tmp_path


def _texts(to: str, one: ScheduledManifest, options: ExportOptions = OPTIONS) -> list[str]:
    return [file.text for file in export([one], to, options)]


def _in(folder: Path, cron: str, zone: str = "UTC", **changes: Any) -> ScheduledManifest:
    changes = {"path": folder / "nightly.yaml", **changes}
    return dataclasses.replace(schedule(cron, zone, name="nightly"), **changes)


def _cron_job(one: ScheduledManifest, options: ExportOptions = OPTIONS) -> dict[str, Any]:
    (job,) = [
        each
        for each in yaml.safe_load_all(_texts("kubernetes", one, options)[-1])
        if each["kind"] == "CronJob"
    ]
    return dict(job["spec"])


def test_cron_is_used_where_the_system_has_the_clock_of_the_schedule() -> None:
    berlin = dataclasses.replace(
        OPTIONS, system_zone=read_timezone("Europe/Paris")
    )  # the same clock
    (text,) = _texts("cron", schedule("30 2 * * *", "Europe/Berlin"), berlin)
    assert "\n30 2 * * *  cd /srv/shop && " in text
    assert "CRON_TZ" not in text


def test_cron_in_another_time_zone_is_refused() -> None:
    for zone in ("UTC", "Africa/Algiers"):  # the latter has the same clock in winter only
        options = dataclasses.replace(OPTIONS, system_zone=read_timezone(zone))
        with pytest.raises(UserError, match=f"time zone of this system, {zone}"):
            export([schedule("15 3 * * *", "Europe/Berlin")], "cron", options)


@pytest.mark.parametrize("to", ["kubernetes", "github-actions"])
@pytest.mark.parametrize("cron", ["0 12 */10 * 1", "0 0 L * *"])
def test_a_schedule_without_an_expression_there_is_refused(
    repository: Path, to: str, cron: str
) -> None:
    with pytest.raises(UserError, match="can't run the schedule"):
        export([_in(repository, cron)], to, OPTIONS)


def test_each_scheduler_of_the_option_has_an_export_and_a_section_in_the_manual() -> None:
    assert set(_EXPORTS) == set(SchedulerName), "SchedulerName (options.py), _EXPORTS (writing.py)"
    manual = (Path(__file__).parents[3] / "docs" / "schedule.md").read_text(encoding="utf-8")
    for name in SchedulerName:
        assert f"`crucible-batch schedule export nightly.yaml --to {name}" in manual


@pytest.mark.parametrize("to", SCHEDULERS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"has_budget": False}, "has no budget"),
        ({"catch_up": 1, "is_dated": False}, "catch_up needs a run id"),
    ],
)
def test_a_manifest_that_needs_more_is_refused(
    repository: Path, to: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        export([_in(repository, "15 3 * * *", **changes)], to, OPTIONS)


@pytest.mark.parametrize("to", SCHEDULERS)
def test_two_manifests_of_one_name_are_refused(repository: Path, to: str) -> None:
    one = _in(repository, "15 3 * * *")
    other = dataclasses.replace(one, path=repository / "other.yaml", name="Nightly")
    with pytest.raises(UserError, match="the same name"):
        export([one, other], to, OPTIONS)


@each_case(
    "to, path",
    [
        ("cron", "/a\nb.yaml"),
        ("cron", "/a\\b.yaml"),
        ("systemd", "/a\tb.yaml"),
        ("systemd", "/a\udcffb"),
    ],
)
def test_a_path_that_a_file_can_not_contain_is_refused(to: str, path: str) -> None:
    with pytest.raises(UserError, match="can't be written for"):
        export([dataclasses.replace(schedule("15 3 * * *"), path=Path(path))], to, OPTIONS)


@pytest.mark.parametrize("directory", ["/srv/shop ", "/srv/shop\\"])
def test_a_directory_that_systemd_would_read_otherwise_is_refused(directory: str) -> None:
    with pytest.raises(UserError, match="can't be written for systemd"):
        export(
            [schedule("15 3 * * *")],
            "systemd",
            dataclasses.replace(OPTIONS, directory=Path(directory)),
        )


def test_a_percent_sign_does_not_end_the_command_of_cron() -> None:
    """Cron passes what follows one to the command's stdin, so options such as --deadline would be
    lost."""
    one = dataclasses.replace(schedule("15 3 * * *"), path=Path("/srv/100%/nightly.yaml"))
    (text,) = _texts("cron", one, dataclasses.replace(OPTIONS, directory=Path("/srv/50%")))
    (line,) = [line for line in text.splitlines() if line.startswith("15 3")]
    assert line.count("%") == line.count("\\%") == 2


def test_a_line_that_is_too_long_for_cron_is_refused() -> None:
    with pytest.raises(UserError, match="longer than the 998 characters"):
        export(
            [schedule("15 3 * * *")],
            "cron",
            dataclasses.replace(OPTIONS, directory=Path("/" + "a" * 950)),
        )


@pytest.mark.parametrize(
    ("catch_up", "persistent", "late_s"), [(0, "false", 3600), (2, "true", 86_400)]
)
def test_missed_times_are_started_late_only_with_catch_up(
    repository: Path, catch_up: int, persistent: str, late_s: int
) -> None:
    one = _in(repository, "15 3 * * *", catch_up=catch_up)
    service, timer = _texts("systemd", one)
    assert f"\nPersistent={persistent}\n" in timer
    assert "--catch-up" not in service  # `run` does as the manifest has it
    assert _cron_job(one)["startingDeadlineSeconds"] == late_s


def test_only_exit_code_5_and_crashes_are_tried_again(repository: Path) -> None:
    service, _ = _texts("systemd", _in(repository, "15 3 * * *"))
    assert "\nRestart=on-abnormal\nRestartForceExitStatus=5\n" in service
    job = _cron_job(_in(repository, "15 3 * * *"))["jobTemplate"]["spec"]
    ignored, final = job["podFailurePolicy"]["rules"]
    assert ignored["action"] == "Ignore"
    assert final["action"] == "FailJob"
    assert set(final["onExitCodes"]["values"]) == {1, 2, 3, 4, 6, 7, 70}
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # needed by podFailurePolicy


@pytest.mark.parametrize(
    ("deadline_s", "manifest_s", "expected_s"),
    [(None, None, 21_600), (None, 600, 600), (60, 600, 60)],
)
def test_the_time_limit_is_that_of_the_option_the_manifest_or_six_hours(
    repository: Path, deadline_s: float | None, manifest_s: float | None, expected_s: int
) -> None:
    options = dataclasses.replace(OPTIONS, deadline_s=deadline_s)
    one = _in(repository, "15 3 * * *", deadline_s=manifest_s)
    assert f"--deadline {deadline_text(expected_s)}" in _texts("cron", one, options)[0]
    service, _ = _texts("systemd", one, options)
    assert f"\nTimeoutStartSec={expected_s + 600}\n" in service
    assert (
        _cron_job(one, options)["jobTemplate"]["spec"]["activeDeadlineSeconds"] == expected_s + 600
    )


def test_github_ends_a_job_after_six_hours_so_a_run_stops_before(repository: Path) -> None:
    (text,) = _texts("github-actions", _in(repository, "15 3 * * *"))
    workflow = yaml.safe_load(text.replace("\non:", "\n'on':"))
    job = workflow["jobs"]["run"]
    assert job["timeout-minutes"] <= 360
    assert "--deadline 340m" in text
    assert workflow["on"] == {"schedule": [{"cron": "15 3 * * *"}], "workflow_dispatch": {}}
    assert workflow["concurrency"] == {
        "group": "crucible-batch-nightly",
        "cancel-in-progress": False,
    }
    assert workflow["permissions"] == {"contents": "read"}


def test_the_actions_of_github_are_pinned(repository: Path) -> None:
    (text,) = _texts("github-actions", _in(repository, "15 3 * * *"))
    assert_actions_are_pinned(text)


def test_the_artifact_of_github_has_outputs_of_any_name(repository: Path, tmp_path: Path) -> None:
    """Artifacts refuse paths with a colon, which ``scheduled_at`` puts into run ids."""
    (text,) = _texts("github-actions", _in(repository, "15 3 * * *"))
    *_, pack, upload = yaml.safe_load(text)["jobs"]["run"]["steps"]
    packed = Path(upload["with"]["path"].replace("${{ runner.temp }}", str(tmp_path)))
    command = ["bash", "-e", "-c", pack["run"]]
    environment = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path)}
    subprocess.run(command, cwd=repository, env=environment, check=True)
    assert not packed.exists()
    output = repository / "outputs" / "nightly" / "2026-11-29T03:15:00+00:00" / 'a "fox"?' / "0.png"
    output.parent.mkdir(parents=True)
    output.write_bytes(b"fox")
    subprocess.run(command, cwd=repository, env=environment, check=True)
    with tarfile.open(packed) as archive:
        assert str(output.relative_to(repository)) in archive.getnames()


def test_github_starts_nothing_more_often_than_every_five_minutes(repository: Path) -> None:
    assert _texts("github-actions", _in(repository, "*/5 * * * *"))
    with pytest.raises(UserError, match="5 minutes"):
        _texts("github-actions", _in(repository, "*/4 * * * *"))


def test_a_manifest_outside_a_repository_is_refused_for_github(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not in a git repository"):
        _texts("github-actions", _in(tmp_path, "15 3 * * *"))


def test_the_key_is_in_no_file_and_each_container_is_confined(repository: Path) -> None:
    spec = _cron_job(_in(repository, "15 3 * * *"))["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "crucible-batch"}}]
    kept = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    assert set(kept) == {"HOME", "XDG_STATE_HOME", "CRUCIBLE_BATCH_ACCOUNTS"}
    assert all(
        path.startswith("/data") for path in kept.values()
    )  # the volume: nothing else is kept
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False


def test_a_manifest_with_files_is_read_from_the_volume(repository: Path) -> None:
    text = _texts("kubernetes", _in(repository, "15 3 * * *", needs_files=True))[-1]
    assert "ConfigMap" not in text
    assert "copy its folder to /data/manifests/nightly" in text
    arguments = _cron_job(_in(repository, "15 3 * * *", needs_files=True))["jobTemplate"]["spec"][
        "template"
    ]["spec"]
    assert arguments["containers"][0]["args"][1] == "/data/manifests/nightly/nightly.yaml"


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("nightly", "crucible-batch-nightly"),
        ("Shop_2.0", "crucible-batch-shop-2-0-5908aa43"),
        ("a" * 100, None),
    ],
)
def test_a_resource_name_is_valid_and_unique(
    repository: Path, name: str, resource: str | None
) -> None:
    file = export([_in(repository, "15 3 * * *", name=name)], "kubernetes", OPTIONS)[-1]
    found = file.name.removesuffix(".yaml")
    assert len(found) <= 52
    assert resource is None or found == resource


def test_kubernetes_needs_an_image(repository: Path) -> None:
    with pytest.raises(UserError, match="container image"):
        export(
            [_in(repository, "15 3 * * *")], "kubernetes", dataclasses.replace(OPTIONS, image=None)
        )


def test_files_are_written_again_and_others_are_kept(tmp_path: Path, repository: Path) -> None:
    files = export([_in(repository, "15 3 * * *")], "systemd", OPTIONS)
    folder = tmp_path / "units"
    paths = write_files(files, folder, [MARK], force=False)
    assert write_files(files, folder, [MARK], force=False) == paths
    paths[1].write_text("[Timer]\n")
    paths[0].write_text(paths[0].read_text() + "# changed\n")
    with pytest.raises(UserError, match="not overwritten"):
        write_files(files, folder, [MARK], force=False)
    assert "# changed" in paths[0].read_text()  # nothing was written
    write_files(files, folder, [MARK], force=True)
    assert "OnCalendar" in paths[1].read_text()


def test_the_command_is_an_absolute_path() -> None:
    (script,) = own_command()
    assert Path(script).is_absolute()
    assert Path(script).name == "crucible-batch"


@each_case("duration_s, text", [(21_600, "6h"), (5400, "90m"), (45, "45s"), (0.5, "1s")])
def test_a_time_limit_is_written_as_the_option_reads_it(duration_s: float, text: str) -> None:
    assert deadline_text(duration_s) == text


@pytest.mark.parametrize("to", SCHEDULERS)
def test_a_command_of_a_notification_needs_consent(repository: Path, to: str) -> None:
    one = _in(repository, "15 3 * * *", has_command=True)
    with pytest.raises(UserError, match="runs a command") as refused:
        export([one], to, OPTIONS)
    assert "--allow-command" in str(refused.value.hint)
    allowed = dataclasses.replace(OPTIONS, allow_command=True)
    assert any("--allow-command" in text for text in _texts(to, one, allowed))
    assert not any(
        "--allow-command" in text for text in _texts(to, _in(repository, "15 3 * * *"), allowed)
    )


def test_a_workflow_has_the_variables_of_notifications_as_secrets(repository: Path) -> None:
    one = _in(repository, "15 3 * * *", variables=("HEARTBEAT_URL",))
    (file,) = export([one], "github-actions", OPTIONS)
    plan, step = [
        each for each in yaml.safe_load(file.text)["jobs"]["run"]["steps"] if each.get("env")
    ]
    assert plan["env"] == step["env"]
    assert step["env"]["HEARTBEAT_URL"] == "${{ secrets.HEARTBEAT_URL }}"
    assert "gh secret set HEARTBEAT_URL" in file.steps


def test_a_workflow_runs_nothing_that_another_person_could_replace(repository: Path) -> None:
    """No index has the program yet: whoever took the name there would get the API key."""
    (text,) = _texts("github-actions", _in(repository, "15 3 * * *"))
    used = [line for line in text.splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.search(r"uses: actions/[a-z/-]+@[0-9a-f]{40} # v[0-9.]+$", line)
    installed = re.findall(r"pip install (.+)", text)
    assert installed == [f".github/crucible_batch-{__version__}-py3-none-any.whl"]
    folder = repository / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "nightly.yml").write_text(text, encoding="utf-8")
    words = ["--offline", "--no-progress", "--persona", "auditor", "--format", "json-v1"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("zizmor")), *words, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = {each["ident"] for each in json.loads(done.stdout)}
    # A user's secrets are those of the repository; an environment would have to be made first.
    assert found <= {"anonymous-definition", "secrets-outside-env"}, done.stdout


def test_a_workflow_is_not_copied_onto_itself(repository: Path) -> None:
    one = _in(repository, "15 3 * * *")
    there = dataclasses.replace(OPTIONS, folder=repository / ".github" / "workflows")
    (file,) = export([one], "github-actions", there)
    assert file.steps == ("gh secret set MOLTAZINE_API_KEY",)
    (file,) = export([one], "github-actions", OPTIONS)
    assert any(step.startswith("cp ") for step in file.steps)


def test_a_container_reads_no_env_file_of_this_machine(repository: Path) -> None:
    options = dataclasses.replace(OPTIONS, env_file=Path("/etc/batch.env"))
    files = export([_in(repository, "15 3 * * *")], "kubernetes", options)
    assert "/etc/batch.env" not in "".join(file.text for file in files)
    assert any("--from-env-file=/etc/batch.env " in step for file in files for step in file.steps)
    files = export([_in(repository, "15 3 * * *")], "kubernetes", OPTIONS)
    assert any("--from-env-file=/srv/shop/.env " in step for file in files for step in file.steps)
