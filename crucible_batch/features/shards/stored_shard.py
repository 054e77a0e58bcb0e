"""The start of a shard whose journal is a log beside its run's outputs."""

from __future__ import annotations

from crucible_batch.core.sharding import ShardId
from crucible_batch.errors import RunDirectoryError
from crucible_batch.features.shards.log import ShardLog
from crucible_batch.features.shards.stored_plans import publish_plan
from crucible_batch.journal import Binding
from crucible_batch.outputs import ObjectOutputStore, OutputStore
from crucible_batch.runs.journal_log import LogState
from crucible_batch.runs.object_runs import claim_prefix
from crucible_batch.saved_plan import SavedPlan


async def log_of_shard(
    store: OutputStore, plan: SavedPlan, shard: ShardId, binding: Binding
) -> ShardLog | None:
    """Return the log of a shard; None if its outputs are in a directory of its own.

    The plan is put into the store first, so that a merge finds it. Raises as ``claim_prefix`` and
    ``publish_plan`` do.
    """
    if not isinstance(store, ObjectOutputStore):
        return None
    await claim_prefix(store, binding, may_be_empty=True)
    await publish_plan(store.objects, plan)
    return ShardLog(store.objects, plan.digest, shard)


async def read_open(log: ShardLog) -> LogState:
    """Read the log of a shard that is to be run. Raises ``RunDirectoryError`` if it is closed."""
    state = await log.read()
    if state.closed:
        raise RunDirectoryError(
            f"shard {log.shard} of {log.objects.url} was {state.closed}, and its allowance was"
            " returned",
            hint="make a new plan for the jobs that are left: crucible-batch plan MANIFEST",
        )
    return state
