"""A name that was given is synced in its folder, or a power cut could take it away."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from crucible_batch.errors import JournalError
from crucible_batch.journal import Binding, Journal
from crucible_batch.outputs import add_name
from crucible_batch.outputs.publish import link_into_place, publish, put_back
from crucible_batch.outputs.safe_fs import folder_of

GOOD = hashlib.sha256(b"good").hexdigest()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, list[str]]]:
    """The folders that were synced, each with the names that were in it by then."""
    seen: list[tuple[Path, list[str]]] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            seen.append(
                (Path(f"/proc/self/fd/{descriptor}").readlink(), sorted(os.listdir(descriptor)))
            )

    monkeypatch.setattr(os, "fsync", noting)
    return seen


def _published(run: Path) -> None:
    publish(PurePosixPath("a/part"), run, PurePosixPath("a/0.png"), GOOD, "")


def _given(run: Path) -> None:
    with folder_of(run, "a/0.png") as folder:
        link_into_place(folder, "part", PurePosixPath("a/0.png"), GOOD)


def _put_back(run: Path) -> None:
    put_back(PurePosixPath("a/part"), run, PurePosixPath("a/0.png"), GOOD)


def _kept(run: Path) -> None:
    add_name(run, "a/part", "a/0.png", GOOD)


@pytest.mark.parametrize("name", [_published, _given, _put_back, _kept])
def test_an_outputs_name_is_synced(
    tmp_path: Path, synced: list[tuple[Path, list[str]]], name: Callable[[Path], None]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/part").write_bytes(b"good")
    name(tmp_path)
    folder, names = synced[-1]
    assert folder == tmp_path / "a"
    assert "0.png" in names


def test_a_new_journals_name_is_synced_and_that_of_each_folder_that_was_made_for_it(
    tmp_path: Path, synced: list[tuple[Path, list[str]]]
) -> None:
    run = tmp_path / "outputs/trial/default"
    for _ in range(2):
        with Journal.open(run, Binding("trial", "default", "https://gateway.test"), now=1.0):
            pass
    known = dict(synced)
    assert len(synced) == len(known)  # once, when it is made
    assert "journal.sqlite3" in known[run / ".crucible"]
    assert known[run] == [".crucible"]
    assert known[run.parent] == ["default"]
    assert known[run.parent.parent] == ["trial"]
    assert "outputs" in known[tmp_path]


def test_a_journal_whose_name_can_not_be_made_durable_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    opened = Journal.open(
        tmp_path / "run", Binding("trial", "default", "https://gateway.test"), now=1.0
    )
    with pytest.raises(JournalError, match="can't be synced to disk"), opened:
        pass
