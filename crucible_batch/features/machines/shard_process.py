"""One shard in a process of its own, as coordinators and workers start it.

    python -m crucible_batch.features.machines.shard_process URL DIGEST NUMBER WATCHED

Plan and manifest are read from the store. The first line of standard input has the API key and the
gateway, unless they are those of the process's environment, and the options of the run. The process
winds down when standard input ends: then the process that started it is gone, or wants it to stop.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from crucible_batch.core.sharding import ShardId
from crucible_batch.errors import CrucibleBatchError, ExitCode
from crucible_batch.features.registry import kind_of
from crucible_batch.features.shards.log import WatchedLog
from crucible_batch.features.shards.run_options import ShardChoice
from crucible_batch.features.shards.stored_plans import MANIFEST_FILE, fetch_stored_plan
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.connecting import current_settings
from crucible_batch.runs.request import RunRequest, follow_plan
from crucible_batch.runs.running import run_request
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.settings import Settings

_LONGEST = 2000
_WINDING_DOWN_S = 60.0
"""Twice as long as a run waits for its jobs in flight."""
_PASSED_ON = ("api_key", "base_url", "proxy", "storage_hosts")
"""The settings that a process passes on to the shards that it starts on its machine."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard that is to be run.

    ``start`` counts from 0: a later one may run beside an earlier one that is silent. ``watched``
    is the last entry of its log if who starts it has seen the log silent, else 0.
    """

    url: ObjectUrl
    digest: str
    number: int
    start: int = 0
    watched: int = 0


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """How a process has ended. ``printed`` is the end of its output."""

    exit_code: int
    printed: str


class ShardProcess:
    """A shard that runs in a child process.

    Its API key and gateway are those of ``settings``; None: those of the environment. ``options``
    are fields of its request.
    """

    def __init__(
        self,
        task: ShardTask,
        settings: Settings | None = None,
        options: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        module = "crucible_batch.features.machines.shard_process"
        words = [str(task.url), task.digest, str(task.number), str(task.watched)]
        self._child = subprocess.Popen(  # noqa: S603 - this program, by arguments of its own
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the process that started it
        )
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # it is gone already: ``wait`` returns its exit code
            self._child.stdin.write(_as_line(settings, options))
            self._child.stdin.flush()

    async def ended(self) -> ShardEnd:
        """Wait for the end. If cancelled, the shard winds down, which is awaited: for as long as it
        may collect what is in flight, and then it is killed."""
        waiting = asyncio.ensure_future(asyncio.to_thread(self.wait))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self.wind_down()
            done, _ = await asyncio.wait({waiting}, timeout=_WINDING_DOWN_S)
            if not done:
                self.kill()
                await waiting
            raise

    def wind_down(self) -> None:
        """Have the shard buy nothing more, and collect what is in flight."""
        assert self._child.stdin is not None
        self._child.stdin.close()

    def kill(self) -> int:
        """Kill the process, as a crash does. Returns its number."""
        self._child.kill()
        return self._child.pid

    def wait(self) -> ShardEnd:
        """Wait for the end. Blocking."""
        assert self._child.stdout is not None
        with self._child.stdout as output:
            printed = output.read()[-_LONGEST:].decode(errors="replace").strip()
        return ShardEnd(self._child.wait(), printed)


def run_shard(task: ShardTask) -> ShardEnd:
    """Run a shard in a child process to its end. Blocking, for engines that run functions."""
    return ShardProcess(task).wait()


def main(address: str, digest: str, number: int, watched: int) -> int:
    """Run a shard, and return its exit code."""
    settings, options = _read_line()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        plan = asyncio.run(fetch_stored_plan(ObjectUrl.at(address), digest))
        # Its own directory, so that no lock is awaited; the log has all of it.
        directory = plan.path.with_name(f"{number}.{secrets.token_hex(4)}")
        try:
            watched_log = WatchedLog(watched)
            running = _run(plan, number, directory, watched_log, settings=settings, options=options)
            return asyncio.run(running)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    except CrucibleBatchError as error:
        # The parent reads it.
        print(f"{error.code}: {error.message}; {error.hint}", flush=True)  # noqa: T201
        return int(error.exit_code)


async def _run(
    plan: SavedPlan,
    number: int,
    directory: Path,
    watched: WatchedLog,
    *,
    settings: Settings,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    shard = ShardId(number, len(plan.head.shards))
    choice = (ShardChoice(str(shard)), watched)
    request = RunRequest(plan.path, out_dir=directory, html=False, features=choice, **options)
    request = follow_plan(request, {})
    request = replace(request, manifest=plan.path.with_name(MANIFEST_FILE), plan=plan)
    result = await run_request(request, kind_of, handle_signals=True, settings=settings)
    return int(result.exit_code)


def _as_line(settings: Settings | None, options: Mapping[str, object]) -> bytes:
    given = None
    if settings is not None:
        given = {name: getattr(settings, name) for name in _PASSED_ON}
        given["api_key"] = None if settings.api_key is None else str(settings.api_key)
    return json.dumps([given, dict(options)]).encode() + b"\n"


def _read_line() -> tuple[Settings, dict[str, Any]]:
    """Return the settings of this process, which are those of its environment and what its parent
    has passed on, and the options."""
    line = bytearray()
    while not line.endswith(b"\n"):  # not buffered: what follows is for ``_end_with_parent``
        read = os.read(0, 1)
        if not read:
            break
        line += read
    given, options = json.loads(line or b"[null, {}]")
    settings = current_settings()
    if given is None:
        return settings, options
    given["storage_hosts"] = tuple(given["storage_hosts"])
    return replace(settings, **given), options


def _end_with_parent() -> None:
    """Stop in good order when standard input ends."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    except KeyboardInterrupt:
        code = int(ExitCode.SIGINT)
    sys.exit(code)
