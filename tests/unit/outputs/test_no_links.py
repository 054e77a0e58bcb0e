"""On a file system without hard links, an output gets its name all the same: complete, from nobody else, and whenever
the run is killed. One without exclusive renames as well is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import RunDirectoryError
from crucible_batch.outputs import (
    OutputError,
    OutputStore,
    Sidecars,
    add_name,
    check_outputs_can_be_saved,
    exclusive_rename,
    remove_name,
)
from tests.unit.outputs.making import PNG, body, drawn, files

NO_LINKS = [errno.EPERM, errno.ENOTSUP, errno.ENOSYS]
OTHER = drawn(size=(9, 9))


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    def refuse(*_args: Any, **_options: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)


def refuse_exclusive_renames(monkeypatch: pytest.MonkeyPatch, number: int = errno.EINVAL) -> None:
    def refuse(*_args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(exclusive_rename, "_exclusive_rename", lambda: refuse)


@pytest.fixture(autouse=True)
def _without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_links(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> OutputStore:
    return OutputStore(tmp_path)


async def saved(store: OutputStore, content: bytes = PNG, embed: str | None = None) -> Any:
    return await store.save("job/{index}{ext}", 0, "token", body(content), len(content), embed=embed)


async def test_an_output_is_saved_and_nothing_else_is_left(tmp_path: Path, store: OutputStore) -> None:
    assert (await saved(store)).sha256 == hashlib.sha256(PNG).hexdigest()
    assert (tmp_path / "job/0.png").read_bytes() == PNG
    assert files(tmp_path) == ["job/0.png"]
    await saved(store)  # the same bytes stand there: adopted
    assert files(tmp_path) == ["job/0.png"]


async def test_an_output_is_saved_with_its_text_and_its_sidecar(tmp_path: Path, store: OutputStore) -> None:
    sidecars = Sidecars(tmp_path)
    content = {"tool": "crucible-batch", "schema_version": 1}
    file = await saved(store, embed="what made it")
    for number in range(2):
        sidecars.write(file.path.as_posix(), {**content, "n": number})
        assert json.loads((tmp_path / "job/0.png.json").read_text())["n"] == number
    assert (tmp_path / "job/0.png").stat().st_size > len(PNG)
    assert files(tmp_path) == ["job/0.png", "job/0.png.json"]


@pytest.mark.parametrize("planted", ["file", "link", "dangling link", "directory"])
async def test_what_stands_there_keeps_its_name(tmp_path: Path, store: OutputStore, planted: str) -> None:
    (tmp_path / "job").mkdir()
    target = tmp_path / "job/0.png"
    (tmp_path / "precious").write_bytes(b"")
    match planted:
        case "file":
            target.write_bytes(b"mine")
        case "link":
            target.symlink_to(tmp_path / "precious")
        case "dangling link":
            target.symlink_to("nowhere")
        case "directory":
            target.mkdir()
    before = target.lstat()
    with pytest.raises(OutputError, match="another file exists at"):
        await saved(store)
    assert (target.lstat().st_ino, target.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert (tmp_path / "precious").read_bytes() == b""
    assert not [name for name in files(tmp_path) if "part-" in name]


async def test_killed_between_the_place_and_the_name_the_next_run_gives_the_name(
    tmp_path: Path, store: OutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_args: Any, **_options: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(exclusive_rename, "_exclusive_rename", lambda: killed)
        with pytest.raises(Killed):
            await saved(store)
    assert not (tmp_path / "job/0.png").exists()
    await saved(store)
    assert (tmp_path / "job/0.png").read_bytes() == PNG
    assert files(tmp_path) == ["job/0.png"]


@pytest.mark.parametrize("has_call", [True, False])
def test_a_file_system_without_exclusive_renames_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_call: bool
) -> None:
    refuse_exclusive_renames(monkeypatch)
    if not has_call:
        monkeypatch.setattr(exclusive_rename, "_exclusive_rename", lambda: None)
    with pytest.raises(RunDirectoryError, match="can't store outputs: it supports neither hard links"):
        check_outputs_can_be_saved(tmp_path, [])
    assert files(tmp_path) == []


async def test_a_damaged_output_is_put_back_and_the_damaged_file_is_kept(tmp_path: Path, store: OutputStore) -> None:
    (tmp_path / "job").mkdir()
    kept = f"job/0.png.damaged-{hashlib.sha256(OTHER).hexdigest()[:8]}"
    for _ in range(2):
        (tmp_path / "job/0.png").write_bytes(OTHER)
        assert await store.restore("job/0.png", hashlib.sha256(PNG).hexdigest(), "t", body(PNG)) == kept
        assert (tmp_path / "job/0.png").read_bytes() == PNG
        assert (tmp_path / kept).read_bytes() == OTHER
    assert files(tmp_path) == ["job/0.png", kept]


def test_a_picture_moves_aside(tmp_path: Path) -> None:
    digest = hashlib.sha256(PNG).hexdigest()
    (tmp_path / "a.png").write_bytes(PNG)
    for _ in range(2):
        add_name(tmp_path, "a.png", "a.x.png", digest)
        assert files(tmp_path) == ["a.png", "a.x.png"]
    remove_name(tmp_path, "a.png", "a.x.png", digest)
    assert (tmp_path / "a.x.png").read_bytes() == PNG
    assert files(tmp_path) == ["a.x.png"]


def test_a_picture_that_changes_while_it_moves_aside_stays(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(OTHER)
    with pytest.raises(OutputError, match=r"a\.png was changed while it was moved"):
        add_name(tmp_path, "a.png", "a.x.png", hashlib.sha256(PNG).hexdigest())
    assert files(tmp_path) == ["a.png"]


def test_another_file_at_the_place_aside_stays(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.x.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"another file exists at a\.x\.png"):
        add_name(tmp_path, "a.png", "a.x.png", hashlib.sha256(PNG).hexdigest())
    assert ((tmp_path / "a.png").read_bytes(), (tmp_path / "a.x.png").read_bytes()) == (PNG, b"mine")
    assert files(tmp_path) == ["a.png", "a.x.png"]


def test_the_ground_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    check_outputs_can_be_saved(tmp_path, ["a/{index}{ext}"])
    assert files(tmp_path) == []
