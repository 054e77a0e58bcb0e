"""The ``worker`` command: one worker in this process, or several in processes that are started again if they die."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass

from crucible_batch.api import DSN_VARIABLE, ClusterAddress
from crucible_batch.api.cluster.worker import run_worker
from crucible_batch.api.connecting import require_key
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.options import GatewayOptions
from crucible_batch.cli.startup import share_one_heap
from crucible_batch.cli.terminal import say
from crucible_batch.errors import ExitCode

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_FINAL = (ExitCode.OK, ExitCode.USER_ERROR, ExitCode.KEY_REFUSED)
"""Exit codes after which another start would end in the same way."""


def work_and_show(
    output: CommandOutput, given: str | None, gateway: GatewayOptions, *, processes: int, once: bool
) -> None:
    """Work until SIGTERM or Ctrl-C, or until nothing waits with ``once``. ``given`` is the address of the cluster."""
    address = ClusterAddress.resolve(given, os.environ)
    settings = gateway.settings()
    require_key(settings)
    if processes > 1:
        output.exit_code = asyncio.run(_Children(output, given, processes, once=once).keep())
        output.data = {"processes": processes}
        return
    share_one_heap()

    async def work() -> int:
        stop = _stop_event()

        def ready(name: str) -> None:
            output.event("worker_ready", name=name, cluster=address.shown)
            if not output.quiet:
                say(output.err, ("worker ", "label"), f"{name} waits for shards in {address.shown}")

        return await run_worker(address, stop, once=once, settings=settings, on_ready=ready)

    claims = asyncio.run(work())
    output.data = {"shards": claims}
    if not output.quiet:
        say(output.err, ("worker ", "label"), f"ended, {claims} shards claimed")


def _stop_event() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set. The second signal ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stopped(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped, number)
    return stop


@dataclass(slots=True)
class _Children:
    """The processes of a worker with several: each is a worker of its own."""

    output: CommandOutput
    given: str | None
    processes: int
    once: bool

    async def keep(self) -> int:
        """Keep the processes running until a signal, or until all have ended for good. Returns the worst exit code."""
        stop = _stop_event()
        codes = await asyncio.gather(*(self._keep_one(stop) for _ in range(self.processes)))
        return max(codes)

    async def _keep_one(self, stop: asyncio.Event) -> int:
        wait = _FIRST_WAIT_S
        while True:
            child = await asyncio.create_subprocess_exec(*_command(sys.argv), env=self._environment())
            began = asyncio.get_running_loop().time()
            code = await _ended(child, stop)
            if stop.is_set() and code == ExitCode.SIGTERM:
                return ExitCode.OK  # it was just starting
            if stop.is_set() or code in _FINAL:
                return code
            if asyncio.get_running_loop().time() - began > _LONGEST_WAIT_S:
                wait = _FIRST_WAIT_S
            say(self.output.err, ("worker ", "warn"), f"process {child.pid} ended ({code}); another is started")
            _done, waiting = await asyncio.wait({asyncio.ensure_future(stop.wait())}, timeout=wait)
            for task in waiting:
                task.cancel()
            if stop.is_set():
                return ExitCode.OK
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _environment(self) -> dict[str, str]:
        return dict(os.environ) if self.given is None else {**os.environ, DSN_VARIABLE: str(self.given)}


async def _ended(child: asyncio.subprocess.Process, stop: asyncio.Event) -> int:
    """Wait for a process, and pass a stop on to it. A signal that ended it is its exit code, plus 128."""
    ending, stopping = asyncio.ensure_future(child.wait()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        child.send_signal(signal.SIGTERM)
    code = await ending
    stopping.cancel()
    return code if code >= 0 else 128 - code


def _command(argv: list[str]) -> list[str]:
    """Return the command of one process: this one, without the number of processes and the database's address."""
    words: list[str] = []
    skipped = False
    for word in argv[1:]:
        if skipped or word in ("--processes", "--cluster"):
            skipped = not skipped
            continue
        if not word.startswith(("--processes=", "--cluster=")):
            words.append(word)
    return [sys.executable, "-m", "crucible_batch", *words]
