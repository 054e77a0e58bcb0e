"""What prune may delete in the directories of shards that are merged into the run directory above them.

An output counts as merged if the main journal has it, with the same bytes, for the same job. So nothing is deleted that
only an owner of a cluster's shard has, or a shard that was abandoned. Journals, reports and receipts stay, as those of
any run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.api.shard_directories import shard_folders
from crucible_batch.api.shard_note import noted_shard, noted_shards
from crucible_batch.api.status import jobs_with_past
from crucible_batch.domain.output_path import is_planned_path
from crucible_batch.domain.sharding import SHARDS_FOLDER
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.journal import Journal, lock_run_directory
from crucible_batch.outputs import delete_output, delete_page, size_of_output, size_of_page


@dataclass(frozen=True, slots=True)
class ShardOutput:
    """An output in the directory of a shard. ``byte_size`` is 0 if it is a link to the main directory's file."""

    directory: Path
    path: str
    sha256: str
    byte_size: int


def merged_shards(main: Path, journal: Journal) -> list[Path]:
    """Return the directories of the shards whose plans are merged completely. ``journal`` is that of ``main``."""
    shards = noted_shards(journal)
    if shards is None or shards.missing:
        return []
    return [path for digest in shards.plans for path in shard_folders(main / SHARDS_FOLDER / digest[:8])]


def size_of_merged(main: Path, journal: Journal) -> int:
    """Return the bytes that ``delete_merged`` would delete."""
    shards = merged_shards(main, journal)
    if not shards:
        return 0
    known = _known(journal)
    outputs = sum(output.byte_size for shard in shards for output in _merged_outputs(main, shard, known))
    return outputs + sum(map(size_of_page, shards))


def delete_merged(main: Path, journal: Journal) -> tuple[int, list[str]]:
    """Delete the merged outputs and the pages; return the bytes, and the files that have other bytes and were kept.

    A directory in which a run is active, or whose journal can't be read, is left alone. Raises ``OSError``.
    """
    deleted, kept = 0, list[str]()
    shards = merged_shards(main, journal)
    known = _known(journal) if shards else frozenset()
    for shard in shards:
        with contextlib.suppress(CrucibleBatchError), lock_run_directory(shard):
            for output in _merged_outputs(main, shard, known):
                found = delete_output(shard, output.path, output.sha256)
                deleted += output.byte_size if found.byte_size else 0
                kept += [str((shard / found.kept).relative_to(main))] if found.kept is not None else []
            deleted += delete_page(shard)
    return deleted, kept


def _known(journal: Journal) -> frozenset[tuple[str, str]]:
    """Return job and digest of each output that the main journal has."""
    return frozenset(
        (job.identity, saved.sha256)
        for _, job, _ in jobs_with_past(journal)
        for saved in {**job.missed, **job.outputs}.values()
    )


def _merged_outputs(main: Path, shard: Path, known: frozenset[tuple[str, str]]) -> Iterator[ShardOutput]:
    with contextlib.suppress(CrucibleBatchError), Journal.read(shard) as journal:
        if noted_shard(journal) is None or not journal.is_begun():
            return
        for planned, job, _ in jobs_with_past(journal):
            for saved in job.outputs.values():
                is_merged = (job.identity, saved.sha256) in known
                # A journal may have been edited: a path that differs from the plan may be another program's file.
                if is_merged and is_planned_path(planned.output, saved.index, saved.sha256, saved.path):
                    is_linked = _is_same(shard / saved.path, main / saved.path)
                    size = 0 if is_linked else size_of_output(shard, saved.path, saved.byte_size)
                    yield ShardOutput(shard, saved.path, saved.sha256, size)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
