"""Which directories of a wave's shards the coordinator merges.

shard                                     directory
withdrawn                                 none: nobody has claimed it
its last owner has begun                  that owner's
its last owner has not begun              a copy of that of the newest owner who has, since that one may be frozen
nobody has begun, and nothing was spent   none
nobody has begun, but credits were spent  refused: its directories were deleted, and its allowance can't be returned
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.api.cluster_deadline import LATE
from crucible_batch.api.cluster_places import check_plan_file, epoch_directory, newest_begun, take_over
from crucible_batch.cluster import QueuedShard
from crucible_batch.domain.credits import format_credits
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.domain.sharding import ShardId
from crucible_batch.errors import JournalError
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)


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


def _directory(main: Path, plan: SavedPlan, row: QueuedShard) -> Path | None:
    folder, shard = plan.path.parent, ShardId(row.key.number, len(plan.head.shards))
    if row.state is ShardState.WITHDRAWN:
        return None
    begun = newest_begun(folder, shard, up_to=row.epoch)
    if begun is None and row.figures.spent:
        abandon = shell_command("merge", main, "--abandon", str(shard.number))
        raise JournalError(
            f"the directories of shard {shard} in {folder} were deleted, and its worker has reported"
            f" {format_credits(row.figures.spent)} credits as spent",
            hint=f"restore them from a backup; or return its allowance as if nothing was spent: {abandon}",
        )
    if begun is None:
        if row.ending != LATE:
            logger.error("shard %s could not be run (%s): see the logs of the workers", shard, row.ending)
        return None
    own = epoch_directory(folder, shard, row.epoch)
    if begun != own:
        take_over(begun, own)
    return own
