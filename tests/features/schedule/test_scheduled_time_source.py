"""Where the scheduled time of a run comes from, if its manifest has a schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from crucible_batch.manifest import Manifest, load_manifest
from crucible_batch.runs.scheduled_time_source import find_scheduled_time
from crucible_batch.scheduled_time import parse_time, read_timezone
from tests.harness.case_table import each_case

NOW = datetime(2026, 11, 26, 10, 20, 30, 999, tzinfo=UTC)
GIVEN = datetime(2026, 1, 1, tzinfo=UTC)
AT = {"CRUCIBLE_BATCH_SCHEDULED_AT": "2026-02-02T00:00:00+00:00"}
JOB = {"CRUCIBLE_BATCH_KUBERNETES_JOB": "nightly-29927000"}


def _load(tmp_path: Path, cron: str = "15 3 * * *") -> Manifest:
    path = tmp_path / "m.yaml"
    schedule = f'schedule: {{cron: "{cron}", timezone: Europe/Berlin}}'
    path.write_text(
        f"version: 1\nname: n\nworkflow: w\njobs: [{{name: a, prompt: b}}]\n{schedule}\n"
    )
    return load_manifest(path)


@each_case(
    "given, environ, found",
    [
        (GIVEN, {**AT, **JOB}, "2026-01-01T00:00:00Z"),
        (None, {**AT, **JOB}, "2026-02-02T00:00:00Z"),
        (None, JOB, "2026-11-25T02:15:00Z"),
        (None, {}, "2026-11-26T02:15:00Z"),
        (None, {"CRUCIBLE_BATCH_KUBERNETES_JOB": "by-hand"}, "2026-11-26T02:15:00Z"),
    ],
)
def test_the_time_of_a_schedule_is_used_if_no_other_is_given(
    tmp_path: Path, given: datetime | None, environ: dict[str, str], found: str
) -> None:
    assert find_scheduled_time(_load(tmp_path), given, environ, NOW) == parse_time(found)


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
    found = find_scheduled_time(_load(tmp_path), None, {}, parse_time(now))
    assert f"{found.astimezone(read_timezone('Europe/Berlin')):%Y-%m-%d}" == night


@each_case("minutes", [0, 60])
def test_both_jobs_of_a_time_that_kubernetes_repeats_belong_to_one_run(
    tmp_path: Path, minutes: int
) -> None:
    manifest = _load(tmp_path, "30 2 * * *")
    first = parse_time("2026-10-25T02:30:00+02:00")
    job = {"CRUCIBLE_BATCH_KUBERNETES_JOB": f"nightly-{int(first.timestamp()) // 60 + minutes}"}
    assert find_scheduled_time(manifest, None, job, NOW) == first
