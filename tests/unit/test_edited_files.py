"""Files of one entry a line: commands change their own lines only, and no other kind of file."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from crucible_batch.atomic_files import alone
from crucible_batch.edited_files import EditedFile
from crucible_batch.errors import UserError


def picks(path: Path) -> EditedFile:
    return EditedFile(path, "a picks file", 100)


def test_lines_are_added_and_removed_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "picks.txt"
    path.write_text("# mine\n\n  a  \nb")
    picks(path).add(["c"])
    assert picks(path).remove(lambda number, line: line.strip() == "a") == "# mine\n\nb\nc\n"
    assert picks(path).text() == path.read_text() == "# mine\n\nb\nc\n"


def test_nothing_is_written_if_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "picks.txt"
    picks(path).add([])
    assert picks(path).remove(lambda number, line: True) == picks(path).text() == ""
    assert not path.exists()
    path.write_text("no newline")
    assert picks(path).remove(lambda number, line: False) == "no newline\n"
    assert path.read_text() == "no newline"


def test_a_line_that_is_added_while_others_are_removed_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "picks.txt"
    path.write_text("a\nb\n")
    adding = threading.Thread(target=picks(path).add, args=[["c"]])

    def is_removed(number: int, line: str) -> bool:
        if number == 1:
            adding.start()
            adding.join(0.05)  # waits for the removal, if nothing is lost
        return line == "a"

    picks(path).remove(is_removed)
    adding.join(10)
    assert path.read_text() == "b\nc\n"


def test_two_removals_at_the_same_moment_both_count(tmp_path: Path) -> None:
    path = tmp_path / "picks.txt"
    path.write_text("a\nb\nc\n")
    with alone(path):
        first = threading.Thread(target=picks(path).remove, args=[lambda _, line: line == "a"])
        first.start()
    picks(path).remove(lambda _, line: line == "b")
    first.join(10)
    assert path.read_text() == "c\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x" * 101, "is not a picks file: it is too large, or not UTF-8"),
        (b"\xff\xfe", "is not a picks file: it is too large, or not UTF-8"),
    ],
    ids=["too large", "not UTF-8"],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "picks.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        picks(path).text()
    with pytest.raises(UserError, match=message):
        picks(path).remove(lambda number, line: True)
    assert path.read_bytes() == content


def test_a_link_is_neither_read_nor_written_through(tmp_path: Path) -> None:
    target = tmp_path / "mine.txt"
    target.write_text("keep\n")
    path = tmp_path / "picks.txt"
    path.symlink_to(target)
    with pytest.raises(UserError, match="is not a regular file"):
        picks(path).text()
    with pytest.raises(UserError, match="can't be written"):
        picks(path).add(["a"])
    with pytest.raises(UserError, match="can't be written"):
        picks(path).remove(lambda number, line: True)
    assert target.read_text() == "keep\n"
