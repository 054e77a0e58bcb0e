"""On a file system without hard links, an output gets its name all the same: complete, from nobody
else, and whenever the run is killed. One without exclusive renames as well is refused."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.provenance import Metadata
from crucible_batch.errors import RunDirectoryError
from crucible_batch.outputs import (
    OutputError,
    OutputStore,
    add_name,
    check_outputs_can_be_saved,
    exclusive_rename,
)
from tests.unit.outputs.making import PNG, body, drawn, files
from tests.unit.outputs.store_contract import OutputStoreContract
from tests.unit.outputs.test_output_store_contract import LocalPlace

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


async def saved(store: OutputStore, content: bytes = PNG, embed: tuple[Metadata, ...] = ()) -> Any:
    return await store.save(
        "job/{index}{ext}", 0, "token", body(content), len(content), embed=embed
    )


class TestLocalStoreWithoutLinks(OutputStoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> LocalPlace:
        return LocalPlace(tmp_path)


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
    with pytest.raises(
        RunDirectoryError, match="can't store outputs: it supports neither hard links"
    ):
        check_outputs_can_be_saved(tmp_path, [])
    assert files(tmp_path) == []


def test_a_picture_that_changes_while_it_moves_aside_stays(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(OTHER)
    with pytest.raises(OutputError, match=r"a\.png was changed while it was moved"):
        add_name(tmp_path, "a.png", "a.x.png", hashlib.sha256(PNG).hexdigest())
    assert files(tmp_path) == ["a.png"]
