"""Where a run in a cluster has its files: the plan of a wave, and a directory for each claim of a shard.

    RUN_DIR/shards/0a1b2c3d/plan.json       the divided plan
    RUN_DIR/shards/0a1b2c3d/manifest.yaml   the manifest, the same bytes
    RUN_DIR/shards/0a1b2c3d/3-of-8.e1       shard 3, as its first owner ran it
    RUN_DIR/shards/0a1b2c3d/3-of-8.e2       as the next one did, who began with a copy of the first one's journal

An owner never writes into the directory of another: that one may be frozen, and continue when it wakes up.

Which directory of a shard the coordinator merges:

    shard                                     directory
    the database is newer than its owners     that of the newest owner who has begun
    withdrawn                                 none: nobody has claimed it
    its last owner has begun                  that owner's
    its last owner has not begun              a copy of that of the newest owner who has, since that one may be frozen
    nobody has begun, by its figures as well  none
    nobody has begun, but by its figures      refused: its directories were deleted, and its allowance can't be returned
    credits were spent or held

A database that replaces a lost one, or was restored from a dump, counts epochs from a lower number again. A worker that
claims such a shard raises its epoch above those of all owners first (``newest_owner``). Each claim raises it by one, so
a folder whose name has an epoch far above is not reached: such a shard can't be run (``check_no_later_owner``).
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.api.cluster.deadline import LATE
from crucible_batch.api.run_journal import is_begun
from crucible_batch.api.run_paths import plan_folder
from crucible_batch.atomic_files import TEMPORARY_PREFIX, replacing
from crucible_batch.cluster import QueuedShard
from crucible_batch.domain.credits import format_credits
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.domain.sharding import SHARDS_FOLDER, ShardId
from crucible_batch.errors import JournalError, RunDirectoryError, SavedPlanError
from crucible_batch.journal import Journal, copy_journal, lock_run_directory
from crucible_batch.outputs import RECEIPTS_FILE
from crucible_batch.report.html import PAGE_FILE
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)

PLAN_FILE = "plan.json"
MANIFEST_FILE = "manifest.yaml"
NEW_WAVE = "new"
"""The folder of a plan whose digest is not known yet: as deep as the final one, since a plan has relative paths."""
_OWN_FILES = frozenset({".crucible", "report.json", PAGE_FILE, "thumbnails", RECEIPTS_FILE})
_EPOCH = re.compile(r"\.e([1-9][0-9]{0,8})", re.ASCII)
_OWNER = re.compile(r"([0-9]{1,5})-of-[0-9]{1,5}\.e([1-9][0-9]{0,8})", re.ASCII)


def check_wave_folder(folder: Path, main: Path) -> None:
    """Check that the folder of a plan in a main run directory is there, on the machine of a worker.

    Raises ``SavedPlanError`` if it was deleted, so that no worker can run its shards, and ``RunDirectoryError`` if it
    is not on this machine. An unmounted file system has not even the folder in which the main run directory is.
    """
    if folder.is_dir():
        return
    if main.is_dir() or main.parent.is_dir():
        raise SavedPlanError(
            f"{folder} was deleted: {main.parent} is on this machine, and it is not there",
            hint="restore it from a backup, and run the manifest again; other runs are not affected",
        )
    raise RunDirectoryError(
        f"{folder} is not on this machine",
        hint="run workers where the run directory of the coordinator is, at the same path",
    )


def epoch_directory(folder: Path, shard: ShardId, epoch: int) -> Path:
    """Return the run directory of a shard for the owner with this epoch."""
    return folder / f"{shard.folder}.e{epoch}"


def newest_owner(folder: Path, number: int) -> int:
    """Return the highest epoch for which there is a directory of the shard, begun or not; 0 if there is none.

    Raises ``OSError`` if the folder can't be read.
    """
    found = (_OWNER.fullmatch(path.name) for path in folder.iterdir() if path.is_dir())
    return max((int(name[2]) for name in found if name is not None and int(name[1]) == number), default=0)


def check_no_later_owner(folder: Path, shard: ShardId, epoch: int) -> None:
    """Raise ``SavedPlanError`` if there is a directory of the shard with a later epoch: what it has is not taken over.

    Raises ``OSError`` if the folder can't be read.
    """
    if (newest := newest_owner(folder, shard.number)) <= epoch:
        return
    later = epoch_directory(folder, shard, newest)
    if is_begun(later):
        hint = "run the manifest again: that directory is merged, and the jobs that are left are divided again"
    else:
        hint = "nothing was bought in it: if no worker runs there, move it away; then run the manifest again"
    raise SavedPlanError(f"{later} has a later epoch than the newest claim of the shard, epoch {epoch}", hint=hint)


def newest_begun(folder: Path, shard: ShardId, *, up_to: int | None = None) -> Path | None:
    """Return the directory of the newest owner in which a run has begun; None if nothing was bought by any of them.

    Owners with an epoch above ``up_to`` don't count. Raises ``JournalError``, and ``OSError`` if the folder can't be
    read.
    """
    for epoch, path in sorted(_owners(folder, shard), reverse=True):
        if (up_to is None or epoch <= up_to) and path.is_dir() and is_begun(path):
            return path
    return None


def _owners(folder: Path, shard: ShardId) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir():
        if path.name.startswith(shard.folder) and (found := _EPOCH.fullmatch(path.name.removeprefix(shard.folder))):
            yield int(found[1]), path


def take_over(source: Path, target: Path) -> None:
    """Begin ``target`` as a copy of an earlier owner's directory, unless it has a journal already.

    So everything that the earlier owner is known to have bought, or may have bought, is known to the next one: it is
    collected or asked for under the same key, and counts against the allowance. Outputs are linked or copied; what is
    absent is downloaded again. Raises ``JournalError``, and ``OSError`` if the directory can't be written.
    """
    with lock_run_directory(target):
        if Journal.exists(target):
            return
        copy_journal_of(source, target)


def copy_journal_of(source: Path, target: Path) -> None:
    """Copy outputs and receipts, and then the journal: without it, the directory counts as not begun."""
    for base, folders, files in os.walk(source):
        place = Path(base)
        folders[:] = [name for name in folders if place != source or name not in _OWN_FILES]
        for name in files:
            if name.startswith(TEMPORARY_PREFIX) or (place == source and name in _OWN_FILES):
                continue
            _link(place / name, target / (place / name).relative_to(source))
    receipts = source / RECEIPTS_FILE
    if receipts.is_file() and not receipts.is_symlink():
        shutil.copyfile(receipts, target / RECEIPTS_FILE)
    copy_journal(source, target)


def _link(old: Path, new: Path) -> None:
    if old.is_symlink() or new.exists():
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except FileNotFoundError:
        return  # a partial file of an owner that is still alive
    except OSError:  # no links in this file system
        with old.open("rb") as source, replacing(new) as target:
            shutil.copyfileobj(source, target)


def check_plan_file(folder: Path, main: Path) -> None:
    """Raise ``JournalError`` if the plan of outstanding shards was deleted."""
    if not (folder / PLAN_FILE).is_file():
        raise JournalError(
            f"{folder / PLAN_FILE} is missing: credits of {main} are set aside for shards of this plan",
            hint=f"restore it from a backup; or, if no shard has run: crucible-batch merge {main} --abandon all",
        )


def publish_wave(main: Path, plan_digest: str, manifest: Path) -> Path:
    """Give the folder of a new plan its name, with the manifest in it, and return it. May be repeated.

    Raises ``JournalError`` if the plan is in neither folder: its shards are outstanding and can't be run.
    """
    folder, new = plan_folder(main, plan_digest), main / SHARDS_FOLDER / NEW_WAVE
    if not (folder / PLAN_FILE).is_file():
        if not (new / PLAN_FILE).is_file():
            check_plan_file(folder, main)
        with (new / MANIFEST_FILE).open("wb") as file:
            file.write(manifest.read_bytes())
        new.replace(folder)
    return folder


@dataclass(frozen=True, slots=True)
class ChosenDirectories:
    """The directories to merge, and the numbers of the shards without one."""

    directories: Sequence[Path]
    abandoned: Sequence[int]


def choose_directories(main: Path, plan: SavedPlan, rows: Sequence[QueuedShard]) -> ChosenDirectories:
    """Choose by the rows of a wave whose shards have ended. Blocking, since journals may be copied.

    Raises ``JournalError`` if the plan or what a shard has bought was deleted.
    """
    check_plan_file(plan.path.parent, main)
    found = {row.key.number: _directory(main, plan, row) for row in rows}
    return ChosenDirectories(
        [path for path in found.values() if path is not None],
        [number for number, path in found.items() if path is None],
    )


def what_may_be_spent(row: QueuedShard) -> str:
    """Return the end of the message about a shard whose journal was deleted."""
    spent, held = format_credits(row.figures.spent), format_credits(row.figures.held)
    known = f"{spent} credits are known to be spent, and up to {held} more may be"
    return f"and its worker may have bought something: {known}"


def _directory(main: Path, plan: SavedPlan, row: QueuedShard) -> Path | None:
    folder, shard = plan.path.parent, ShardId(row.key.number, len(plan.head.shards))
    own = epoch_directory(folder, shard, row.epoch)
    begun = newest_begun(folder, shard)
    if begun is not None and newest_begun(folder, shard, up_to=row.epoch) != begun:
        return begun  # its owner had a database that was lost: what it bought counts, whatever this one states
    if row.state is ShardState.WITHDRAWN:
        return None
    if begun is None and row.figures.may_have_bought:
        abandon = shell_command("merge", main, "--abandon", str(shard.number))
        raise JournalError(
            f"the directories of shard {shard} in {folder} were deleted, {what_may_be_spent(row)}",
            hint="restore them from a backup; or run the same command with a new database: the shard is run again, and"
            " finds the jobs that were bought as long as the gateway knows their keys; or return its allowance as if"
            f" nothing was spent: {abandon}",
        )
    if begun is None:
        if row.ending != LATE:
            logger.error("shard %s could not be run (%s): see the logs of the workers", shard, row.ending)
        return None
    if begun != own:
        take_over(begun, own)
    return own
