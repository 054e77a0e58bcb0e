"""Object stores with faults: one in memory, on which the contract of output stores runs too, and a
directory.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path

from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectStoreError
from crucible_batch.outputs.directory_objects import DirectoryObjects
from crucible_batch.outputs.object_port import ObjectInfo


def unusable(key: str = "it") -> ObjectStoreError:
    return ObjectStoreError(
        f"{key}: the object store is not usable (HTTP 503)", hint="run the same command again"
    )


class DictObjects:
    """``fault`` is called with the request and the key before each request, and with ``answer``
    after a creation."""

    def __init__(self, url: ObjectUrl) -> None:
        self.url = url
        self.content: dict[str, bytes] = {}
        self.foreign: set[str] = set()
        self.requests: Counter[str] = Counter()
        self.replaces = False
        self.fault: Callable[[str, str], None] = lambda _request, _key: None

    def address(self, key: str) -> str:
        return f"{self.url}/{key}"

    async def _ask(self, request: str, key: str) -> None:
        await asyncio.sleep(0)
        self.requests[f"{request} {key.rpartition('.')[2]}"] += 1
        self.fault(request, key)

    async def create(self, key: str, content: bytes) -> bool:
        await self._ask("create", key)
        if key in self.content and not self.replaces:
            return False
        self.content[key] = content
        self.fault("answer", key)
        return True

    async def replace(self, key: str, content: bytes, info: ObjectInfo) -> bool:
        await self._ask("replace", key)
        if self._tag(key) != info.e_tag:
            return self.content.get(key) == content
        self.content[key] = content
        return True

    async def info(self, key: str) -> ObjectInfo | None:
        await self._ask("info", key)
        found = self.content.get(key)
        if found is None:
            return None
        is_ours, tag = key not in self.foreign, self._tag(key)
        return ObjectInfo(len(found), tag if is_ours else None, tag, is_ours)

    def _tag(self, key: str) -> str | None:
        found = self.content.get(key)
        return None if found is None else hashlib.sha256(found).hexdigest()

    async def digest(self, key: str) -> str | None:
        await self._ask("digest", key)
        return self._tag(key)

    async def read(self, key: str) -> bytes | None:
        await self._ask("read", key)
        return self.content.get(key)

    async def names(self, folder: str) -> list[str]:
        await self._ask("names", folder)
        return [key for key in self.content if key.startswith(f"{folder}/")]

    async def delete(self, key: str) -> None:
        await self._ask("delete", key)
        self.content.pop(key, None)


class Files(MutableMapping[str, bytes]):
    """The files below a folder, by their relative paths."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, key: str) -> bytes:
        if key not in set(self):
            raise KeyError(key)
        return (self._folder / key).read_bytes()

    def __setitem__(self, key: str, content: bytes) -> None:
        (self._folder / key).parent.mkdir(parents=True, exist_ok=True)
        (self._folder / key).write_bytes(content)

    def __delitem__(self, key: str) -> None:
        (self._folder / key).unlink()

    def __iter__(self) -> Iterator[str]:
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                yield path.relative_to(self._folder).as_posix()

    def __len__(self) -> int:
        return len(list(iter(self)))


class SharedDirectory(DirectoryObjects):
    """The objects of a ``file://`` URL, whose directory is made. ``fault`` is as in
    ``DictObjects``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, ObjectUrl.parse(f"file://{folder}"))
        self.content = Files(folder)
        self.fault: Callable[[str, str], None] = lambda _request, _key: None

    async def create(self, key: str, content: bytes) -> bool:
        self.fault("create", key)
        is_created = await super().create(key, content)
        if is_created:
            self.fault("answer", key)
        return is_created

    async def replace(self, key: str, content: bytes, info: ObjectInfo) -> bool:
        self.fault("replace", key)
        return await super().replace(key, content, info)

    async def read(self, key: str) -> bytes | None:
        self.fault("read", key)
        return await super().read(key)

    async def names(self, folder: str) -> list[str]:
        self.fault("names", folder)
        return await super().names(folder)
