"""The object store of a play: in memory, slow, away now and then, and not to be believed.

A request that has left its process arrives, whatever becomes of the process. Its answer may be
lost, or be an error although the object was written; or the object is written long after the error.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectStoreError
from crucible_batch.outputs.object_port import ObjectInfo
from tests.verification.nights.machine import NightLoop, in_the_world

T = TypeVar("T")
_ONE_WAY_S = (0.005, 0.1)
_ERROR_S = (0.1, 5.0)
_LATE_S = (2.0, 25.0)
_PATIENCE_S = 120.0
"""How long the product's client repeats a request."""


@dataclass(frozen=True, slots=True)
class StoreFaults:
    """How often a request fails in each way.

    ``lost``: it is performed, and answered by an error. ``repeated``: it is performed twice, since
    the first answer was lost. ``late``: it is answered by an error, and performed long after.
    ``refused``: it isn't performed. ``slow``: it takes seconds.
    """

    lost: float = 0.0
    repeated: float = 0.0
    late: float = 0.0
    refused: float = 0.0
    slow: float = 0.0


@dataclass(eq=False)
class PlayStore:
    """What the store has. ``overwritten`` are the numbered objects that were not only created."""

    now: Callable[[], float]
    faults: StoreFaults
    content: dict[str, bytes] = field(default_factory=dict)
    created_at: dict[str, float] = field(default_factory=dict)
    overwritten: list[str] = field(default_factory=list)
    is_back: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.is_back.set()

    def create(self, key: str, content: bytes) -> bool:
        if key in self.content:
            return False
        self.content[key] = content
        self.created_at[key] = self.now()
        return True

    def replace(self, key: str, content: bytes, info: ObjectInfo) -> bool:
        self._change(key)
        if key not in self.content or _digest(self.content[key]) != info.e_tag:
            return self.content.get(key) == content
        self.content[key] = content
        return True

    def delete(self, key: str) -> None:
        self._change(key)
        self.content.pop(key, None)

    def _change(self, key: str) -> None:
        if key.startswith(".crucible/") and key.rpartition("/")[2].split(".")[0].isdigit():
            self.overwritten.append(key)

    def info(self, key: str) -> ObjectInfo | None:
        found = self.content.get(key)
        if found is None:
            return None
        return ObjectInfo(len(found), _digest(found), _digest(found), is_ours=True)

    def names(self, folder: str) -> list[str]:
        return [key for key in self.content if key.startswith(f"{folder}/")]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(eq=False)
class StoreLink:
    """The way of one process to the store.

    ``effect`` is called before and after each write: the process may end there.
    """

    chance: random.Random
    effect: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
    has_store: bool = True


@dataclass(eq=False)
class ProcessObjects:
    """The store as one process reaches it: an ``ObjectPort``."""

    url: ObjectUrl
    store: PlayStore
    link: StoreLink

    def address(self, key: str) -> str:
        return f"{self.url}/{key}"

    async def create(self, key: str, content: bytes) -> bool:
        return await self._write(key, lambda: self.store.create(key, content))

    async def replace(self, key: str, content: bytes, info: ObjectInfo) -> bool:
        return await self._write(key, lambda: self.store.replace(key, content, info))

    async def delete(self, key: str) -> None:
        await self._write(key, lambda: self.store.delete(key))

    async def info(self, key: str) -> ObjectInfo | None:
        return await self._read(key, lambda: self.store.info(key))

    async def digest(self, key: str) -> str | None:
        found = await self._read(key, lambda: self.store.content.get(key))
        return None if found is None else _digest(found)

    async def read(self, key: str) -> bytes | None:
        return await self._read(key, lambda: self.store.content.get(key))

    async def names(self, folder: str) -> list[str]:
        return await self._read(folder, lambda: self.store.names(folder))

    async def _read(self, key: str, act: Callable[[], T]) -> T:
        await self._begin(key)
        return await self._arrive(act)

    async def _write(self, key: str, act: Callable[[], T]) -> T:
        await self.link.effect()
        await self._begin(key)
        faults, fate = self.store.faults, self.link.chance.random()
        if fate < faults.late and _is_virtual():
            in_the_world(self._late(act))
            await self._wait(*_ERROR_S)
            raise unusable(self.address(key))
        result = await self._arrive(act)
        await self.link.effect()
        if faults.late <= fate < faults.late + faults.lost:
            await self._wait(*_ERROR_S)
            raise unusable(self.address(key))
        if self.link.chance.random() < faults.repeated:
            result = await self._arrive(act)
        return result

    async def _begin(self, key: str) -> None:
        """Refuse a request that doesn't get through; or have it wait as the client does."""
        is_reached = self.link.has_store and self.store.is_back.is_set()
        if is_reached and self.link.chance.random() >= self.store.faults.refused:
            return
        if self.link.has_store and _is_virtual() and self.link.chance.random() < 0.5:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await self.store.is_back.wait()
            except TimeoutError:
                pass
            else:
                return
        await self._wait(*_ERROR_S)
        raise unusable(self.address(key))

    async def _arrive(self, act: Callable[[], T]) -> T:
        if not _is_virtual():
            await asyncio.sleep(0)
            return act()
        return await in_the_world(self._on_its_way(act))

    async def _on_its_way(self, act: Callable[[], T]) -> T:
        seconds = self.link.chance.uniform(*_ONE_WAY_S)
        if self.link.chance.random() < self.store.faults.slow:
            seconds = self.link.chance.uniform(0.5, 6.0)
        await asyncio.sleep(seconds)
        result = act()
        await asyncio.sleep(self.link.chance.uniform(*_ONE_WAY_S))
        return result

    async def _late(self, act: Callable[[], T]) -> None:
        await asyncio.sleep(self.link.chance.uniform(*_LATE_S))
        act()

    async def _wait(self, least_s: float, most_s: float) -> None:
        if _is_virtual():
            await asyncio.sleep(self.link.chance.uniform(least_s, most_s))


def _is_virtual() -> bool:
    """Whether time may pass: a merge asks the store in a loop and thread of its own."""
    return isinstance(asyncio.get_running_loop(), NightLoop)


def unusable(place: str) -> ObjectStoreError:
    return ObjectStoreError(
        f"{place}: the object store is not usable (HTTP 503)", hint="run the same command again"
    )
