"""The file for the textfile collector."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from crucible_batch.errors import UserError
from crucible_batch.features.telemetry import metrics
from crucible_batch.features.telemetry.figures import RunFigures
from crucible_batch.features.telemetry.metrics import (
    check_directory,
    read_last_success,
    textfile_path,
    write_textfile,
)
from tests.harness.case_table import each_case


def finished(at: float, code: int) -> RunFigures:
    figures = RunFigures(at - 5)
    figures.finish(at, code)
    return figures


def read(path: Path) -> dict[str, float]:
    families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    return {
        sample.name.removeprefix("crucible_batch_"): sample.value
        for each in families
        for sample in each.samples
    }


def test_each_manifest_has_a_file_with_a_name_of_ours(tmp_path: Path) -> None:
    path = textfile_path(tmp_path, "apt")
    assert path == tmp_path / "crucible-batch-apt.prom", "apt.prom is another program's"


def test_a_failed_run_keeps_the_time_of_the_last_success(tmp_path: Path) -> None:
    path = textfile_path(tmp_path, "night")
    write_textfile(path, "night", finished(1000, 0))
    for at, code in ((2000, 1), (3000, 2), (4000, 143)):
        write_textfile(path, "night", finished(at, code))
        found = read(path)
        assert (found["last_success_timestamp_seconds"], found["last_end_timestamp_seconds"]) == (
            1000,
            at,
        )
        assert found["exit_code"] == code
    write_textfile(path, "night", finished(5000, 0))
    assert read(path)["last_success_timestamp_seconds"] == 5000


def test_the_last_success_is_read_again_at_the_end(tmp_path: Path) -> None:
    """Another run of the manifest may have succeeded in the meantime."""
    path = textfile_path(tmp_path, "night")
    figures = RunFigures(1.0)
    figures.succeeded_at = 500
    write_textfile(path, "night", finished(1000, 0))
    figures.finish(2000, 1)
    write_textfile(path, "night", figures)
    assert read(path)["last_success_timestamp_seconds"] == 1000


def test_a_success_counts_even_if_the_clock_was_ahead_before(tmp_path: Path) -> None:
    path = textfile_path(tmp_path, "night")
    write_textfile(path, "night", finished(9e9, 0))
    write_textfile(path, "night", finished(2000, 0))
    assert read(path)["last_success_timestamp_seconds"] == 2000


def test_without_a_success_it_is_0(tmp_path: Path) -> None:
    path = textfile_path(tmp_path, "night")
    write_textfile(path, "night", finished(1000, 1))
    assert read(path)["last_success_timestamp_seconds"] == 0
    assert read_last_success(path, "night") is None


@each_case(
    "content", [b"", b"{{{", b"\xff\xfe", b'crucible_batch_last_success_timestamp_seconds{x="']
)
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = textfile_path(tmp_path, "night")
    path.write_bytes(content)
    write_textfile(path, "night", finished(1000, 1))
    assert read(path)["exit_code"] == 1


def test_the_success_of_another_manifest_does_not_count(tmp_path: Path) -> None:
    path = textfile_path(tmp_path, "night")
    write_textfile(path, "night", finished(1000, 0))
    assert read_last_success(path, "day") is None


def test_the_file_is_never_there_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written under a name that the collector does not read, and renamed."""
    path = textfile_path(tmp_path, "night")
    write_textfile(path, "night", finished(1000, 0))
    before = path.read_bytes()
    seen: list[tuple[set[str], bytes]] = []
    rename = os.rename

    def watched(source: str, target: str) -> None:
        seen.append(({file.suffix for file in tmp_path.iterdir()} - {".prom"}, path.read_bytes()))
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    write_textfile(path, "night", finished(2000, 0))
    assert len(seen) == 1
    assert seen[0][0]
    assert seen[0][1] == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_full_disk_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metrics, "write_to_textfile", full)
    with caplog.at_level(logging.WARNING):
        write_textfile(textfile_path(tmp_path, "night"), "night", finished(1000, 0))
    assert "No space left on device" in caplog.text


def test_a_missing_directory_is_an_error_before_the_run(tmp_path: Path) -> None:
    for wrong in (tmp_path / "nowhere", Path(__file__)):
        with pytest.raises(UserError, match="does not exist or is not a directory"):
            check_directory(wrong)
    check_directory(tmp_path)


def test_a_directory_that_is_not_writable_is_an_error_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(UserError, match="not writable"):
        check_directory(tmp_path)
