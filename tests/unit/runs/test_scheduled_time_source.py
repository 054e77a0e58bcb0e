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
from crucible_batch.scheduled_time import parse_time
from tests.harness.case_table import each_case

HEAD = "version: 1\nname: n\nworkflow: w\njobs: [{name: a, prompt: b}]\n"
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
        (GIVEN, {**AT, **JOB}, "", "2026-01-01T00:00:00Z"),
        (None, {**AT, **JOB}, "", "2026-02-02T00:00:00Z"),
        (None, {"CRUCIBLE_BATCH_SCHEDULED_AT": "", **JOB}, "", "2026-11-25T15:20:00Z"),
        (None, {"CRUCIBLE_BATCH_KUBERNETES_JOB": "by-hand"}, "", "2026-11-26T10:20:30Z"),
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


@each_case("text", ["nonsense", "2026-11-26T03:15:00", "2026-11-26"])
def test_an_invalid_variable_is_named(tmp_path: Path, text: str) -> None:
    environ = {"CRUCIBLE_BATCH_SCHEDULED_AT": text}
    with pytest.raises(UserError, match=r"^CRUCIBLE_BATCH_SCHEDULED_AT: ") as caught:
        find_scheduled_time(_load(tmp_path, ""), None, environ, NOW)
    assert caught.value.exit_code == 2


def test_a_time_without_a_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^scheduled_at: it has no time zone"):
        find_scheduled_time(_load(tmp_path, ""), datetime(2026, 1, 1), {}, NOW)  # noqa: DTZ001


def test_a_manifest_is_read_with_the_time_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load(tmp_path, "timezone: Europe/Berlin\n")
    monkeypatch.setenv("CRUCIBLE_BATCH_SCHEDULED_AT", "2026-03-29T01:30:00Z")
    manifest = read_source(RunRequest(tmp_path / "m.yaml"))
    assert manifest.variables["scheduled_at"] == "2026-03-29T03:30:00+02:00"
