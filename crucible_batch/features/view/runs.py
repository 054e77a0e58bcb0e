"""The runs that are shown: found at each request of the list, each read by one thread at a time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from crucible_batch.errors import CrucibleBatchError
from crucible_batch.features.view.watching import Snapshot, Watch, journal_mark
from crucible_batch.report import OutputRow
from crucible_batch.runs.run_list import RunDirectories, order_of

MOST_LISTED = 500
"""The number of runs in the list, the newest; the others are counted, and their pages can still be
opened.
"""


def find_runs(root: Path) -> Mapping[str, Path]:
    """Return the run directories at and below ``root``, the one written last first.

    Links are not followed; unreadable directories are skipped. A key is a digest of the path below
    ``root``, so that no URL holds a path.
    """
    directories = RunDirectories.below(root)
    return {_key(path, root): path for path in directories.newest(len(directories.paths))}


def _key(path: Path, root: Path) -> str:
    return hashlib.sha256(
        path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
    ).hexdigest()[:12]


_PICTURES = 5
_FRESH_S = 0.4
"""Pages that follow the same run share a snapshot of this age in seconds."""
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _CachedSnapshot:
    at: float
    mark: object
    snapshot: Snapshot

    def is_valid(self, mark: object) -> bool:
        """Whether the run need not be read again, if ``mark`` is what marks its files now."""
        if time.monotonic() - self.at < _FRESH_S:
            return True
        is_finished = self.snapshot.status.report.exit_code is not None
        return is_finished and self.mark == mark


class ShownRun:
    """A run directory, read for any number of pages."""

    def __init__(self, key: str, directory: Path) -> None:
        self.key = key
        self.directory = directory
        self._watch = Watch(directory)
        self._lock = asyncio.Lock()
        self._cached: _CachedSnapshot | None = None

    async def look(self) -> Snapshot:
        """Return a snapshot, at most ``_FRESH_S`` old while the run changes.

        Raises as ``Watch`` does.
        """
        async with self._lock:
            cached, mark = self._cached, journal_mark(self.directory)
            if cached is None or not cached.is_valid(mark):
                snapshot = await asyncio.to_thread(self._watch.look)
                cached = self._cached = _CachedSnapshot(time.monotonic(), mark, snapshot)
            return cached.snapshot

    async def read(self, reading: Callable[[Watch], _Result]) -> _Result:
        async with self._lock:
            return await asyncio.to_thread(reading, self._watch)


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run in the list, with its newest pictures.

    ``snapshot`` is None if its journal can't be read; ``error`` has the reason.
    """

    run: ShownRun
    snapshot: Snapshot | None
    newest: Sequence[OutputRow] = ()
    error: str | None = None


class Runs:
    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._shown: dict[str, ShownRun] = {}

    async def get(self, key: str) -> ShownRun | None:
        """Return the run with a key; search for new runs if it isn't known yet."""
        if key not in self._shown:
            await self._find()
        return self._shown.get(key)

    async def entries(self) -> list[RunEntry]:
        """Return the newest ``MOST_LISTED`` runs: those in progress first, then the newest."""
        await self._find()
        entries = [await _entry(run) for run in list(self._shown.values())[:MOST_LISTED]]
        return sorted(entries, key=_order)

    async def read_ahead(self) -> None:
        """Read the root, if it is a run itself: its page is then there as soon as it is opened."""
        run = await self.get(_key(self.root, self.root))
        if run is not None:
            with contextlib.suppress(CrucibleBatchError):
                await run.look()

    @property
    def count(self) -> int:
        """The number of runs that were found, including those beyond ``MOST_LISTED``."""
        return len(self._shown)

    async def _find(self) -> None:
        found = await asyncio.to_thread(find_runs, self.root)
        self._shown = {
            key: self._shown.get(key) or ShownRun(key, directory)
            for key, directory in found.items()
        }


async def _entry(run: ShownRun) -> RunEntry:
    try:
        return RunEntry(
            run, await run.look(), await run.read(lambda watch: watch.newest(_PICTURES))
        )
    except CrucibleBatchError as error:
        return RunEntry(run, None, error=error.message)


def _order(entry: RunEntry) -> tuple[tuple[bool, float], str]:
    status = None if entry.snapshot is None else entry.snapshot.status
    return order_of(status), str(entry.run.directory)
