"""A file gets its other name before it loses its own, and nobody's file is lost between the two."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from crucible_batch.outputs import add_name, remove_name
from crucible_batch.outputs.safe_fs import Folder

OLD = b"old"
DIGEST = hashlib.sha256(OLD).hexdigest()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/0.png").write_bytes(OLD)
    return tmp_path


def standing(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "a").iterdir())}


def test_both_steps_may_be_done_again_until_the_second_is_done(out: Path) -> None:
    for _ in range(2):
        add_name(out, "a/0.png", "a/0.x.png", DIGEST)
        assert standing(out) == {"0.png": OLD, "0.x.png": OLD}
    remove_name(out, "a/0.png", "a/0.x.png", DIGEST)
    assert standing(out) == {"0.x.png": OLD}


def test_a_copy_of_the_directory_with_no_two_names_for_one_file_is_gone_on_with(out: Path) -> None:
    (out / "a/0.x.png").write_bytes(OLD)
    add_name(out, "a/0.png", "a/0.x.png", DIGEST)
    remove_name(out, "a/0.png", "a/0.x.png", DIGEST)
    assert standing(out) == {"0.x.png": OLD}


def test_the_other_name_is_synced_before_the_first_is_given_up(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[list[str]]()
    sync = Folder.sync

    def note(folder: Folder) -> None:
        sync(folder)
        synced.append(sorted(standing(out)))

    monkeypatch.setattr(Folder, "sync", note)
    add_name(out, "a/0.png", "a/0.x.png", DIGEST)
    assert synced == [["0.png", "0.x.png"]]
