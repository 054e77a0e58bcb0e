"""The runs that are shown: searched for at each request of the list, each read by one thread at a time."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from crucible_batch.api import Snapshot, Watch
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.report import OutputRow

_DEPTH = 2
"""Directory levels: ``outputs/NAME/RUN_ID`` is two below ``outputs``. Below that are only pictures."""
_JOURNAL = Path(".crucible/journal.sqlite3")


def find_runs(root: Path) -> Mapping[str, Path]:
    """Return the run directories at and below ``root``. Links are not followed; unreadable directories are skipped.

    A key is a digest of the path below ``root``, so that no URL holds a path.
    """
    return {_key(path, root): path for path in _found(root, _DEPTH)}


def journal_files(directory: Path) -> tuple[Path, Path]:
    """Return the files of a journal; their modification times tell whether it changed."""
    journal = directory / _JOURNAL
    return journal, journal.with_name(f"{journal.name}-wal")


def _key(path: Path, root: Path) -> str:
    return hashlib.sha256(path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _found(directory: Path, depth: int) -> Iterator[Path]:
    if _is_run(directory):
        yield directory
        return
    if depth:
        for child in _folders(directory):
            yield from _found(child, depth - 1)


def _is_run(directory: Path) -> bool:
    hidden, journal = directory / _JOURNAL.parent, directory / _JOURNAL
    try:
        return journal.is_file() and not journal.is_symlink() and not hidden.is_symlink()
    except OSError:
        return False


def _folders(directory: Path) -> list[Path]:
    try:
        children = [child for child in directory.iterdir() if not child.name.startswith(".")]
        return sorted(child for child in children if child.is_dir() and not child.is_symlink())
    except OSError:
        return []


_PICTURES = 5
_FRESH_S = 0.4
"""Pages that follow the same run share a snapshot of this age in seconds."""
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _CachedSnapshot:
    at: float
    mark: object
    snapshot: Snapshot


class ShownRun:
    """A run directory, read for any number of pages."""

    def __init__(self, key: str, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.key = key
        self.directory = directory
        self._watch = Watch(directory)
        self._lock = asyncio.Lock()
        self._clock = clock
        self._cached: _CachedSnapshot | None = None

    async def look(self) -> Snapshot:
        """Return a snapshot, at most ``_FRESH_S`` old while the run changes. Raises as ``Watch`` does."""
        async with self._lock:
            cached, mark = self._cached, _mark(self.directory)
            if cached is None or not (self._is_fresh(cached) or _is_still(cached, mark)):
                snapshot = await asyncio.to_thread(self._watch.look)
                cached = self._cached = _CachedSnapshot(self._clock(), mark, snapshot)
            return cached.snapshot

    async def read(self, reading: Callable[[Watch], _Result]) -> _Result:
        """Read from the run in a thread."""
        async with self._lock:
            return await asyncio.to_thread(reading, self._watch)

    def _is_fresh(self, cached: _CachedSnapshot) -> bool:
        return self._clock() - cached.at < _FRESH_S


def _is_still(cached: _CachedSnapshot, mark: object) -> bool:
    """Whether the snapshot is still right: a finished run with unchanged files is not read again."""
    return cached.snapshot.status.report.exit_code is not None and mark == cached.mark


def _mark(directory: Path) -> object:
    """Return a value that differs whenever the journal's files have been written to."""
    marks: list[tuple[int, int, int] | None] = []
    for file in journal_files(directory):
        try:
            found = file.stat()
        except OSError:
            marks.append(None)
        else:
            marks.append((found.st_mtime_ns, found.st_size, found.st_ino))
    return marks


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
    """The runs at and below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._shown: dict[str, ShownRun] = {}

    async def get(self, key: str) -> ShownRun | None:
        """Return the run with a key; search for new runs if it isn't known yet."""
        if key not in self._shown:
            await self._find()
        return self._shown.get(key)

    async def entries(self) -> list[RunEntry]:
        """Return all runs: those in progress first, then the newest."""
        await self._find()
        entries = [await _entry(run) for run in self._shown.values()]
        return sorted(entries, key=_moment, reverse=True)

    async def _find(self) -> None:
        found = await asyncio.to_thread(find_runs, self.root)
        self._shown = {key: self._shown.get(key) or ShownRun(key, directory) for key, directory in found.items()}


async def _entry(run: ShownRun) -> RunEntry:
    try:
        return RunEntry(run, await run.look(), await run.read(lambda watch: watch.newest(_PICTURES)))
    except CrucibleBatchError as error:
        return RunEntry(run, None, error=error.message)


def _moment(entry: RunEntry) -> tuple[bool, str]:
    """Return the sort key. RFC 3339 times in UTC sort as text."""
    if entry.snapshot is None:
        return False, ""
    report = entry.snapshot.status.report
    return entry.snapshot.status.running, report.finished_at or report.started_at
