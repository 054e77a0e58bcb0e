"""A scheduler put together: manifests, processes, signals, its state file and the health endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from crucible_batch.errors import RunBusyError
from crucible_batch.scheduling.export.target import own_command
from crucible_batch.scheduling.schedules import ScheduledManifest
from crucible_batch.scheduling.serve.decision import Start
from crucible_batch.scheduling.serve.health import serving_health
from crucible_batch.scheduling.serve.manifests import ManifestFolder
from crucible_batch.scheduling.serve.processes import RunProcesses
from crucible_batch.scheduling.serve.scheduler import Scheduler, ServeMessage


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
    async with AsyncExitStack() as stack:
        url = None
        if options.health is not None:
            url = await stack.enter_async_context(serving_health(options.health, scheduler.status))
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
        lock.acquire()
    except Timeout:
        raise RunBusyError(
            "another scheduler serves these manifests from this directory", hint="stop it first, or let it continue"
        ) from None
    try:
        yield
    finally:
        lock.release()
