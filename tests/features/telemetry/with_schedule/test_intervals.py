"""What a schedule means for the time until the next run."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.features.telemetry.part import longest_interval_s
from crucible_batch.manifest import load_manifest

HOUR = 3600.0
NOW = 1_795_000_000.0  # in November 2026


@pytest.mark.parametrize(
    ("schedule", "interval"),
    [
        ("{cron: '15 3 * * *'}", 24 * HOUR),
        ("{cron: '0 * * * *'}", HOUR),
        ("{cron: '15 3 * * 1-5'}", 72 * HOUR),
        ("{cron: '0 6 1 * *'}", 31 * 24 * HOUR),
        (
            "{cron: '15 3 * * *', timezone: Europe/Berlin}",
            25 * HOUR,
        ),  # the night in which the clock is set back
    ],
)
def test_the_longest_interval_of_a_schedule_has_its_weekends_and_clock_changes(
    tmp_path: Path, schedule: str, interval: float
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        f"version: 1\nname: a\nworkflow: w\nschedule: {schedule}\njobs: [{{name: a, prompt: a}}]\n"
    )
    assert longest_interval_s(load_manifest(path), NOW) == interval
