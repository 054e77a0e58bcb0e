"""Schedules of manifests that extend another file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import yaml

from crucible_batch.features.schedule.export.target import ExportOptions
from crucible_batch.features.schedule.export.writing import export
from crucible_batch.features.schedule.schedules import find_schedules
from crucible_batch.scheduled_time import read_timezone

BASE = 'version: 1\nworkflow: z\nschedule: {cron: "15 3 * * *"}\nbudget: 9\n'
OWN = "extends: base.yaml\nname: nightly\njobs: [{name: a, prompt: x}]\n"


def test_a_folder_has_the_schedule_and_its_base_is_not_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "nightly.yaml").write_text(OWN)
    found = find_schedules([tmp_path])
    assert [(one.name, one.cron, one.has_budget) for one in found.schedules] == [
        ("nightly", "15 3 * * *", True)
    ]
    assert (found.unscheduled, found.invalid) == ((), {})


def test_a_base_that_is_named_is_read_as_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "nightly.yaml").write_text(OWN)
    found = find_schedules([tmp_path, tmp_path / "base.yaml"])
    assert [path.name for path in found.named_invalid] == ["base.yaml"]


def test_an_exported_schedule_has_the_manifest_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "nightly.yaml").write_text(OWN)
    (schedule,) = find_schedules([tmp_path / "nightly.yaml"]).schedules
    options = ExportOptions(
        directory=tmp_path,
        command=("/opt/bin/crucible-batch",),
        now=datetime(2026, 11, 26, tzinfo=UTC),
        system_zone=read_timezone("UTC"),
        image="registry.example/batch:1",
    )
    documents = yaml.safe_load_all(export([schedule], "kubernetes", options)[-1].text)
    (text,) = [
        each["data"]["manifest.yaml"] for each in documents if each and each["kind"] == "ConfigMap"
    ]
    alone = tmp_path / "alone/manifest.yaml"
    alone.parent.mkdir()
    alone.write_text(text)
    assert [one.cron for one in find_schedules([alone]).schedules] == [schedule.cron]
