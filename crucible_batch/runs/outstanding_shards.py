"""Shards of a divided plan that are not merged yet: a run that doesn't know what they spend is
refused.

A run directory whose plan was divided has set its budget aside for the shards. This is known here,
and not only where plans are divided and shards are merged, so that no installation can ignore it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crucible_batch.core.sharding import SHARDS_FOLDER, OutstandingShards
from crucible_batch.errors import (
    JournalError,
    RunDirectoryError,
    ShardsOutstandingError,
    ShardsUnknownError,
)
from crucible_batch.journal import Journal
from crucible_batch.runs.run_journal import directory_outputs_url, is_begun, journal_of
from crucible_batch.runs.shard_notes import describe_shards, noted_in, noted_shard
from crucible_batch.shell_command import quoted, shell_command

SHARD_FOLDER = re.compile(r"[0-9]{1,5}-of-[0-9]{1,5}", re.ASCII)
"""The name of a shard's directory."""
_PLAN_FOLDER = re.compile(r"[0-9a-f]{8}", re.ASCII)


def refuse_if_divided(directory: Path) -> None:
    """Refuse a run of a manifest in a directory whose budget is set aside for shards, or which is
    that of a shard.

    Raises ``ShardsOutstandingError``, ``ShardsUnknownError`` if there are shards that the journal
    doesn't have, and ``RunDirectoryError`` for the directory of a shard.
    """
    outstanding = noted_in(directory)
    refuse_outstanding(outstanding, directory)
    refuse_unknown(outstanding, directory)
    refuse_directory_of_shard(directory)


def refuse_directory_of_shard(directory: Path) -> None:
    """Raise ``RunDirectoryError`` if a directory is that of a shard."""
    with journal_of(directory) as journal:
        if journal is None:
            return
        shard = noted_shard(journal)
    if shard is not None:
        raise RunDirectoryError(
            f"{directory} is the directory of shard {shard.shard} of a saved plan",
            hint="run the shard there, or choose another --out-dir",
        )


def waits_for_shards(directory: Path) -> bool:
    """Whether a run of the manifest is refused until shards are merged."""
    try:
        refuse_if_divided(directory)
    except (ShardsOutstandingError, ShardsUnknownError):
        return True
    except RunDirectoryError:
        return False
    return False


def refuse_outstanding(outstanding: OutstandingShards | None, directory: Path) -> None:
    """Raise ``ShardsOutstandingError`` if shards of a run directory were not merged: their
    allowances are set aside.
    """
    if outstanding is None or not outstanding.missing:
        return
    raise ShardsOutstandingError(directory, describe_shards(outstanding))


def refuse_unknown(outstanding: OutstandingShards | None, directory: Path) -> None:
    """Raise ``ShardsUnknownError`` if there are shards below a run directory that its journal
    doesn't have.

    Those of a run in an object store are left to ``refuse_unknown_plans``: they may have been
    merged elsewhere.
    """
    for path in unknown_shards(directory, outstanding):
        if directory_outputs_url(path) is None:
            raise ShardsUnknownError(directory, path)


def unknown_shards(main: Path, outstanding: OutstandingShards | None) -> list[Path]:
    """Return the directories of shards below ``main`` that have run, and are of a plan that it
    doesn't know.

    ``outstanding`` is the note of its journal. Raises ``RunDirectoryError`` for links, and
    ``JournalError``.
    """
    folder = main / SHARDS_FOLDER
    if not is_directory(folder):
        return []
    digests: set[str] = set()
    if outstanding is not None:
        digests = {digest[:8] for digest in outstanding.plans}
    listed = sorted(os.listdir(folder))  # noqa: PTH208 - names
    names = [name for name in listed if _PLAN_FOLDER.fullmatch(name) and name not in digests]
    plans = (folder / name for name in names if is_directory(folder / name))
    return [path for plan in plans for path in shards_in(plan) if _has_begun(path)]


def shards_in(folder: Path) -> Iterator[Path]:
    """Yield the directories of the shards in the folder of a plan.

    Raises ``RunDirectoryError`` for links.
    """
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names
        path = folder / name
        if SHARD_FOLDER.fullmatch(name) and is_directory(path) and Journal.exists(path):
            yield path


class ShardJournalError(JournalError):
    """The journal of a shard can't be merged: it is damaged, or doesn't fit to its plan. Names the
    directory.
    """


@contextmanager
def shard_errors(path: Path) -> Iterator[None]:
    """Report errors of a shard's journal with its directory, and what is possible for a shard."""
    try:
        yield
    except ShardJournalError:
        raise
    except JournalError as error:
        folder = SHARD_FOLDER.match(path.name)
        shard = "N/M"
        if folder is not None:
            shard = folder[0].replace("-of-", "/")
        raise ShardJournalError(
            f"the journal of the shard in {path} can't be read, so nothing was merged: "
            f"{error.message}",
            hint=(
                "restore it from a backup; or move its folder .crucible away and run the shard "
                "there again, which finds what was bought by the same keys: "
                f"{shell_command('run')} PLAN --shard {shard} --out-dir {quoted(path)}"
            ),
        ) from error


def _has_begun(shard: Path) -> bool:
    with shard_errors(shard):
        return is_begun(shard)


def is_directory(path: Path) -> bool:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISLNK(found.st_mode):
        raise RunDirectoryError(
            f"{path} is a symbolic link, which is not followed",
            hint="name the directories of the shards themselves",
        )
    return stat.S_ISDIR(found.st_mode)
