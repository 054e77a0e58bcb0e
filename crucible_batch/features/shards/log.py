"""The logs of the shards of a divided plan, and how others follow them."""

from __future__ import annotations

from dataclasses import dataclass

from crucible_batch.core.run_options import FeatureOptions
from crucible_batch.core.sharding import ShardId
from crucible_batch.outputs import ObjectPort
from crucible_batch.runs.journal_log import JournalLog
from crucible_batch.runs.log_tail import LogTail
from crucible_batch.runs.paths import SHARDS


class ShardLog(JournalLog):
    """The log of one shard."""

    def __init__(self, objects: ObjectPort, plan: str, shard: ShardId) -> None:
        super().__init__(
            objects,
            prefix=f"{SHARDS}/{plan[:8]}/{shard.folder}",
            of={"plan": plan, "shard": str(shard)},
            name=f"shard {shard}",
        )
        self.plan = plan
        self.shard = shard


@dataclass(slots=True)
class ShardTail(LogTail):
    """The end of the log of one shard."""

    log: ShardLog


@dataclass(frozen=True, slots=True)
class WatchedLog(FeatureOptions):
    """The entry after which a log was silent for ``SILENT_S`` as others have seen it; 0: none."""

    position: int = 0
