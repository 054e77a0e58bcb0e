"""Opening what was saved: a plain file below the run directory, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crucible_batch.outputs import OutputStore, open_output
from tests.harness.case_table import each_case


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for folder in ("run/fox", "run/.crucible", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "run/fox/0.png").write_bytes(b"a fox")
    (tmp_path / "run/.crucible/journal.sqlite3").write_bytes(b"the journal")
    (tmp_path / "elsewhere/0.png").write_bytes(b"a secret")
    return tmp_path / "run"


def test_the_run_directory_itself_may_be_reached_by_a_link(run_dir: Path) -> None:
    (run_dir.parent / "link").symlink_to(run_dir)
    with open_output(run_dir.parent / "link", "fox/0.png") as file:
        assert file.read() == b"a fox"


@each_case(
    "path",
    ["", ".", "..", "/", "//", "../elsewhere/0.png", "fox/../../elsewhere/0.png",
     ".crucible/journal.sqlite3", "fox", "fox/0.png\0", "fox/0.png/x", "fox/1.png",
     "fox/../.crucible/journal.sqlite3"],
)  # fmt: skip
def test_anything_else_is_refused(run_dir: Path, path: str) -> None:
    with pytest.raises(OSError, match=r"."):
        open_output(run_dir, path)


@pytest.mark.parametrize("name", ["fox", "fox/0.png"])
def test_no_link_is_followed_neither_as_the_file_nor_on_the_way(run_dir: Path, name: str) -> None:
    (run_dir / "fox").rename(run_dir.parent / "moved")
    if name == "fox":
        (run_dir / "fox").symlink_to(run_dir.parent / "elsewhere")
    else:
        (run_dir / "fox").mkdir()
        (run_dir / "fox/0.png").symlink_to(run_dir.parent / "elsewhere/0.png")
    with pytest.raises(OSError, match=r"."):
        open_output(run_dir, "fox/0.png")


def test_a_pipe_is_refused_and_waited_for_by_nobody(run_dir: Path) -> None:
    os.mkfifo(run_dir / "fox/1.png")
    with pytest.raises(OSError, match="not a regular file"):
        open_output(run_dir, "fox/1.png")


def test_an_output_of_another_size_is_not_the_one_that_was_saved(run_dir: Path) -> None:
    store = OutputStore(run_dir)
    assert store.has("fox/0.png")
    assert store.has("fox/0.png", len(b"a fox"))
    assert not store.has("fox/0.png", len(b"a fox") + 1)
    assert not store.has("fox/0.png", 0)
    assert not store.has("fox/1.png", 0)
