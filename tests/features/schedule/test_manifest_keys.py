"""The manifest key ``schedule``, and the time zone of dates."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.errors import ManifestError
from crucible_batch.scheduled_time import read_timezone
from tests.harness.case_table import each_case
from tests.unit.manifest.test_operations import load


def test_a_manifest_without_the_key_has_no_schedule(tmp_path: Path) -> None:
    assert load(tmp_path, "").header.schedule is None


@each_case(
    "text, message",
    [
        ('schedule: {cron: "61 * * * *"}', "is not a cron expression: bad minute"),
        ('schedule: {cron: "0 3 * * *", catch_up: -1}', "must be at least 0"),
        ("schedule: {timezone: UTC}", "`cron` is missing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)


@each_case(
    "text",
    [
        'schedule: {cron: "0 3 * * *", timezone: Europe/Berlin}\n',
        'timezone: Europe/Berlin\nschedule: {cron: "0 3 * * *", timezone: Asia/Tokyo}\n',
    ],
)
def test_dates_are_in_the_manifests_time_zone_otherwise_in_that_of_the_schedule(
    tmp_path: Path, text: str
) -> None:
    assert load(tmp_path, text).zone == read_timezone("Europe/Berlin")
