"""A wave of a cluster whose run is in an object store: the plan and the manifest there, and the workers' directories.

    .crucible/shards/0a1b2c3d/plan.json, manifest.yaml    in the store, put there by the coordinator
    shards/URL/0a1b2c3d/3-of-8.e2                         in the worker's state directory: shard 3, of its second owner

Each owner makes its journal of the shard's log, so that nothing is copied from the one before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from crucible_batch.api.cluster.deadline import LATE
from crucible_batch.api.cluster.directories import MANIFEST_FILE, PLAN_FILE, what_may_be_spent
from crucible_batch.api.object_runs import in_thread, open_store
from crucible_batch.api.run_journal import is_begun
from crucible_batch.api.run_paths import plan_folder, plan_outputs_url, shards_directory_of
from crucible_batch.api.shards.merging import MergeResult, merge
from crucible_batch.api.shards.stored_merge import bring_shards
from crucible_batch.api.shards.stored_plans import fetch_file, fetch_plan, manifest_key, publish_bytes, publish_plan
from crucible_batch.cluster import QueuedShard
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.domain.sharding import ShardId
from crucible_batch.engine import SystemClock
from crucible_batch.errors import JournalError, SavedPlanError
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectOutputStore
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.settings import Settings
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)


async def publish_stored_wave(main: Path, url: ObjectUrl, plan: SavedPlan) -> None:
    """Put the plan of a wave and its manifest into the store, where workers read them. May be repeated.

    Raises ``RunDirectoryError`` and ``ObjectStoreError``.
    """
    objects = _store(main, url).objects
    manifest = await asyncio.to_thread((plan.path.parent / MANIFEST_FILE).read_bytes)
    await publish_bytes(objects, manifest_key(plan.digest), manifest)
    await publish_plan(objects, plan)


def fetch_stored_wave(url: ObjectUrl, digest: str) -> SavedPlan:
    """Bring the plan of a wave and its manifest to this machine. Blocking.

    Raises ``RunDirectoryError``, ``SavedPlanError`` and ``ObjectStoreError``.
    """
    folder = shards_directory_of(url) / digest[:8]
    objects = _store(folder, url).objects

    async def fetch() -> SavedPlan:
        await fetch_file(objects, manifest_key(digest), folder / MANIFEST_FILE)
        return await fetch_plan(objects, digest, folder / PLAN_FILE)

    plan = in_thread(fetch())
    planned = plan_outputs_url(plan)
    if planned != url:
        raise SavedPlanError(
            f"{plan.path} is of a run in {planned or plan.head.options.run_dir}, and was queued in {url}",
            hint="saved plans can't be edited; start the run again",
        )
    return plan


def merge_stored_wave(
    main: Path,
    plan: SavedPlan,
    rows: Sequence[QueuedShard],
    *,
    reason: ErrorInfo | None,
    html: bool,
    settings: Settings,
) -> MergeResult:
    """Merge the shards whose logs have a run. The others bought nothing, and their logs are closed as well. Blocking.

    ``rows`` are the shards, as the database has them, and ``reason`` is why some have not run, if that is known. Raises
    as ``merge`` does, and ``JournalError`` if a shard without a log may have bought something.
    """
    url = plan_outputs_url(plan)
    assert url is not None
    bring_shards(main, url, now=SystemClock().now())
    abandoned = [shard.number for shard in plan.head.shards if not _is_begun(main, plan, shard.number)]
    for row in (row for row in rows if row.key.number in abandoned):
        shard = ShardId(row.key.number, len(plan.head.shards))
        if row.figures.may_have_bought:
            raise JournalError(
                f"the log of shard {shard} in {url} was deleted, {what_may_be_spent(row)}",
                hint="restore its objects; or return its allowance as if nothing was spent:"
                f" {shell_command('merge', str(url), '--abandon', str(shard.number))}",
            )
        if row.state is not ShardState.WITHDRAWN and row.ending != LATE:
            logger.error("shard %d of %d could not be run: see the logs of the workers", shard.number, shard.count)
    return merge([main], abandon=abandoned, reason=reason, html=html, settings=settings, unfinished=True)


def _is_begun(main: Path, plan: SavedPlan, number: int) -> bool:
    return is_begun(plan_folder(main, plan.digest) / ShardId(number, len(plan.head.shards)).folder)


def _store(directory: Path, url: ObjectUrl) -> ObjectOutputStore:
    store = open_store(directory, url)
    assert isinstance(store, ObjectOutputStore)
    return store
