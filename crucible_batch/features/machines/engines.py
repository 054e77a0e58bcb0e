"""The engines that ``--on`` names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from crucible_batch.core.run_options import RunOptions, declared
from crucible_batch.errors import UserError
from crucible_batch.features.machines.engine_port import Engine
from crucible_batch.features.machines.shard_process import ShardEnd, ShardProcess, ShardTask
from crucible_batch.manifest import Manifest
from crucible_batch.runs.draft import with_pace_of
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings
from crucible_batch.shell_command import install_hint

_MOST_PROCESSES = 256
_OF_EACH_RUN = (
    "concurrency", "polls_per_s", "job_timeout_s", "wait_for_gateway_s", "key_ttl_s",
    "max_output_bytes", "max_pixels", "same_account",
)  # fmt: skip
"""The options about how jobs are bought and saved. The deadline is a command to all shards."""


@dataclass(slots=True)
class LocalProcesses:
    """``local:4``: child processes of the coordinator, which wind down with it."""

    count: int
    settings: Settings
    options: Mapping[str, object] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(init=False)
    _running: dict[int, ShardProcess] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._turns = asyncio.Semaphore(self.count)

    async def places(self) -> int:
        return self.count

    async def run(self, task: ShardTask) -> ShardEnd:
        """Run a shard to its end, in place of an earlier process of this shard.

        That one is silent, so it is killed: frozen, it would keep its place, and never end.
        """
        earlier = self._running.get(task.number)
        if earlier is not None:
            earlier.kill()
        async with self._turns:
            process = ShardProcess(task, self.settings, self.options)
            self._running[task.number] = process
            try:
                return await process.ended()
            finally:
                if self._running.get(task.number) is process:
                    del self._running[task.number]

    async def close(self) -> None:
        pass


@dataclass(slots=True)
class WaitingEngine:
    """``workers:8``: nothing is started. Workers, or a batch system, take the shards."""

    count: int

    async def places(self) -> int:
        return self.count

    async def run(self, task: ShardTask) -> ShardEnd:
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None:
        pass


def engine_of(text: str, settings: Settings, options: Mapping[str, object]) -> Engine:
    """Return the engine that ``--on`` names. Processes on this machine have these settings, and
    these options, as ``options_of_shards`` returns them.

    Raises ``UserError``, also for options that shards elsewhere would not have.
    """
    kind, _, count = text.partition(":")
    if kind == "local":
        return LocalProcesses(_places(text, count, os.cpu_count() or 1), settings, dict(options))
    if options and kind in {"workers", "dask", "tls"}:
        flags = ", ".join(declared(RunOptions)[name][0].flag for name in options)
        raise UserError(
            f"{flags}: shards on other machines would not have this option",
            hint="leave it out, or set it in the manifest, which they read; or --on local:N",
        )
    if kind == "workers":
        return WaitingEngine(_places(text, count, 4))
    if kind in {"dask", "tls"}:
        return _dask(text)
    raise UserError(
        f"--on {text[:100]!r} is not something that runs shards",
        hint="local:4 for four processes here, workers:4 for four workers elsewhere, or"
        " tls://HOST:8786 for a Dask scheduler",
    )


def options_of_shards(request: RunRequest, manifest: Manifest) -> Mapping[str, object]:
    """Return the options that each shard has to have, where they are not those of the manifest,
    which it reads, or the usual ones."""
    usual = with_pace_of(manifest, RunRequest(request.manifest))
    own = with_pace_of(manifest, request)
    values = {name: getattr(own, name) for name in _OF_EACH_RUN}
    return {name: value for name, value in values.items() if value != getattr(usual, name)}


def _dask(text: str) -> Engine:
    try:
        from crucible_batch.features.machines.dask_engine import DaskEngine  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "distributed":
            raise
        raise UserError(
            "--on dask:// needs the extra dask, which is not installed",
            hint=f"{install_hint('dask')}; nothing was spent",
        ) from None
    return DaskEngine.at(text)


def _places(text: str, count: str, default: int) -> int:
    if not count and ":" not in text:
        return default
    if not (count.isascii() and count.isdigit() and 1 <= int(count[:9]) <= _MOST_PROCESSES):
        raise UserError(
            f"--on {text[:100]!r}: {count[:100]!r} is not a number of processes",
            hint=f"a number from 1 to {_MOST_PROCESSES}, such as local:4",
        )
    return int(count)
