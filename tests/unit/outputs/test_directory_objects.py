"""A directory as a store of objects: who creates a name is decided by the file system alone, and
what was created is on disk.
"""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.errors import ExitCode, ObjectStoreError
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import (
    FileState,
    ObjectOutputStore,
    OutputError,
    OutputStore,
    exclusive_rename,
)
from crucible_batch.outputs.directory_objects import DirectoryObjects
from tests.unit.outputs.making import PNG
from tests.unit.outputs.store_contract import OutputStoreContract, save, saved
from tests.unit.outputs.test_no_links import refuse_links
from tests.unit.outputs.test_output_store_contract import LocalPlace

KEY = ".crucible/shards/aa/1-of-2/00000001.json"


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    return DirectoryObjects(tmp_path / "shared")


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class SharedPlace(LocalPlace):
    """A directory that is used as an object store. Temporary files are elsewhere."""

    def store(self, **limits: int) -> OutputStore:
        local = self.directory.with_name(f"{self.directory.name}-local")
        return ObjectOutputStore(local, DirectoryObjects(self.directory), **limits)


class TestDirectoryAsStore(OutputStoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> SharedPlace:
        return SharedPlace(tmp_path / "shared")


class TestDirectoryAsStoreWithoutLinks(OutputStoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedPlace:
        refuse_links(monkeypatch)
        return SharedPlace(tmp_path / "shared")


class UrlPlace(SharedPlace):
    """The directory of a URL."""

    def store(self, **limits: int) -> OutputStore:
        self.directory.mkdir(exist_ok=True)
        objects = DirectoryObjects(self.directory, ObjectUrl.parse(f"file://{self.directory}"))
        return ObjectOutputStore(self.directory.with_name("local"), objects, **limits)


class TestDirectoryAtUrl(OutputStoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> UrlPlace:
        return UrlPlace(tmp_path / "shared")


async def test_what_is_created_is_read_and_never_replaced(objects: DirectoryObjects) -> None:
    assert await objects.read(KEY) is None
    assert await objects.create(KEY, b"first")
    assert not await objects.create(KEY, b"second")
    assert await objects.read(KEY) == b"first"


async def test_only_the_object_has_a_name(objects: DirectoryObjects, tmp_path: Path) -> None:
    await objects.create(KEY, b"first")
    await objects.create(KEY, b"second")
    assert names_below(tmp_path) == [f"shared/{KEY}"]


async def test_of_two_replacements_of_one_state_the_second_changes_nothing(
    objects: DirectoryObjects,
) -> None:
    await objects.create("report.json", b"1")
    info = await objects.info("report.json")
    assert info is not None
    assert await objects.replace("report.json", b"22", info)
    assert not await objects.replace("report.json", b"333", info)
    assert await objects.read("report.json") == b"22"


async def test_a_replacement_that_another_process_made_counts(objects: DirectoryObjects) -> None:
    await objects.create("report.json", b"1")
    info = await objects.info("report.json")
    assert info is not None
    await objects.replace("report.json", b"22", info)
    assert await objects.replace("report.json", b"22", info)


async def test_names_are_those_of_all_objects_below(objects: DirectoryObjects) -> None:
    assert await objects.names("a") == []
    for key in ("a/1.json", "a/b/2.json", "c/3.json"):
        await objects.create(key, b"")
    assert sorted(await objects.names("a")) == ["a/1.json", "a/b/2.json"]


async def test_a_file_that_is_being_written_is_not_listed(
    objects: DirectoryObjects, tmp_path: Path
) -> None:
    await objects.create("a/1.json", b"")
    (tmp_path / "shared/a/.crucible-part-0123").write_bytes(b"half")
    assert await objects.names("a") == ["a/1.json"]


async def test_deleting_what_is_not_there_is_no_error(objects: DirectoryObjects) -> None:
    await objects.delete("a/1.json")
    await objects.create("a/1.json", b"")
    await objects.delete("a/1.json")
    assert await objects.read("a/1.json") is None


def _create_all(directory: Path, start: Any, won: Any, number: int) -> None:
    async def create() -> list[int]:
        objects = DirectoryObjects(directory)
        return [
            entry
            for entry in range(50)
            if await objects.create(f"log/{entry:08}.json", f"{number}".encode())
        ]

    start.wait()
    won.put((number, asyncio.run(create())))


@pytest.mark.parametrize("has_links", [True, False])
def test_of_several_processes_one_creates_each_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        refuse_links(monkeypatch)
    context = multiprocessing.get_context("fork")
    start, won = context.Event(), context.SimpleQueue()
    processes = [
        context.Process(target=_create_all, args=(tmp_path, start, won, number))
        for number in range(4)
    ]
    for process in processes:
        process.start()
    start.set()
    winners = dict(won.get() for _ in processes)
    for process in processes:
        process.join()
    assert sorted(entry for entries in winners.values() for entry in entries) == list(range(50))
    for number, entries in winners.items():
        for entry in entries:
            assert (tmp_path / f"log/{entry:08}.json").read_text() == str(number)


async def test_a_link_that_was_made_although_its_answer_was_lost_counts(
    objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over NFS, where the client repeats the request and the server finds the name taken."""
    link = os.link

    def made_and_lost(*args: Any, **options: Any) -> None:
        link(*args, **options)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", made_and_lost)
    assert await objects.create(KEY, b"ours")
    assert not await objects.create(KEY, b"another")
    assert await objects.read(KEY) == b"ours"


async def test_bytes_and_names_are_synced_before_the_object_counts(
    objects: DirectoryObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, list[str]]] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append((str(path), sorted(os.listdir(descriptor)) if is_folder else []))

    monkeypatch.setattr(os, "fsync", noting)
    await objects.create(KEY, b"content")
    folder = tmp_path / "shared" / KEY
    temporary = next(number for number, (path, _) in enumerate(synced) if "-part-" in path)
    named = [
        number
        for number, (path, names) in enumerate(synced)
        if path == str(folder.parent) and folder.name in names
    ]
    assert named
    assert temporary < named[-1]
    for parent in list(folder.parents)[1:5]:
        child = list(folder.parents)[list(folder.parents).index(parent) - 1].name
        assert any(path == str(parent) and child in names for path, names in synced), parent


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.ESTALE])
@pytest.mark.parametrize("call", ["fsync", "link"])
async def test_a_directory_that_fails_creates_nothing_and_is_named(
    objects: DirectoryObjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    call: str,
) -> None:
    await objects.create("log/1.json", b"")

    def fail(*_args: Any, **_options: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ObjectStoreError, match=r"shared/log/2\.json: the directory is not usable"):
        await objects.create("log/2.json", b"")
    monkeypatch.undo()
    assert names_below(tmp_path / "shared") == ["log/1.json"]


async def test_a_name_whose_sync_fails_is_not_said_to_be_created(
    objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be there, and its writer finds it when it tries again."""
    await objects.create("log/1.json", b"")
    fsync = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    with pytest.raises(ObjectStoreError):
        await objects.create("log/2.json", b"ours")
    monkeypatch.undo()
    assert not await objects.create("log/2.json", b"ours")
    assert await objects.read("log/2.json") == b"ours"


def _as_link(folder: Path, elsewhere: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "log").symlink_to(elsewhere, target_is_directory=True)


def _as_linked_file(folder: Path, elsewhere: Path) -> None:
    (folder / "log").mkdir(parents=True)
    (folder / "log/1.json").symlink_to(elsewhere / "1.json")


@pytest.mark.parametrize("plant", [_as_link, _as_linked_file])
async def test_no_link_leads_out_of_the_directory(
    objects: DirectoryObjects, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1.json").write_bytes(b"secret")
    plant(tmp_path / "shared", elsewhere)
    for request in (objects.read("log/1.json"), objects.create("log/2.json", b"x")):
        try:
            found = await request
        except ObjectStoreError:
            continue
        assert found in {True}, "a file was read through a link"
    assert names_below(elsewhere) == ["1.json"]
    assert await _listed(objects) in ([], ["log/2.json"])


async def _listed(objects: DirectoryObjects) -> list[str]:
    try:
        return await objects.names("log")
    except ObjectStoreError:
        return []


async def test_a_place_without_links_and_exclusive_renames_is_refused(
    objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch)
    monkeypatch.setattr(exclusive_rename, "_exclusive_rename", lambda: None)
    with pytest.raises(ObjectStoreError, match="neither hard links nor suitable renames"):
        await objects.create("log/1.json", b"")


@pytest.mark.parametrize("key", ["../out.json", "/etc/x.json", "a/../../x.json"])
async def test_a_key_that_leads_out_is_refused(objects: DirectoryObjects, key: str) -> None:
    with pytest.raises(ObjectStoreError):
        await objects.create(key, b"")


# -- at a URL


@pytest.fixture
def at_url(tmp_path: Path) -> DirectoryObjects:
    return DirectoryObjects(tmp_path / "shared", ObjectUrl.parse(f"file://{tmp_path}/shared"))


async def test_the_directory_of_a_url_is_not_made_and_none_is_not_an_empty_one(
    at_url: DirectoryObjects, tmp_path: Path
) -> None:
    """A share that is not mounted would be a run that has bought nothing."""
    for request in (
        lambda: at_url.create(KEY, b""),
        lambda: at_url.read(KEY),
        lambda: at_url.info(KEY),
        lambda: at_url.digest(KEY),
        lambda: at_url.names("log"),
        lambda: at_url.delete(KEY),
    ):
        with pytest.raises(ObjectStoreError, match="there is no directory") as caught:
            await request()
        assert caught.value.exit_code == ExitCode.USER_ERROR
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "shared").mkdir()
    assert await at_url.create(KEY, b"")


async def test_nothing_is_written_to_what_is_mounted_at_the_path_later(
    at_url: DirectoryObjects, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    await at_url.create("a/1.json", b"1")
    info = await at_url.info("a/1.json")
    assert info is not None
    shared.rename(tmp_path / "unmounted")
    shared.mkdir()
    for request in (
        lambda: at_url.create("b/2.json", b""),
        lambda: at_url.replace("a/1.json", b"", info),
        lambda: at_url.delete("a/1.json"),
    ):
        with pytest.raises(ObjectStoreError, match="another one is mounted there now"):
            await request()
    assert list(shared.iterdir()) == []
    shared.rmdir()
    (tmp_path / "unmounted").rename(shared)
    assert await at_url.create("b/2.json", b"")


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(errno.EACCES, 2), (errno.EROFS, 2), (errno.ENOSPC, 5), (errno.EDQUOT, 5), (errno.EIO, 5)],
)
async def test_what_would_fail_again_is_refused(
    objects: DirectoryObjects, monkeypatch: pytest.MonkeyPatch, number: int, exit_code: int
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ObjectStoreError) as caught:
        await objects.create("log/1.json", b"")
    assert caught.value.exit_code == exit_code


def _as_file(folder: Path, _elsewhere: Path) -> None:
    (folder / "job").write_bytes(b"mine")


def _as_link_to_folder(folder: Path, elsewhere: Path) -> None:
    (folder / "job").symlink_to(elsewhere, target_is_directory=True)


def _as_link_to_file(folder: Path, elsewhere: Path) -> None:
    (folder / "job").mkdir()
    (folder / "job/0.png").symlink_to(elsewhere / "0.png")


def _as_other_file(folder: Path, _elsewhere: Path) -> None:
    (folder / "job").mkdir()
    (folder / "job/0.png").write_bytes(b"mine")


@pytest.mark.parametrize("plant", [_as_file, _as_link_to_folder, _as_link_to_file, _as_other_file])
async def test_what_others_have_at_the_path_of_an_output_stops_that_output_alone(
    at_url: DirectoryObjects, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    shared, elsewhere = tmp_path / "shared", tmp_path / "elsewhere"
    shared.mkdir()
    elsewhere.mkdir()
    (elsewhere / "0.png").write_bytes(PNG)
    plant(shared, elsewhere)
    before = contents(tmp_path)
    store = ObjectOutputStore(tmp_path / "local", at_url)
    with pytest.raises(OutputError) as caught:
        await save(store, PNG)
    assert caught.value.code == "OUTPUT_EXISTS"
    assert store.shortage() is None
    assert not await store.is_true(saved(PNG))
    assert await store.state(saved(PNG)) in {FileState.MISSING, FileState.DAMAGED}
    assert contents(tmp_path) == before
    assert (await save(store, PNG, "other/{index}{ext}")).path.as_posix() == "other/0.png"


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names_below(folder)}
