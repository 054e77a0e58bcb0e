"""An output that was saved once is put back: the same bytes or none, and what stood in its place is
kept.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from crucible_batch.outputs import OutputError, OutputStore
from crucible_batch.outputs.safe_fs import Folder
from tests.unit.outputs.making import PNG, body, files


@pytest.fixture
def store(tmp_path: Path) -> OutputStore:
    return OutputStore(tmp_path)


async def restored(store: OutputStore, content: bytes = PNG, given: bytes = PNG) -> str | None:
    return await store.restore(
        "job/0.png", hashlib.sha256(content).hexdigest(), "token-0", body(given)
    )


async def test_the_file_that_stood_there_is_kept_under_another_name(
    tmp_path: Path, store: OutputStore
) -> None:
    (tmp_path / "job").mkdir()
    kept = f"job/0.png.damaged-{hashlib.sha256(b'edited').hexdigest()[:8]}"
    for _ in range(2):  # damaged in the same way again: the name is taken, by the same bytes
        (tmp_path / "job/0.png").unlink(missing_ok=True)
        (tmp_path / "job/0.png").write_bytes(b"edited")
        assert await restored(store) == kept
        assert (tmp_path / "job/0.png").read_bytes() == PNG
        assert (tmp_path / kept).read_bytes() == b"edited"
    assert files(tmp_path) == ["job/0.png", kept]


async def test_nothing_is_replaced_where_the_old_file_has_no_name_to_go_to(
    tmp_path: Path, store: OutputStore
) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job/0.png").write_bytes(b"edited")
    taken = tmp_path / f"job/0.png.damaged-{hashlib.sha256(b'edited').hexdigest()[:8]}"
    taken.write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="another file exists"):
        await restored(store)
    assert ((tmp_path / "job/0.png").read_bytes(), taken.read_bytes()) == (b"edited", b"somebody's")


@pytest.mark.parametrize("planted", ["link", "directory"])
async def test_a_link_or_a_directory_is_not_replaced(
    tmp_path: Path, store: OutputStore, planted: str
) -> None:
    (tmp_path / "job").mkdir()
    target = tmp_path / "job/0.png"
    if planted == "link":
        target.symlink_to("elsewhere")
    else:
        target.mkdir()
    with pytest.raises(OutputError, match="is not a regular file"):
        await restored(store)
    assert target.is_symlink() or target.is_dir()


async def test_what_is_put_back_is_synced_and_its_name_after_it(
    tmp_path: Path, store: OutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = list[str]()
    sync, replace = Folder.sync, Folder.replace
    monkeypatch.setattr(Folder, "sync", lambda folder: (sync(folder), done.append("folder"))[0])
    monkeypatch.setattr(
        Folder, "replace", lambda *names: (replace(*names), done.append(names[2]))[0]
    )
    assert await restored(store) is None
    assert done == ["0.png", "folder"]
