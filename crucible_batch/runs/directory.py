"""Access to a run directory for repair and cleaning: its lock, its journal for writing, and its
gateway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.engine import Clock, SystemClock
from crucible_batch.errors import CrucibleBatchError, RunDirectoryError
from crucible_batch.gateway import HttpGateway
from crucible_batch.journal import Binding, Journal, lock_run_directory
from crucible_batch.outputs import check_outputs_can_be_saved
from crucible_batch.runs.account import refuse_other_account
from crucible_batch.runs.connecting import current_settings, gateway_for, require_key
from crucible_batch.settings import Settings

_FOREIGN = "größe/{index}{ext}"


def try_directory(directory: Path) -> None:
    """Check whether a run could work in ``directory``: take a lock, open a journal and rename a
    file in it.

    Uses a temporary folder below ``directory``, which is removed afterwards. Raises ``OSError`` if
    nothing can be written, and ``RunDirectoryError``, which names ``directory``, if a run would
    refuse it or fail.
    """
    with TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=directory) as folder:
        try:
            with (
                lock_run_directory(Path(folder)),
                Journal.open(Path(folder), Binding("doctor", "doctor", ""), now=0.0),
            ):
                check_outputs_can_be_saved(Path(folder), [_FOREIGN])
        except CrucibleBatchError as error:
            raise RunDirectoryError(
                error.message.replace(folder, str(directory)), hint=error.hint
            ) from error


@dataclass(frozen=True, slots=True)
class LockedRun:
    """The journal, the gateway and the clock for repairing a locked run directory."""

    journal: Journal
    gateway: HttpGateway
    clock: Clock


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of an existing run directory. Creates nothing.

    Raises ``RunDirectoryError`` if it is not a run directory, and ``RunBusyError`` if a run is
    active.
    """
    with Journal.read(directory):
        pass
    with lock_run_directory(directory):
        yield


@asynccontextmanager
async def open_for_repair(
    directory: Path, settings: Settings | None, transport: httpx.AsyncBaseTransport | None
) -> AsyncIterator[LockedRun]:
    """Open the journal of a directory whose lock the caller holds, and its account's gateway.

    Raises ``KeyRefusedError``, ``GatewayError``, ``JournalError``, and ``RunDirectoryError`` if the
    key or the base URL is of another account than the directory.
    """
    settings = settings or current_settings()
    clock = SystemClock()
    with Journal.read(directory) as journal:
        binding = replace(journal.binding(), gateway=settings.gateway)
    async with gateway_for(settings, transport=transport) as gateway:
        with Journal.open(directory, binding, now=clock.now()) as journal:
            account = await refuse_other_account(journal, gateway, require_key(settings))
            journal.remember_key(account.fingerprint)
            yield LockedRun(journal, gateway, clock)
