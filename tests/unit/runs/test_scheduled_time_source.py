"""Where the scheduled time of a run comes from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from crucible_batch.errors import UserError
from crucible_batch.manifest import Manifest, load_manifest
from crucible_batch.runs.draft import read_source
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.scheduled_time_source import find_scheduled_time
from crucible_batch.scheduled_time import parse_time, read_timezone
from tests.harness.case_table import each_case

HEAD = "version: 1\nname: n\nworkflow: w\njobs: [{name: a, prompt: b}]\n"
NIGHTLY = 'schedule: {cron: "15 3 * * *", timezone: Europe/Berlin}\n'
NOW = datetime(2026, 11, 26, 10, 20, 30, 999, tzinfo=UTC)
GIVEN = datetime(2026, 1, 1, tzinfo=UTC)
AT = {"CRUCIBLE_BATCH_SCHEDULED_AT": "2026-02-02T00:00:00+00:00"}
JOB = {"CRUCIBLE_BATCH_KUBERNETES_JOB": "nightly-29927000"}


def _load(tmp_path: Path, text: str) -> Manifest:
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + text)
    return load_manifest(path)


@each_case(
    "given, environ, text, found",
    [
        (GIVEN, {**AT, **JOB}, NIGHTLY, "2026-01-01T00:00:00Z"),
        (None, {**AT, **JOB}, NIGHTLY, "2026-02-02T00:00:00Z"),
        (None, JOB, NIGHTLY, "2026-11-25T02:15:00Z"),
        (None, {"CRUCIBLE_BATCH_SCHEDULED_AT": "", **JOB}, "", "2026-11-25T15:20:00Z"),
        (None, {}, NIGHTLY, "2026-11-26T02:15:00Z"),
        (None, {"CRUCIBLE_BATCH_KUBERNETES_JOB": "by-hand"}, NIGHTLY, "2026-11-26T02:15:00Z"),
        (None, {}, "", "2026-11-26T10:20:30Z"),
        (
            None,
            {"CRUCIBLE_BATCH_SCHEDULED_AT": ""},
            "timezone: Asia/Tokyo\n",
            "2026-11-26T10:20:30Z",
        ),
    ],
)
def test_the_first_source_that_is_there_has_the_scheduled_time(
    tmp_path: Path, given: datetime | None, environ: dict[str, str], text: str, found: str
) -> None:
    assert find_scheduled_time(_load(tmp_path, text), given, environ, NOW) == parse_time(found)


@each_case(
    "now, night",
    [
        ("2026-11-26T02:15:00Z", "2026-11-26"),  # 03:15 in Berlin, on time
        ("2026-11-26T02:14:59Z", "2026-11-25"),
        ("2026-11-26T22:59:00Z", "2026-11-26"),  # almost midnight in Berlin
        ("2026-11-27T02:00:00Z", "2026-11-26"),  # the next day, before its own time
        (
            "2026-03-29T01:10:00Z",
            "2026-03-28",
        ),  # 03:10, a minute after 01:59: the clocks have just been set forward
        ("2026-03-29T01:15:00Z", "2026-03-29"),
        ("2026-10-25T02:14:00Z", "2026-10-24"),  # 03:14, after the repeated hour
        ("2026-10-25T02:15:00Z", "2026-10-25"),
    ],
)
def test_a_run_that_begins_late_belongs_to_its_own_night(
    tmp_path: Path, now: str, night: str
) -> None:
    found = find_scheduled_time(_load(tmp_path, NIGHTLY), None, {}, parse_time(now))
    assert f"{found.astimezone(read_timezone('Europe/Berlin')):%Y-%m-%d}" == night


@each_case("minutes", [0, 60])
def test_both_jobs_of_a_time_that_kubernetes_repeats_belong_to_one_run(
    tmp_path: Path, minutes: int
) -> None:
    manifest = _load(tmp_path, 'schedule: {cron: "30 2 * * *", timezone: Europe/Berlin}\n')
    first = parse_time("2026-10-25T02:30:00+02:00")
    job = {"CRUCIBLE_BATCH_KUBERNETES_JOB": f"nightly-{int(first.timestamp()) // 60 + minutes}"}
    assert find_scheduled_time(manifest, None, job, NOW) == first


@each_case("text", ["nonsense", "2026-11-26T03:15:00", "2026-11-26"])
def test_an_invalid_variable_is_named(tmp_path: Path, text: str) -> None:
    environ = {"CRUCIBLE_BATCH_SCHEDULED_AT": text}
    with pytest.raises(UserError, match=r"^CRUCIBLE_BATCH_SCHEDULED_AT: ") as caught:
        find_scheduled_time(_load(tmp_path, NIGHTLY), None, environ, NOW)
    assert caught.value.exit_code == 2


def test_a_time_without_a_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^scheduled_at: it has no time zone"):
        find_scheduled_time(_load(tmp_path, ""), datetime(2026, 1, 1), {}, NOW)  # noqa: DTZ001


def test_a_manifest_is_read_with_the_time_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load(tmp_path, NIGHTLY)
    monkeypatch.setenv("CRUCIBLE_BATCH_SCHEDULED_AT", "2026-03-29T01:30:00Z")
    manifest = read_source(RunRequest(tmp_path / "m.yaml"))
    assert manifest.variables["scheduled_at"] == "2026-03-29T03:30:00+02:00"
