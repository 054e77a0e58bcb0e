"""The contract of output stores, on the file system and on an object store in memory."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

from crucible_batch.core.provenance import Metadata
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import OutputStore
from crucible_batch.outputs.object_store import ObjectOutputStore
from crucible_batch.outputs.objects import Objects
from tests.harness.object_fakes import DictObjects
from tests.unit.outputs.making import PNG, files
from tests.unit.outputs.store_contract import PATH, OutputStoreContract, save


class LocalPlace:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def store(self, **limits: int) -> OutputStore:
        return OutputStore(self.directory, **limits)

    async def write(self, path: str, content: bytes) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    async def read(self, path: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / path).read_bytes()
        return None

    async def remove(self, path: str) -> None:
        (self.directory / path).unlink()

    async def names(self) -> list[str]:
        return sorted(name for name in files(self.directory) if ".crucible-part-" not in name)


class TestLocalStore(OutputStoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> LocalPlace:
        return LocalPlace(tmp_path)

    async def test_a_sidecar_is_written_beside_its_output_and_replaces_only_sidecars(
        self, place: LocalPlace
    ) -> None:
        await place.write("job/x.png", PNG)
        sidecars = place.store().sidecars()
        ours = {"tool": "crucible-batch", "schema_version": 1, "output": {"file": "0.png"}}
        await asyncio.to_thread(sidecars.write, PATH, ours)
        await asyncio.to_thread(sidecars.write, PATH, {**ours, "run_id": "2"})
        assert b'"run_id": "2"' in (await place.read(f"{PATH}.json") or b"")
        await asyncio.to_thread(sidecars.move, PATH, "job/aside.png")
        assert await place.names() == ["job/aside.png.json", "job/x.png"]
        assert b'"file": "aside.png"' in (await place.read("job/aside.png.json") or b"")
        await place.write(f"{PATH}.json", b'{"mine": 1}')
        await asyncio.to_thread(sidecars.write, PATH, ours)
        assert await place.read(f"{PATH}.json") == b'{"mine": 1}'


class ObjectPlace:
    """An object store that is reached by obstore itself."""

    def __init__(self, backend: object, directory: Path, *, checks_uploads: bool) -> None:
        self.backend = backend
        self.directory = directory
        self.checks_uploads = checks_uploads

    def store(self, **limits: int) -> OutputStore:
        url = ObjectUrl("s3", "bucket", "prefix")
        objects = Objects(self.backend, url, checks_uploads=self.checks_uploads)
        return ObjectOutputStore(self.directory, objects, **limits)

    async def write(self, path: str, content: bytes) -> None:
        await obstore.put_async(self.backend, path, content, mode="overwrite")

    async def read(self, path: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return bytes(await (await obstore.get_async(self.backend, path)).bytes_async())
        return None

    async def remove(self, path: str) -> None:
        await obstore.delete_async(self.backend, path)

    async def names(self) -> list[str]:
        found = await obstore.list(self.backend).collect_async()
        return sorted(entry["path"] for entry in found)


class TestObjectStoreInMemory(OutputStoreContract):
    @pytest.fixture(params=[True, False], ids=["checksums", "read back"])
    def place(self, tmp_path: Path, request: pytest.FixtureRequest) -> ObjectPlace:
        return ObjectPlace(MemoryStore(), tmp_path, checks_uploads=request.param)

    async def test_no_file_is_left_in_the_local_directory(self, place: ObjectPlace) -> None:
        await save(place.store(), PNG, embed=[Metadata("a text")])
        assert files(place.directory) == []


class DictPlace:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.objects = DictObjects(ObjectUrl("s3", "bucket", "prefix"))

    def store(self, **limits: int) -> OutputStore:
        return ObjectOutputStore(self.directory, self.objects, **limits)

    async def write(self, path: str, content: bytes) -> None:
        self.objects.content[path] = content

    async def read(self, path: str) -> bytes | None:
        return self.objects.content.get(path)

    async def remove(self, path: str) -> None:
        del self.objects.content[path]

    async def names(self) -> list[str]:
        return sorted(self.objects.content)


class TestFakeOfTheTests(OutputStoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> DictPlace:
        return DictPlace(tmp_path)
