"""The runs below a directory: found by their journals, and listed by when they were last active."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.errors import CrucibleBatchError, ExitCode, ShardsOutstandingError
from crucible_batch.runs.failed_starts import FailedStart, failed_starts
from crucible_batch.runs.status import Status, read_status
from crucible_batch.shell_command import DEFAULT_DIRECTORY

DEFAULT_LIMIT = 100
_DEPTH = 2
"""Directory levels: ``outputs/NAME/RUN_ID`` is two below ``outputs``. Below that are only pictures.
"""
_MOST_ENTRIES = 100_000
"""The number of directory entries that a search reads, so that it ends in a folder that isn't a
folder of runs."""
_JOURNAL = Path(".crucible/journal.sqlite3")


class RunState(enum.StrEnum):
    """The state of a run directory. The values are written to ``--json``."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED_JOBS = "failed_jobs"
    STOPPED = "stopped"
    KILLED = "killed"
    WAITING = "waiting"
    NOT_STARTED = "not_started"
    UNREADABLE = "unreadable"

    @property
    def label(self) -> str:
        words = {
            RunState.KILLED: "process exited unexpectedly (killed?)",
            RunState.WAITING: "waiting for shards",
            RunState.NOT_STARTED: "did not start",
        }
        return words.get(self, self.value.replace("_", " "))


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run in a list. ``status`` is None if its journal can't be read; ``error`` is the reason.

    ``failed_start`` is set if the run did not start; ``run_dir`` may not exist then.
    """

    run_dir: Path
    status: Status | None = None
    error: CrucibleBatchError | None = None
    failed_start: FailedStart | None = None

    @property
    def state(self) -> RunState:
        if self.failed_start is not None:
            return RunState.NOT_STARTED
        if self.status is not None:
            return state_of(self.status)
        if isinstance(self.error, ShardsOutstandingError):
            return RunState.WAITING
        return RunState.UNREADABLE


@dataclass(frozen=True, slots=True)
class RunList:
    """The newest runs below a directory, running ones first, unreadable ones last.

    ``found`` is the number of run directories, including those beyond the limit. ``is_complete`` is
    false if the directory has too many entries to search all of them.
    """

    directory: Path
    runs: tuple[ListedRun, ...]
    found: int
    is_complete: bool


def list_runs(directory: str | Path = DEFAULT_DIRECTORY, *, limit: int = DEFAULT_LIMIT) -> RunList:
    """Read the state of the runs at and up to two levels below ``directory``, from their journals
    alone.

    Beside them are the runs there that did not start, by the user's list of runs. Of more than
    ``limit`` runs, those whose journals were written last are listed. Links are not followed. A
    directory that does not exist has no others.
    """
    root = Path(directory)
    found = RunDirectories.below(root)
    failed = [ListedRun(run.run_dir, failed_start=run) for run in failed_starts(root)]
    runs = sorted([*map(_read, found.newest(limit)), *failed], key=_order)
    return RunList(root, tuple(runs[:limit]), len(found.paths) + len(failed), found.is_complete)


def state_of(status: Status) -> RunState:
    """Return the state of a run directory, by its newest run."""
    match status.report.exit_code:
        case _ if status.paused is not None:
            return RunState.PAUSED
        case _ if status.running:
            return RunState.RUNNING
        case _ if status.shards is not None:
            return RunState.WAITING
        case None:
            return RunState.KILLED
        case ExitCode.OK:
            return RunState.DONE
        case ExitCode.SOME_FAILED:
            return RunState.FAILED_JOBS
        case _:
            return RunState.STOPPED


def order_of(status: Status | None) -> tuple[bool, float]:
    """Return the sort key of a list of runs: running ones first, then by last activity, then
    unreadable ones.
    """
    if status is None:
        return True, 1.0
    return not status.running, -status.changed_at


def _order(run: ListedRun) -> tuple[tuple[bool, float], str]:
    order = order_of(run.status)
    if run.failed_start is not None:
        order = (True, -run.failed_start.at.timestamp())
    return order, str(run.run_dir)


def _read(run_dir: Path) -> ListedRun:
    try:
        return ListedRun(run_dir, read_status(run_dir))
    except CrucibleBatchError as error:
        return ListedRun(run_dir, error=error)


@dataclass(frozen=True, slots=True)
class RunDirectories:
    """The run directories at and below a directory.

    ``is_complete`` is false if the search ended early.
    """

    paths: Sequence[Path]
    is_complete: bool

    @classmethod
    def below(cls, root: Path) -> RunDirectories:
        """Search a directory; if there are none, its ``outputs``, so that a project's directory can
        be named too.

        Links are not followed; directories that can't be read are skipped.
        """
        search, outputs = _Search(_MOST_ENTRIES), root / DEFAULT_DIRECTORY
        paths = tuple(search.found(root, _DEPTH))
        if not paths and not outputs.is_symlink():
            paths = tuple(search.found(outputs, _DEPTH))
        return cls(paths, search.left > 0)

    def newest(self, limit: int) -> list[Path]:
        """Return the ``limit`` directories whose journals were written last."""
        return sorted(self.paths, key=_written_at, reverse=True)[:limit]


class _Search:
    """A search that ends after ``left`` directory entries."""

    def __init__(self, left: int) -> None:
        self.left = left

    def found(self, directory: Path, depth: int) -> Iterator[Path]:
        if _is_run(directory):
            yield directory
        elif depth:
            for child in self._folders(directory):
                yield from self.found(child, depth - 1)

    def _folders(self, directory: Path) -> list[Path]:
        names: list[str] = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    self.left -= 1
                    if self.left <= 0:
                        break
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                        names.append(entry.name)
        except OSError:
            return []
        return [directory / name for name in sorted(names)]


def _is_run(directory: Path) -> bool:
    hidden, journal = directory / _JOURNAL.parent, directory / _JOURNAL
    try:
        return journal.is_file() and not journal.is_symlink() and not hidden.is_symlink()
    except OSError:
        return False


def _written_at(directory: Path) -> float:
    """Return when the journal's files were written last; 0 if that can't be read."""
    times = [0.0]
    for name in (_JOURNAL, f"{_JOURNAL}-wal"):
        try:
            times.append((directory / name).stat(follow_symlinks=False).st_mtime)
        except OSError:
            continue
    return max(times)
