"""The run directories of a plan's shards, and the main run directory that they are merged into."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.core.outcome import Ending
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.sharding import SHARDS_FOLDER, OutstandingShards, ShardId
from crucible_batch.errors import RunDirectoryError, UserError
from crucible_batch.features.shards.merge_rule import FoundShard
from crucible_batch.journal import Binding, Journal, lock_run_directory
from crucible_batch.runs.outstanding_shards import (
    SHARD_FOLDER,
    is_directory,
    shard_errors,
    shards_in,
    unknown_shards,
)
from crucible_batch.runs.paths import SHARDS, plan_folder
from crucible_batch.runs.request import check_path
from crucible_batch.runs.run_journal import is_begun
from crucible_batch.runs.shard_notes import noted_in, noted_shards

_OTHER_FILES = 128
"""Files that a merge opens at most beside the locks: databases, outputs."""


@dataclass(frozen=True, slots=True)
class ShardDirectory:
    """The directory of a shard that has run. ``ending`` is None if its newest run was killed.

    ``started_at`` is the start of its first run. ``finished_at`` is the end of its newest run, None
    without an ending. ``has_log``: it is of a log, and its outputs are in the run's place already.
    """

    path: Path
    found: FoundShard
    terms: RunTerms
    ending: Ending | None
    started_at: float
    finished_at: float | None
    has_log: bool = False

    @property
    def number(self) -> int:
        return self.found.shard.number


@dataclass(frozen=True, slots=True)
class MergeSources:
    """The main run directory, and the directories of shards, each once."""

    main: Path
    shards: tuple[Path, ...]


def find_sources(run_dirs: Sequence[Path], out_dir: Path | None) -> MergeSources:
    """Return what is to be merged into which directory.

    These are the given shard directories, and those below the main run directory if it is given.
    The main run directory is ``out_dir``, else the given one, else that in which the shard
    directories are. Raises ``RunDirectoryError`` if a directory is neither, and ``UserError`` if
    there is no main run directory, or several.
    """
    check_path("the main run directory", out_dir)
    mains: list[Path] = []
    if out_dir is not None:
        mains.append(out_dir)
    shards: list[Path] = []
    for path in run_dirs:
        check_path("the run directory", path)
        if is_lost(path) or _is_main(path):
            mains.append(path)
        else:
            shards.append(path)
    expanded = [path for main in mains for path in _shards_below(main)]
    if not mains:
        mains = [main for main in map(_main_of, shards) if main is not None]
    found = _distinct(mains)
    if len(found) > 1:
        raise UserError(
            "the shards are merged into one main run directory, and these are several:"
            f" {found[0]} and {found[1]}",
            hint="merge the shards of one plan at a time",
        )
    if not found:
        raise UserError(
            "the main run directory of the shards is not known",
            hint="name it: --out-dir DIR, the directory in which the plan was divided",
        )
    return MergeSources(found[0], tuple(_distinct([*shards, *expanded])))


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Return each directory once, by the path that names it first."""
    return list({os.path.realpath(path): path for path in reversed(paths)}.values())[::-1]


def _is_main(path: Path) -> bool:
    """Whether a run directory is one that shards are merged into.

    Raises ``RunDirectoryError`` if it isn't any.
    """
    if has_plans(path):
        return True
    with Journal.read(path) as journal:
        if noted_shards(journal) is not None or unknown_shards(path, None):
            return True
        is_shard = _main_of(path) is not None
        if journal.is_begun():
            is_shard = journal.runs()[-1].terms.shard is not None
    if not is_shard:
        raise RunDirectoryError(
            f"{path} has no shards, and is not the directory of one: no plan of it was divided",
            hint="give the directories in which shards were run, or the main run directory",
        )
    return False


def _main_of(shard: Path) -> Path | None:
    """Return the main run directory above a shard directory; None if the shard is elsewhere."""
    place = Path(os.path.realpath(shard))
    if not SHARD_FOLDER.fullmatch(place.name) or place.parent.parent.name != SHARDS_FOLDER:
        return None
    main = place.parents[2]
    if not Journal.exists(main) and not is_lost(main):
        return None
    relative = os.path.relpath(main)
    if relative.startswith(os.pardir):
        return main
    return Path(relative)


