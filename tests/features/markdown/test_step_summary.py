"""What is appended to the summary of a step, and what becomes of one that can't be written."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from crucible_batch.features.markdown.step_summary import (
    CUT,
    MOST_BYTES,
    VARIABLE,
    add_to_summary,
    fitted,
)
from tests.harness.case_table import each_case


def test_each_text_is_added_below_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    for text in ("## one\n", "## two\n"):
        add_to_summary(text, {VARIABLE: str(file)})
    assert file.read_text() == "## one\n\n## two\n"


def test_nothing_is_written_without_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    add_to_summary("## one\n", {})
    add_to_summary("## one\n", {VARIABLE: ""})
    assert list(tmp_path.iterdir()) == []


def test_a_summary_never_has_more_than_github_shows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "summary.md"
    line = "| `föx` | 1 |\n"
    text = line * (MOST_BYTES // 3 // len(line.encode()))
    for _ in range(6):
        add_to_summary(text, {VARIABLE: str(file)})
    content = file.read_bytes()
    assert MOST_BYTES - 200 < len(content) <= MOST_BYTES
    *rows, last = content.decode().strip().splitlines()
    assert last == CUT.strip()
    assert set(rows) == {line.strip(), ""}
    assert "it has at most 1 MiB" in caplog.text


FULL = MOST_BYTES - len(CUT)


@each_case(
    "content, size, kept",
    [
        (b"one\ntwo\n", FULL - 8, b"one\ntwo\n"),
        (b"one\ntwo\n", FULL - 7, b"one" + CUT.encode()),
        (b"one\n" * 40, FULL - 9, b"one\none" + CUT.encode()),
        (b"a" * 200, FULL - 9, CUT.encode()),
        (b"one\n", FULL, CUT.encode()),
        (b"one\n", FULL + 1, b""),
        (b"one\n", MOST_BYTES + 5, b""),
    ],
)
def test_whole_lines_are_kept_and_what_is_left_out_is_stated(
    content: bytes, size: int, kept: bytes
) -> None:
    assert fitted(content, size) == kept
    assert not kept or size + len(kept) <= MOST_BYTES


def _missing(tmp_path: Path) -> Path:
    return tmp_path / "missing" / "summary.md"


def _folder(tmp_path: Path) -> Path:
    return tmp_path


def _pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def _link(tmp_path: Path) -> Path:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    return tmp_path / "link"


def _device(_tmp_path: Path) -> Path:
    return Path("/dev/null")


@pytest.mark.parametrize("place", [_missing, _folder, _pipe, _link, _device])
def test_a_summary_that_cannot_be_written_is_a_note(
    place: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(place)
    path = place(tmp_path)
    with caplog.at_level(logging.WARNING):
        add_to_summary("## one\n", {VARIABLE: str(path)})
    assert f"the step summary {path} can't be written: " in caplog.text
    theirs = tmp_path / "theirs"
    assert not theirs.exists() or theirs.read_text() == "theirs"
