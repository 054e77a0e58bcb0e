"""The runs that are shown: found anew at each look at the list, and each read by one thread at a time."""

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
"""``outputs/NAME/RUN_ID`` lies two below ``outputs``. Deeper there are pictures only."""
_JOURNAL = Path(".crucible/journal.sqlite3")


def find_runs(root: Path) -> Mapping[str, Path]:
    """Return the run directories at and below ``root``. No link is followed, and what can't be read is passed over.

    A key is made of the place below ``root``, so that no address holds a path.
    """
    return {_key(path, root): path for path in _found(root, _DEPTH)}


def journal_files(directory: Path) -> tuple[Path, Path]:
    """Return the files that a journal consists of: a look at when they changed needs no database."""
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
"""Pages that follow the same run share one look."""
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    mark: object
    sight: Snapshot


class ShownRun:
    """One run directory, for any number of pages."""

    def __init__(self, key: str, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.key = key
        self.directory = directory
        self._watch = Watch(directory)
        self._turn = asyncio.Lock()
        self._clock = clock
        self._seen: _Seen | None = None

    async def look(self) -> Snapshot:
        """Look at it, unless that was done just now. Raises as ``Watch`` does."""
        async with self._turn:
            seen, mark = self._seen, _mark(self.directory)
            if seen is None or not (self._is_fresh(seen) or _is_still(seen, mark)):
                sight = await asyncio.to_thread(self._watch.look)
                seen = self._seen = _Seen(self._clock(), mark, sight)
            return seen.sight

    async def read(self, reading: Callable[[Watch], _Result]) -> _Result:
        """Have something read of it, in a thread."""
        async with self._turn:
            return await asyncio.to_thread(reading, self._watch)

    def _is_fresh(self, seen: _Seen) -> bool:
        return self._clock() - seen.at < _FRESH_S


def _is_still(seen: _Seen, mark: object) -> bool:
    """Whether nothing can have happened since: a finished run whose files are as they were is not read again."""
    return seen.sight.status.report.exit_code is not None and mark == seen.mark


def _mark(directory: Path) -> object:
    """Return what changes whenever a run begins, or anything else is written to a finished one."""
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
    """A run as the list knows it, with its newest pictures.

    ``sight`` is None where its journal can't be read, which ``trouble`` explains.
    """

    run: ShownRun
    sight: Snapshot | None
    newest: Sequence[OutputRow] = ()
    trouble: str | None = None


class Runs:
    """The runs at and below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._shown: dict[str, ShownRun] = {}

    async def get(self, key: str) -> ShownRun | None:
        """Return the run of a key, if there is one by now."""
        if key not in self._shown:
            await self._find()
        return self._shown.get(key)

    async def entries(self) -> list[RunEntry]:
        """Look at all of them: what is going on first, then the newest."""
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
        return RunEntry(run, None, trouble=error.message)


def _moment(entry: RunEntry) -> tuple[bool, str]:
    """Times in RFC 3339, all of them in UTC, sort as text."""
    if entry.sight is None:
        return False, ""
    report = entry.sight.status.report
    return entry.sight.status.running, report.finished_at or report.started_at
