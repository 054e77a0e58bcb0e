"""A sidecar is written whole or not at all, replaces only its own kind, and fails nobody."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest

from crucible_batch.outputs import Sidecars
from crucible_batch.outputs import sidecars as sidecars_module

CONTENT = {"tool": "crucible-batch", "schema_version": 1, "prompt": "café ☃"}


@pytest.fixture
def sidecars(tmp_path: Path) -> Sidecars:
    (tmp_path / "a").mkdir()
    return Sidecars(tmp_path)


def standing(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "a").iterdir())


def test_it_stands_beside_its_output_under_the_name_of_that_and_is_for_people_too(
    tmp_path: Path, sidecars: Sidecars
) -> None:
    sidecars.write("a/0.png", CONTENT)
    text = (tmp_path / "a/0.png.json").read_text(encoding="utf-8")
    assert json.loads(text) == CONTENT
    assert "café ☃" in text
    assert standing(tmp_path) == ["0.png.json"]


@pytest.mark.parametrize(
    "theirs",
    [
        b"",
        b"my notes",
        b"{}",
        b"[1]",
        b'{"tool": "another"}',
        b'{"tool": "crucible-batch"}',
        b"[" * 100_000,
        b"\xff",
    ],
    ids=["empty", "notes", "object", "list", "other tool", "no version", "deep", "no text"],
)
def test_a_file_that_is_not_ours_stays_and_that_is_said_once(
    tmp_path: Path, sidecars: Sidecars, caplog: pytest.LogCaptureFixture, theirs: bytes
) -> None:
    (tmp_path / "a/0.png.json").write_bytes(theirs)
    with caplog.at_level(logging.WARNING):
        sidecars.write("a/0.png", CONTENT)
        sidecars.write("a/0.png", CONTENT)
    sidecars.move("a/0.png", "a/1.png")
    assert (tmp_path / "a/0.png.json").read_bytes() == theirs
    (record,) = caplog.records
    assert "another file exists there (the output itself is saved)" in record.getMessage()
    assert standing(tmp_path) == ["0.png.json"]


@pytest.mark.parametrize("what", ["directory", "link", "link to ours", "pipe"])
def test_what_is_no_file_stays_and_no_link_is_followed(
    tmp_path: Path, sidecars: Sidecars, what: str
) -> None:
    target, elsewhere = tmp_path / "a/0.png.json", tmp_path / "elsewhere"
    if what == "directory":
        target.mkdir()
    elif what == "pipe":
        os.mkfifo(target)
    else:
        elsewhere.write_text(json.dumps(CONTENT) if what == "link to ours" else "mine")
        target.symlink_to(elsewhere)
    before = target.lstat()
    sidecars.write("a/0.png", {**CONTENT, "prompt": "other"})
    assert target.lstat().st_ino == before.st_ino
    assert not elsewhere.exists() or "other" not in elsewhere.read_text()
    assert standing(tmp_path) == ["0.png.json"]


@pytest.mark.parametrize("call", ["open", "link", "write"])
def test_a_disk_that_fails_is_a_note_and_leaves_nothing_behind(
    tmp_path: Path,
    sidecars: Sidecars,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "write":
        monkeypatch.setattr(sidecars_module, "_write", full)
    else:
        monkeypatch.setattr(sidecars_module.os, call, full)
    with caplog.at_level(logging.WARNING):
        sidecars.write("a/0.png", CONTENT)
        sidecars.write("a/1.png", CONTENT)
    monkeypatch.undo()
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()
    assert standing(tmp_path) == []