def _shards_below(main: Path) -> list[Path]:
    """Return the directories of the shards of the outstanding plan.

    Otherwise those of a plan that the journal doesn't know. Links are refused, not followed.
    """
    outstanding = noted_in(main)
    if outstanding is None or not outstanding.missing:
        unknown = unknown_shards(main, outstanding)
        if unknown:
            # The oldest plan first: a job that it blocked may have been bought in a later one.
            oldest = min(unknown, key=_started_at).parent
            return [path for path in unknown if path.parent == oldest]
    if outstanding is None:
        return []
    folder = plan_folder(main, outstanding.plan_digest)
    if not is_directory(folder.parent) or not is_directory(folder):  # a link is refused
        return []
    return list(shards_in(folder))


def has_plans(main: Path) -> bool:
    """Whether a directory has divided plans, so that their shards have logs there."""
    return (main / SHARDS).is_dir()


def is_lost(main: Path) -> bool:
    """Whether a directory has shards that have run, and no journal."""
    return not Journal.exists(main) and bool(unknown_shards(main, None))


def allow_locks(count: int) -> None:
    """Raise the limit of open files so that ``count`` directories can be locked.

    Only as far as the system permits. Locking fails with ``OSError`` otherwise.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    are_open = len(os.listdir("/dev/fd"))  # noqa: PTH208 - numbers
    wanted = 2 * count + are_open + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def lock_abandoned(
    stack: ExitStack, sources: MergeSources, outstanding: OutstandingShards, numbers: Sequence[int]
) -> None:
    """Lock the directories of shards that are abandoned.

    So none begins while its allowance is returned. A shard locks its directory, and then checks
    whether it was abandoned. One that doesn't exist is created, and deleted when ``stack`` is
    closed. Those of ``sources`` are locked already. Raises ``RunBusyError`` if a shard is about to
    begin, ``RunDirectoryError`` if one has begun since the directories were read.
    """
    folder = plan_folder(sources.main, outstanding.plan_digest)
    known = {os.path.realpath(path) for path in sources.shards}
    allow_locks(len(known) + len(numbers))
    for number in numbers:
        path = folder / ShardId(number, len(outstanding.allowances)).folder
        if os.path.realpath(path) in known:
            continue
        is_new = not path.exists()
        stack.enter_context(lock_run_directory(path))
        if Journal.exists(path):
            with shard_errors(path):
                has_begun = is_begun(path)
            if has_begun:
                raise RunDirectoryError(
                    f"shard {number} has begun in {path} during this merge",
                    hint="give the same command again",
                )
        elif is_new:
            # One that stays is empty, and does no harm.
            stack.callback(shutil.rmtree, path, ignore_errors=True)


def _started_at(shard: Path) -> float:
    with shard_errors(shard), Journal.read(shard) as journal:
        return journal.runs()[0].started_at


def read_shard(path: Path, main: Binding, *, has_log: bool = False) -> ShardDirectory | None:
    """Return a shard by its journal; None if no run has begun, so that it has bought nothing.

    Raises ``RunDirectoryError`` if it is not the directory of one shard of a plan for ``main``, and
    ``JournalError``.
    """
    with shard_errors(path), Journal.read(path) as journal:
        if not journal.is_begun():
            return None
        runs, binding = journal.runs(), journal.binding()
    newest = runs[-1]
    shard, digest = newest.terms.shard, newest.terms.plan_digest
    if shard is None or digest is None:
        raise RunDirectoryError(
            f"{path} is not the directory of a shard:"
            f" its newest run is of {newest.terms.manifest_path}",
            hint="give the directories in which shards were run, or the main run directory",
        )
    if any((run.terms.shard, run.terms.plan_digest) != (shard, digest) for run in runs):
        raise RunDirectoryError(
            f"{path} has runs of several shards or plans,"
            f" so that what belongs to shard {shard} is not known",
            hint="its journal was edited or is damaged: restore it from a backup",
        )
    if binding != main:
        raise RunDirectoryError(
            f"{path} belongs to {binding.manifest_name} · {binding.run_id} at {binding.gateway},"
            f" and the main run directory to {main.manifest_name} · {main.run_id} at"
            f" {main.gateway}",
            hint="merge the shards of one plan only",
        )
    found = FoundShard(str(path), shard, digest)
    return ShardDirectory(
        path,
        found,
        newest.terms,
        newest.ending,
        runs[0].started_at,
        newest.finished_at,
        has_log,
    )
