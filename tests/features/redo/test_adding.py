"""The lines about rejected outputs."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.features.quality.rejections import Rejection, add_rejection

ONE = Rejection("hero-3", 0, "3fa9c1d2e4b5" + "0" * 52, "blank: one colour")
LINE = "hero-3/0 g0 3fa9c1d2e4b5 blank: one colour"


def test_a_line_names_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "rejects.txt"
    assert add_rejection(file, ONE)
    assert file.read_text() == f"{LINE}\n"


def test_a_line_is_written_once_and_after_those_of_a_person(tmp_path: Path) -> None:
    file = tmp_path / "rejects.txt"
    file.write_text("# mine\nhero-30/0 g0 3fa9c1d2e4b5")
    assert add_rejection(file, ONE)
    assert add_rejection(file, ONE)
    assert file.read_text() == f"# mine\nhero-30/0 g0 3fa9c1d2e4b5\n{LINE}\n"


def test_a_persons_line_about_the_same_bytes_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "rejects.txt"
    file.write_text("hero-3/0 g0 3fa9c1d2e4b5 six fingers\n")
    assert add_rejection(file, ONE)
    assert file.read_text().count("\n") == 1


@given(st.text())
def test_a_reason_is_one_line_without_control_characters(reason: str) -> None:
    line = Rejection("a", 0, "0" * 64, reason).line
    assert len(line.splitlines()) == 1
    assert not any(character < " " or "\x7f" <= character < "\xa0" for character in line)
    assert len(line) < 600


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "profile"
    target.write_text("mine\n")
    (tmp_path / "rejects.txt").symlink_to(target)
    assert not add_rejection(tmp_path / "rejects.txt", ONE)
    assert target.read_text() == "mine\n"


def test_what_is_not_a_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert not add_rejection(tmp_path / "fifo", ONE)
    assert not add_rejection(tmp_path / "no" / "folder", ONE)
