"""The keys of scheduled runs: run id, time zone, schedule, budget period and notifications."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.errors import ManifestError
from crucible_batch.manifest import load_manifest
from crucible_batch.scheduled_time import read_timezone
from tests.harness.case_table import each_case

HEAD = "version: 1\nname: n\nworkflow: w\njobs: [{name: a, prompt: b}]\n"


def _load(tmp_path: Path, text: str):
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + text)
    return load_manifest(path)


def test_a_manifest_without_these_keys_is_in_utc_and_has_no_schedule(tmp_path: Path) -> None:
    manifest = _load(tmp_path, "")
    assert (manifest.run_id, manifest.schedule, manifest.notify) == (None, None, ())
    assert manifest.zone == read_timezone("UTC")


@each_case(
    "text",
    [
        "timezone: Europe/Berlin\n",
        'schedule: {cron: "0 3 * * *", timezone: Europe/Berlin}\n',
        'timezone: Europe/Berlin\nschedule: {cron: "0 3 * * *", timezone: Asia/Tokyo}\n',
    ],
)
def test_dates_are_in_the_manifests_time_zone_otherwise_in_that_of_the_schedule(tmp_path: Path, text: str) -> None:
    assert _load(tmp_path, text).zone == read_timezone("Europe/Berlin")


@each_case(
    "text, message",
    [
        ("timezone: Mars/Olympus", "'Mars/Olympus' is not a time zone"),
        ("timezone: ", "is empty"),
        ('schedule: {cron: "61 * * * *"}', "is not a cron expression: bad minute"),
        ('schedule: {cron: "0 3 * * *", catch_up: -1}', "must be at least 0"),
        ("schedule: {timezone: UTC}", "`cron` is missing"),
        ("budget: {credits: 5, per: day}", "`per` needs `account`"),
        ("budget: {credits: 5, account: studio}", "`account` needs `per`"),
        ("budget: {per: day, account: studio}", "`per` needs `credits`"),
        ("budget: {credits: 5, per: year, account: studio}", "must be 'day', 'week' or 'month'"),
        ("budget: {credits: 5, per: day, account: ../x}", "must consist of letters"),
        ("notify: [{on: [success]}]", "got none of them"),
        ("notify: [{on: [success], command: [x], heartbeat: 'env:A'}]", "got heartbeat and command"),
        ("notify: [{on: [success], webhook: 'env:A'}]", "`webhook` needs `secret`"),
        ("notify: [{on: [success], command: [x], secret: 'env:A'}]", "`secret` belongs to `webhook`"),
        ("notify: [{on: [], command: [x]}]", "is an empty list"),
        ("notify: [{on: [success], command: []}]", "is an empty list"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        _load(tmp_path, text)
    assert message in str(caught.value)


@each_case("key", ["heartbeat", "webhook", "secret", "apprise"])
def test_an_address_or_a_secret_in_the_manifest_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    with pytest.raises(ManifestError) as caught:
        _load(tmp_path, f"notify: [{{on: [success], {key}: 'https://hc-ping.com/canary'}}]")
    messages = [problem.message for problem in caught.value.problems]
    assert any("must be env:NAME or file:PATH" in message for message in messages)
    assert not any("canary" in message for message in messages)
