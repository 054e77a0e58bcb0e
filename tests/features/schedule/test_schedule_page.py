"""The files of docs/schedule.md are what ``schedule export`` prints for its manifest."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crucible_batch.features.schedule.export.target import ExportOptions
from crucible_batch.features.schedule.export.writing import export
from crucible_batch.features.schedule.schedules import ScheduledManifest, read_schedule
from crucible_batch.scheduled_time import read_timezone
from tests.integration.docs.page import ROOT, blocks

PAGE = ROOT / "docs" / "schedule.md"
BLOCKS = list(blocks(PAGE))
OPTIONS = ExportOptions(
    directory=Path("/srv/shop"),
    command=("/srv/shop/.venv/bin/crucible-batch",),
    now=datetime(2026, 11, 26, tzinfo=UTC),
    system_zone=read_timezone("Europe/Berlin"),
    user="batch",
    image="registry.example/batch:1",
)


@pytest.fixture
def nightly(tmp_path: Path) -> ScheduledManifest:
    (tmp_path / "nightly.yaml").write_text(
        next(block.text for block in BLOCKS if block.file == "nightly.yaml")
    )
    found = read_schedule(tmp_path / "nightly.yaml")
    assert found is not None
    return found


def exported(nightly: ScheduledManifest) -> dict[str, str]:
    """The files, with the paths of the page."""
    here = str(nightly.path.parent)
    (crontab,) = export([nightly], "cron", dataclasses.replace(OPTIONS, user=None))
    service, timer = export([nightly], "systemd", OPTIONS)
    job = export([nightly], "kubernetes", OPTIONS)[-1]
    texts = {
        "crontab": crontab.text,
        "service": service.text,
        "timer": timer.text,
        "cronjob": job.text[job.text.index("apiVersion: batch/v1") :],
    }
    return {name: text.replace(here, "/srv/shop") for name, text in texts.items()}


@pytest.mark.parametrize("name", ["crontab", "service", "timer", "cronjob"])
def test_a_file_of_the_page_is_what_is_exported(nightly: ScheduledManifest, name: str) -> None:
    text = exported(nightly)[name]
    assert text in [block.text for block in BLOCKS], text
