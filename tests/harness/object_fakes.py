"""An object store in memory, with faults; the contract of output stores runs on it too."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable

from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectStoreError
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
