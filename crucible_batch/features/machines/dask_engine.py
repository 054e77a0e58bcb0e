"""Shards as tasks of a Dask cluster: each task is a child process on the worker that runs it.

A child, since a thread has no signals and can't be ended. Dask runs a task more than once if it
loses a worker, also one that is only frozen: the log of the shard decides which of them may buy.
A scheduler leaves the tasks of a frozen worker where they are for its ``worker-ttl``, by default
five minutes; a shard that had begun there is continued elsewhere long before.
Imported only for such an address, since ``distributed`` is an extra.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from dataclasses import dataclass, field

from distributed import Client, Future

from crucible_batch.errors import UserError
from crucible_batch.features.machines.engine_port import EngineError
from crucible_batch.features.machines.shard_process import ShardEnd, ShardTask, run_shard

_ADDRESS = re.compile(r"(dask|tls)://(\[[0-9a-f:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_ANSWER_S = 10.0


@dataclass(slots=True)
class DaskEngine:
    """The cluster of the scheduler at ``address``."""

    address: str
    _client: Client | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def at(cls, text: str) -> DaskEngine:
        """Return the engine that ``--on`` names.

        Raises ``UserError``, also for an address of another machine without TLS: who can connect to
        such a scheduler can run any code on its workers, and read their API keys.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise UserError(
                f"--on {text[:100]!r} is not the address of a scheduler",
                hint=(
                    "such as tls://scheduler.example:8786, or dask://127.0.0.1:8786 on this machine"
                ),
            )
        scheme, host, port = found.groups()
        if scheme == "dask" and not _is_here(host):
            raise UserError(
                f"--on {text[:100]}: everyone who can connect could read the workers' API keys",
                hint=f"use a scheduler with TLS: tls://{host}:{port}",
            )
        kind = "tcp" if scheme == "dask" else "tls"
        return cls(f"{kind}://{host}:{port}")

    async def places(self) -> int:
        client = await self._connected()
        try:
            return sum((await asyncio.wait_for(client.nthreads(), _ANSWER_S)).values())
        except (OSError, TimeoutError) as error:
            await self._drop()
            raise EngineError(f"{self.address}: {type(error).__name__}") from None

    async def run(self, task: ShardTask) -> ShardEnd:
        client = await self._connected()
        future = client.submit(
            run_shard,
            task,
            key=f"crucible-batch-{task.digest[:8]}-{task.number}-{task.start}",
            pure=False,
            retries=0,
            priority=100
            if task.start
            else -task.number,  # a shard that was started before isn't last
        )
        try:
            return await self._result(future)
        except Exception as error:  # noqa: BLE001 - whatever a task of another machine raises
            raise EngineError(f"{type(error).__name__}: {error}"[:300]) from None
        finally:
            with contextlib.suppress(Exception):
                future.release()

    async def _result(self, future: Future) -> ShardEnd:
        """Wait for a task, and notice if the scheduler is gone: its futures would never end."""
        waiting = asyncio.ensure_future(_awaited(future))
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=2.0)
                if self._client is None or self._client.status != "running":
                    raise EngineError(f"{self.address} is gone")
            return await waiting
        finally:
            waiting.cancel()

    async def _connected(self) -> Client:
        async with self._turn:
            if self._client is None or self._client.status != "running":
                await self._drop()
                try:
                    self._client = await Client(
                        self.address, asynchronous=True, timeout=_ANSWER_S, name="crucible-batch"
                    )
                except (OSError, TimeoutError) as error:
                    raise EngineError(f"{self.address}: {type(error).__name__}") from None
            return self._client

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(client.close(), _ANSWER_S)

    async def close(self) -> None:
        await self._drop()


async def _awaited(future: Future) -> ShardEnd:
    end: ShardEnd = await future
    return end


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
