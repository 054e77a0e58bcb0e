"""Lines that checks add to the file of rejections."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.errors import UserError
from crucible_batch.features.redo.rejecting import add_rejection
from crucible_batch.features.redo.rejections import (
    Rejection,
    parse_rejection,
    reason_of_person,
    rejection_by_check,
)
from tests.harness.job_events import saved_event
from tests.harness.replacing import replace

SAVED = saved_event(0, "hero-3/0.png", sha256="3fa9c1d2e4b5" + "0" * 52)
ONE = rejection_by_check("hero-3", 1, SAVED, "blank: one colour")
LINE = "hero-3/0 g1 3fa9c1d2e4b5 check blank: one colour"


def test_a_line_names_the_bytes_and_their_generation(tmp_path: Path) -> None:
    file = tmp_path / "rejects.txt"
    add_rejection(file, ONE)
    assert file.read_text() == f"{LINE}\n"
    found = parse_rejection(LINE, 0)
    assert found == ONE
    assert found.is_of_check
    assert not replace(found, reason="blank: one colour").is_of_check


@pytest.mark.parametrize("reason", ["check the hands", "check: hands", "checked twice", "check"])
def test_a_line_of_a_person_is_not_taken_for_that_of_a_check(reason: str) -> None:
    assert not replace(ONE, reason=reason).is_of_check
    assert reason_of_person(f" {reason}\n") == reason


def test_a_person_can_give_no_reason_of_a_check() -> None:
    reason = reason_of_person("check blank: One colour")
    assert reason == "Check blank: One colour"
    assert not replace(ONE, reason=reason).is_of_check


def test_a_line_is_written_once_and_after_those_of_a_person(tmp_path: Path) -> None:
    file = tmp_path / "rejects.txt"
    file.write_text("# mine\nhero-30/0 g0 3fa9c1d2e4b5")
    add_rejection(file, ONE)
    add_rejection(file, ONE)
    assert file.read_text() == f"# mine\nhero-30/0 g0 3fa9c1d2e4b5\n{LINE}\n"


def test_a_line_about_the_same_bytes_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "rejects.txt"
    file.write_text("hero-3/0 g0 3fa9c1d2e4b5 six fingers\n")
    add_rejection(file, ONE)
    assert file.read_text().count("\n") == 1


@given(st.text())
def test_a_reason_is_one_line_without_control_characters(reason: str) -> None:
    line = str(rejection_by_check("a", 0, SAVED, reason))
    assert len(line.splitlines()) == 1
    assert not any(character < " " or "\x7f" <= character < "\xa0" for character in line)
    assert len(line) < 600
    assert isinstance(parse_rejection(line, 1), Rejection)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "profile"
    target.write_text("mine\n")
    (tmp_path / "rejects.txt").symlink_to(target)
    with pytest.raises(UserError, match="not a regular file"):
        add_rejection(tmp_path / "rejects.txt", ONE)
    assert target.read_text() == "mine\n"


def test_what_is_not_a_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path / "no" / "folder"):
        with pytest.raises(UserError):
            add_rejection(path, ONE)
