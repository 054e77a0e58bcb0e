"""Engines start the shards of a run. What an engine reports is a hint: the logs have what was done."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Protocol

from crucible_batch.errors import UserError
from crucible_batch.features.machines.shard_process import ShardEnd, ShardProcess
from crucible_batch.object_url import ObjectUrl

_MOST_PROCESSES = 256


class Engine(Protocol):
    """Starts shards somewhere."""

    @property
    def places(self) -> int:
        """How many shards can run at the same time."""

    async def run(self, url: ObjectUrl, digest: str, number: int) -> ShardEnd:
        """Run a shard to its end. If cancelled, it winds down."""


@dataclass(slots=True)
class LocalProcesses:
    """``local:4``: child processes of the coordinator."""

    places: int
    _turns: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._turns = asyncio.Semaphore(self.places)

    async def run(self, url: ObjectUrl, digest: str, number: int) -> ShardEnd:
        async with self._turns:
            return await ShardProcess(url, digest, number).ended()


@dataclass(slots=True)
class WaitingEngine:
    """``workers:8``: nothing is started. Workers, or a batch system, take the shards."""

    places: int

    async def run(self, url: ObjectUrl, digest: str, number: int) -> ShardEnd:
        await asyncio.Event().wait()
        raise AssertionError


def engine_of(text: str) -> Engine:
    """Return the engine that ``--on`` names. Raises ``UserError``."""
    kind, _, count = text.partition(":")
    if kind == "local":
        return LocalProcesses(_places(text, count, os.cpu_count() or 1))
    if kind == "workers":
        return WaitingEngine(_places(text, count, 4))
    raise UserError(
        f"--on {text[:100]!r} is not something that runs shards",
        hint="local:4 for four processes here, or workers:4 for four workers elsewhere",
    )


def _places(text: str, count: str, default: int) -> int:
    if not count and ":" not in text:
        return default
    if not (count.isascii() and count.isdigit() and 1 <= int(count[:9]) <= _MOST_PROCESSES):
        raise UserError(
            f"--on {text[:100]!r}: {count[:100]!r} is not a number of processes",
            hint=f"a number from 1 to {_MOST_PROCESSES}, such as local:4",
        )
    return int(count)
