"""Divided plans are put among the objects of their run and its list of them, and brought from
there.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from crucible_batch.atomic_files import replacing
from crucible_batch.errors import RunDirectoryError, ShardsUnknownError
from crucible_batch.features.shards.directories import has_plans
from crucible_batch.manifest import Manifest
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectPort
from crucible_batch.runs.divided_plans import ListedPlan, add_to_list, read_list
from crucible_batch.runs.object_runs import objects_at
from crucible_batch.runs.paths import SHARDS, plan_folder, plan_key, state_directory_of
from crucible_batch.saved_plan import SavedPlan, read_saved_plan

MANIFEST_FILE = "manifest.yaml"
"""The name of the manifest beside a plan in a store."""


async def publish_plan(objects: ObjectPort, plan: SavedPlan) -> None:
    """List a divided plan, and put it into the store.

    In this order, so that no shard runs that isn't listed. May be repeated. Raises
    ``RunDirectoryError`` if all of its shards are merged: their logs may be deleted by now. Also
    raises as ``list_plan`` does, and ``RunDirectoryError`` if another object is there.
    """
    if (await list_plan(objects, plan.digest)).merged:
        raise RunDirectoryError(
            f"all shards of plan {plan.digest[:8]} are merged, and what was left of their"
            " allowances was returned",
            hint="make a new plan for the jobs that are left: crucible-batch plan MANIFEST",
        )
    content = await asyncio.to_thread(plan.path.read_bytes)
    await publish_bytes(objects, plan_key(plan.digest), content)


async def publish_bytes(objects: ObjectPort, key: str, content: bytes) -> None:
    """Create an object, or leave it if it has these bytes.

    Raises ``RunDirectoryError`` if it has others.
    """
    info = await objects.info(key)
    if info is not None and info.sha256 == hashlib.sha256(content).hexdigest():
        return
    if not await objects.create(key, content) and await objects.read(key) != content:
        raise RunDirectoryError(
            f"another object is at {objects.address(key)}",
            hint="move it away, then repeat the command",
        )


async def publish_manifest(objects: ObjectPort, digest: str, manifest: Manifest) -> None:
    """Put the manifest of a plan beside it, for machines that have neither. May be repeated."""
    await publish_bytes(objects, manifest_key(digest), await asyncio.to_thread(manifest.content))


def manifest_key(digest: str) -> str:
    return f"{SHARDS}/{digest[:8]}/{MANIFEST_FILE}"


async def list_plan(objects: ObjectPort, digest: str, *, after: int | None = None) -> ListedPlan:
    """List a plan, unless it is; return how it is listed.

    ``after`` is the last entry of the list that the budget of the plan takes into account; None: as
    it is now. Raises ``ShardsUnknownError`` if another plan is not merged, ``RunDirectoryError`` if
    one was divided after that entry or the list can't be read, and ``ObjectStoreError``.
    """
    while True:  # each round, another machine has added an entry
        listed = await read_list(objects)
        known = listed.of(digest)
        if known is not None:
            return known
        if listed.unmerged:
            raise ShardsUnknownError(objects.url, objects.address(plan_key(listed.unmerged[0])))
        if after is not None and listed.position != after:
            raise RunDirectoryError(
                f"{objects.url} was divided by another process at the same time; nothing was spent",
                hint="give the same command again",
            )
        plan = ListedPlan(digest)
        if await add_to_list(objects, listed.position, plan):
            return plan


@dataclass(frozen=True, slots=True)
class Listing:
    """The store, and the list's last entry before the budget of a new plan was known."""

    objects: ObjectPort
    after: int

    @classmethod
    async def of(cls, objects: ObjectPort) -> Listing:
        """Read the list. Raises ``RunDirectoryError`` and ``ObjectStoreError``."""
        return cls(objects, (await read_list(objects)).position)

    async def add(self, digest: str) -> None:
        """List a plan, as ``list_plan`` does."""
        await list_plan(self.objects, digest, after=self.after)


async def note_merged(objects: ObjectPort, digest: str) -> None:
    """List a plan as merged.

    May be repeated. Raises ``RunDirectoryError`` and ``ObjectStoreError``.
    """
    plan = ListedPlan(digest, merged=True)
    while True:
        listed = await read_list(objects)
        if plan in listed.plans or await add_to_list(objects, listed.position, plan):
            return


async def outstanding_plan(run: str | Path) -> tuple[ObjectPort, SavedPlan] | None:
    """Return the plan of a run that waits for its merge, and where its logs are; None without one.

    ``run`` is a run directory or its URL. Raises ``RunDirectoryError`` and ``ObjectStoreError``.
    """
    url = ObjectUrl.at(run)
    if url.directory is not None and not has_plans(url.directory):
        return None
    objects = objects_at(url)
    waiting = (await read_list(objects)).unmerged
    if not waiting:
        return None
    return objects, await fetch_plan(objects, waiting[0])


async def fetch_stored_plan(url: ObjectUrl, digest: str) -> SavedPlan:
    """Bring a plan and its manifest to this machine, unless they are here.

    Raises ``RunDirectoryError``, ``SavedPlanError``, ``ObjectStoreError`` and ``OSError``.
    """
    objects, folder = objects_at(url), brought_plan_folder(url, digest)
    await fetch_file(objects, manifest_key(digest), folder / MANIFEST_FILE)
    return await fetch_plan(objects, digest)


def brought_plan_folder(url: ObjectUrl, digest: str) -> Path:
    """Return the folder on this machine for a plan of a run, and for what its logs have."""
    return plan_folder(state_directory_of(url), digest)


async def fetch_plan(objects: ObjectPort, digest: str) -> SavedPlan:
    """Bring a plan to this machine, unless it is here.

    Raises ``RunDirectoryError``, ``SavedPlanError`` and ``OSError``.
    """
    target = brought_plan_folder(objects.url, digest) / "plan.json"
    await fetch_file(objects, plan_key(digest), target)
    plan = await asyncio.to_thread(read_saved_plan, target)
    if plan.digest != digest:
        raise RunDirectoryError(
            f"{target} is not the plan {digest[:8]} of {objects.url}",
            hint="move it away, then repeat the command",
        )
    return replace(plan, main=objects.url.directory)


async def fetch_file(objects: ObjectPort, key: str, target: Path) -> None:
    """Bring an object to a local file, unless that is there.

    Raises ``RunDirectoryError`` and ``OSError``.
    """
    if await asyncio.to_thread(target.is_file):
        return
    content = await objects.read(key)
    if content is None:
        raise RunDirectoryError(
            f"{objects.address(key)} is missing, and shards of it are not merged",
            hint="restore it, or run one of its shards with the plan's file, which stores the plan"
            " again",
        )
    await asyncio.to_thread(_write, target, content)


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        file.write(content)
