"""A scheduler put together: manifests, runs as processes, signals, and its status over HTTP.

path       answers 503 if                           for
/health    it is stuck or stopping                  probes that restart it
/ready     so does /health, or any manifest         monitoring: a restart corrects no manifest, and would stop the
           is invalid                               runs of the valid ones
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from crucible_batch.errors import RunBusyError
from crucible_batch.local_server import LocalServer, bind
from crucible_batch.scheduling.export.target import own_command
from crucible_batch.scheduling.schedules import ManifestFolder, ScheduledManifest
from crucible_batch.scheduling.serve.decision import Start
from crucible_batch.scheduling.serve.scheduler import Scheduler, ServeMessage

_CHUNK_BYTES = 65_536
_LONGEST_LINE_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of a scheduler. ``arguments`` are further ones for each run.

    ``health`` is the host and port of the health endpoint, ``state_directory`` where progress is kept; None: neither.
    """

    places: tuple[Path, ...]
    directory: Path
    most_running: int
    arguments: tuple[str, ...] = ()
    health: tuple[str, int] | None = None
    state_directory: Path | None = None


def serve_schedules(
    options: ServeOptions,
    report: Callable[[ServeMessage], None],
    output: Callable[[str, str], None],
    on_ready: Callable[[str | None], None],
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, and then until the active runs have stopped.

    ``output`` is called with a manifest's name and a line that its run printed, ``on_ready`` with the URL of the health
    endpoint. Raises ``RunBusyError`` if another scheduler serves the same places from the same directory.
    """
    state = state_file(options)
    with _locked(state):
        asyncio.run(_serve(options, state, report, output, on_ready))


async def _serve(
    options: ServeOptions,
    state: Path | None,
    report: Callable[[ServeMessage], None],
    output: Callable[[str, str], None],
    on_ready: Callable[[str | None], None],
) -> None:
    processes = RunProcesses(output)
    stopping = asyncio.Event()

    async def launch(schedule: ScheduledManifest, start: Start) -> int:
        return await processes.run(schedule.name, run_words(schedule, start, options.arguments), options.directory)

    async def pause(seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stopping.wait()

    scheduler = Scheduler(
        ManifestFolder(options.places),
        launch,
        report,
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        pause=pause,
        most_running=options.most_running,
        state=state,
    )

    def stop() -> None:
        scheduler.stop()
        stopping.set()
        processes.terminate()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    async with _serving_health(options.health, scheduler.status) as url:
        on_ready(url)
        await scheduler.run()


def run_words(schedule: ScheduledManifest, start: Start, arguments: Sequence[str]) -> list[str]:
    """Return the command that performs a run for its scheduled time."""
    words = [*own_command(), "run", str(schedule.path), "--scheduled-at", start.scheduled_at.isoformat()]
    return [*words, "--if-running", "skip", "--catch-up", str(start.catch_up), "--log-format", "text", *arguments]


def state_file(options: ServeOptions) -> Path | None:
    """Return the state file of these places and this working directory; None if there is no state directory."""
    if options.state_directory is None:
        return None
    served = "\0".join(str((options.directory / path).resolve()) for path in (Path(), *options.places))
    return options.state_directory / "schedules" / f"{hashlib.sha256(served.encode()).hexdigest()[:16]}.json"


@contextlib.contextmanager
def _locked(state: Path | None) -> Iterator[None]:
    if state is None:
        yield
        return
    state.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(state.with_suffix(".lock"), timeout=0)
    try:
        held = lock.acquire()
    except Timeout:
        raise RunBusyError(
            "another scheduler serves these manifests from this directory", hint="stop it first, or let it continue"
        ) from None
    with held:
        yield


class RunProcesses:
    """Starts processes in sessions of their own, so that a Ctrl-C reaches them only through ``terminate``."""

    def __init__(self, output: Callable[[str, str], None]) -> None:
        self._output = output
        self._active: set[asyncio.subprocess.Process] = set()

    async def run(self, name: str, command: Sequence[str], directory: Path) -> int:
        """Run a command to its end, and return its exit code; negative for a signal. Raises ``OSError``."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=directory,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._active.add(process)
        try:
            if process.stdout is not None:
                await self._report(name, process.stdout)
            return await process.wait()
        finally:
            self._active.discard(process)

    def terminate(self) -> None:
        """Send SIGTERM to each process: a run then stops, and another one resumes it."""
        for process in self._active:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    async def _report(self, name: str, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._output(name, line.decode(errors="replace").rstrip("\r"))
        if rest:
            self._output(name, rest.decode(errors="replace"))


def health_app(status: Callable[[], Mapping[str, Any]]) -> Starlette:
    """Return an application that answers ``GET /health`` and ``GET /ready`` with the status, and 200 or 503."""

    async def health(_request: Request) -> JSONResponse:
        content = status()
        return JSONResponse(content, status_code=200 if content["status"] == "ok" else 503)

    async def ready(_request: Request) -> JSONResponse:
        content = status()
        return JSONResponse(content, status_code=200 if content["status"] == "ok" and not content["problems"] else 503)

    return Starlette(routes=[Route("/health", health), Route("/ready", ready)])


@asynccontextmanager
async def _serving_health(
    address: tuple[str, int] | None, status: Callable[[], Mapping[str, Any]]
) -> AsyncIterator[str | None]:
    """Serve the endpoints during the block, and give the URL of ``/health``; without an address, do nothing.

    Raises ``UserError`` if the address is not available.
    """
    if address is None:
        yield None
        return
    with contextlib.closing(bind(*address, "--health")) as listening:
        server = LocalServer(health_app(status))
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening]))
            host, port = listening.getsockname()[:2]
            try:
                yield f"http://{f'[{host}]' if ':' in host else host}:{port}/health"
            finally:
                server.should_exit = True
