"""Forked children: the product's command, and a sandbox for it. All is imported once, so that each
costs milliseconds.

Whoever forks here has no threads and no event loop.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import os
import signal
import ssl
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.cli import main
from crucible_batch.gateway import aiohttp_transport
from crucible_batch.runs import running
from crucible_batch.sandbox import Running, SandboxConfig, pictures, serve
from crucible_batch.sandbox.pictures import render
from crucible_batch.sandbox.records import Job
from tests.harness.loaded_program import prepare_for
from tests.verification.crash.failpoints import Failpoints, Strike
from tests.verification.crash.scenes import CANARY

SPEED = 200.0
HANGS_AFTER_S = 60
"""A child that takes longer ends by SIGALRM; the whole of a run takes less than half a second."""

_drawn: dict[tuple[str, object], bytes] = {}


def draw(job: Job, index: int, source: bytes | None) -> bytes:
    """Give an output's bytes, as the sandbox draws them; drawn once for all children to come."""
    what = {name: value for name, value in job.params.items() if name != "image.image"}
    place = (f"{job.workflow_id} {what} {job.idempotency_key} {job.source_sha256}", index)
    if place not in _drawn:
        _drawn[place] = render(job, index, source)
    return _drawn[place]


def get_ready() -> None:
    """Do once what every child would do: import what is imported late, read the certificates."""
    for late in (
        "crucible_batch.cli.run_session",
        "crucible_batch.sandbox.server",
        "anyio._backends._asyncio",
    ):
        importlib.import_module(late)
    ssl.create_default_context = functools.cache(ssl.create_default_context)
    aiohttp_transport.certificates()
    pictures.render = draw
    prepare_for(CANARY)
    gc.collect()
    gc.freeze()


class FastClock:
    """The machine's clock, with all waits cut short."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


@dataclass(frozen=True)
class Ended:
    """How a command ended (negative: by that signal), the effects that it reached, and those at
    which it was struck.
    """

    code: int
    trace: list[str]
    struck: list[str]


@dataclass(frozen=True)
class Started:
    """A command under way."""

    pid: int
    trace: Path

    def wait(self) -> Ended:
        _, status = os.waitpid(self.pid, 0)
        trace = self.trace.read_text().splitlines()
        struck = [line[1:] for line in trace if line.startswith("!")]
        return Ended(
            os.waitstatus_to_exitcode(status), [line.removeprefix("!") for line in trace], struck
        )


def start_command(
    args: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    strike: Strike | None,
    plant: Callable[[], None],
    *,
    bare: bool = False,
) -> Started:
    """Start ``crucible-batch ARGS`` in ``folder``. ``plant`` is called first: it may plant a bug.

    A ``bare`` one has no failpoints, so that each of its system calls is the product's own.
    """
    number = len(list(folder.glob("trace-*")))
    trace = folder / f"trace-{number}"
    trace.touch()

    def child() -> int:
        signal.alarm(HANGS_AFTER_S)
        # nohup, and a shell's &, have signals ignored, which a command takes over from them.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.chdir(folder)
        os.environ.update(environment)
        log = os.open(folder / f"log-{number}", os.O_WRONLY | os.O_CREAT, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        plant()
        running.SystemClock = FastClock  # type: ignore[assignment,misc]
        if not bare:
            Failpoints(strike, trace).install()
        sys.argv = ["crucible-batch", *args]
        main()
        return 0

    return Started(fork(child), trace)


@dataclass(frozen=True)
class Sandbox:
    """A sandbox in a process of its own. It ends when whoever started it does."""

    pid: int
    lifeline: int
    url: str
    storage_url: str
    key: str

    def stop(self) -> None:
        os.close(self.lifeline)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def start_sandbox(config: SandboxConfig) -> Sandbox:
    """Start a sandbox, and return when it listens."""
    found, tell = os.pipe()
    lifeline, hold = os.pipe()

    async def serving() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(lifeline, ended.set)
        async with serve(config) as at:
            _tell(tell, at)
            await ended.wait()

    def child() -> int:
        os.close(hold)
        os.close(found)
        asyncio.run(serving())
        return 0

    pid = fork(child)
    os.close(tell)
    os.close(lifeline)
    with os.fdopen(found) as lines:
        url, storage_url, key = lines.read().split()
    return Sandbox(pid, hold, url, storage_url, key)


def _tell(pipe: int, at: Running) -> None:
    os.write(pipe, f"{at.api_url} {at.storage_url} {at.api_key}".encode())
    os.close(pipe)


def fork(child: Callable[[], int]) -> int:
    """Run ``child`` in a process of its own, which never comes back."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        try:
            code = child()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(
            code
        )  # even where the last words can't be written: what is above on the stack is the parent's
