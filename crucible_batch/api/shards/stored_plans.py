"""The divided plans of a run in an object store: where they are, and which of them are not merged yet.

The list of them is what a machine without the run's journal knows of its shards: as long as one is not merged, the
budget may be spent by its shards.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from crucible_batch.api.object_runs import claim_prefix, note_url, restore_receipts
from crucible_batch.api.shards.log import SHARDS
from crucible_batch.api.shards.note import noted_in
from crucible_batch.atomic_files import replacing
from crucible_batch.domain.sharding import OutstandingShards
from crucible_batch.errors import RunDirectoryError, ShardsUnknownError
from crucible_batch.journal import Binding, Journal
from crucible_batch.outputs import ObjectOutputStore, ObjectPort, OutputStore
from crucible_batch.saved_plan import SavedPlan, read_saved_plan

LIST: Final = ".crucible/shards.json"
_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class ListedPlan:
    """A divided plan of the run. ``merged``: the journal, report and receipts of the run have all of its shards."""

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # becomes part of a path
    merged: bool = False


@dataclass(frozen=True, slots=True)
class _PlanList:
    plans: tuple[ListedPlan, ...] = ()
    tool: str = "crucible-batch"
    version: int = 1


_LIST: TypeAdapter[_PlanList] = TypeAdapter(_PlanList)


def plan_key(digest: str) -> str:
    return f"{SHARDS}/{digest[:8]}/plan.json"


async def publish_plan(objects: ObjectPort, plan: SavedPlan) -> None:
    """List a divided plan, and put it into the store: in this order, so that no shard runs that isn't listed.

    May be repeated. Raises ``RunDirectoryError`` if all of its shards are merged: their logs may be deleted by now.
    Also raises ``RunDirectoryError`` if another object is there, and ``ObjectStoreError``.
    """
    if (await list_plan(objects, plan.digest)).merged:
        raise RunDirectoryError(
            f"all shards of plan {plan.digest[:8]} are merged, and what was left of their allowances was returned",
            hint="make a new plan for the jobs that are left: crucible-batch plan MANIFEST",
        )
    content = await asyncio.to_thread(plan.path.read_bytes)
    await publish_bytes(objects, plan_key(plan.digest), content)


async def publish_bytes(objects: ObjectPort, key: str, content: bytes) -> None:
    """Create an object, or leave it if it has these bytes. Raises ``RunDirectoryError`` if it has others."""
    info = await objects.info(key)
    if info is not None and info.sha256 == hashlib.sha256(content).hexdigest():
        return
    if not await objects.create(key, content) and await objects.read(key) != content:
        raise RunDirectoryError(
            f"another object is at {objects.address(key)}", hint="move it away, then repeat the command"
        )


async def list_plan(objects: ObjectPort, digest: str) -> ListedPlan:
    """List a plan, unless it is; return how it is listed. Raises ``RunDirectoryError`` and ``ObjectStoreError``."""
    return await _change(objects, ListedPlan(digest))


async def note_merged(objects: ObjectPort, digest: str) -> None:
    """List a plan as merged. Raises ``ObjectStoreError``."""
    await _change(objects, ListedPlan(digest, merged=True))


async def listed_plans(objects: ObjectPort) -> tuple[ListedPlan, ...]:
    """Return the divided plans of the run, oldest first. Raises ``RunDirectoryError`` if the list can't be read."""
    return _read(objects, await objects.read(LIST)).plans


async def refuse_unknown_plans(store: OutputStore, outstanding: OutstandingShards | None) -> None:
    """Raise ``ShardsUnknownError`` if the store has shards that aren't merged and that the local journal doesn't know.

    ``outstanding`` is the note of the journal. Does nothing for a directory.
    """
    if not isinstance(store, ObjectOutputStore):
        return
    known = () if outstanding is None else outstanding.plans
    for plan in await listed_plans(store.objects):
        if not plan.merged and plan.digest not in known:
            raise ShardsUnknownError(store.url, store.objects.address(plan_key(plan.digest)))


@asynccontextmanager
async def claimed_journal(store: OutputStore, binding: Binding, *, now: float) -> AsyncIterator[Journal]:
    """Open the journal of a main run directory for writing, once the object store is known to be that of its run.

    The caller holds the directory's lock. Raises as ``claim_prefix`` and ``refuse_unknown_plans`` do, and
    ``JournalError``.
    """
    await claim_prefix(store, binding)
    await refuse_unknown_plans(store, noted_in(store.directory))
    await restore_receipts(store)
    with Journal.open(store.directory, binding, now=now) as journal:
        note_url(journal, store)
        yield journal


async def fetch_plan(objects: ObjectPort, digest: str, target: Path) -> SavedPlan:
    """Bring a plan to a local file, unless it is there.

    Raises ``RunDirectoryError``, ``SavedPlanError`` and ``OSError``.
    """
    await fetch_file(objects, plan_key(digest), target)
    plan = await asyncio.to_thread(read_saved_plan, target)
    if plan.digest != digest:
        raise RunDirectoryError(
            f"{target} is not the plan {digest[:8]} of {objects.url}", hint="move it away, then repeat the command"
        )
    return plan


async def fetch_file(objects: ObjectPort, key: str, target: Path) -> None:
    """Bring an object to a local file, unless that is there. Raises ``RunDirectoryError`` and ``OSError``."""
    if await asyncio.to_thread(target.is_file):
        return
    content = await objects.read(key)
    if content is None:
        raise RunDirectoryError(
            f"{objects.address(key)} is missing, and shards of it are not merged",
            hint="restore it, or run one of its shards with the plan's file, which stores the plan again",
        )
    await asyncio.to_thread(_write, target, content)


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        file.write(content)


async def _change(objects: ObjectPort, changed: ListedPlan) -> ListedPlan:
    for _ in range(_TRIES):  # another machine may change the list at the same time
        info = await objects.info(LIST)
        found = _read(objects, await objects.read(LIST))
        known = next((plan for plan in found.plans if plan.digest == changed.digest), None)
        if known is not None and known.merged >= changed.merged:
            return known
        plans = {plan.digest: plan for plan in (*found.plans, changed)}  # each in the place that it has
        content = _LIST.dump_json(_PlanList(tuple(plans.values())), indent=2)
        is_changed = await (objects.create(LIST, content) if info is None else objects.replace(LIST, content, info))
        if is_changed:
            return changed
    raise RunDirectoryError(
        f"{objects.address(LIST)} is changed all the time by other processes", hint="repeat the command"
    )


def _read(objects: ObjectPort, content: bytes | None) -> _PlanList:
    try:
        return _PlanList() if content is None else _LIST.validate_json(content)
    except ValidationError as error:
        raise RunDirectoryError(
            f"{objects.address(LIST)} can't be read: which shards may spend credits of the budget is not known",
            hint="it was edited or is damaged: restore it; nothing was spent",
        ) from error
