"""The divided plans of a run, and which of them are not merged yet.

The list of them is what a machine without the run's journal knows of its shards: as long as one is
not merged, the budget may be spent by its shards. It consists of numbered objects:

    .crucible/shards/00000001.json   plan A was divided
    .crucible/shards/00000002.json   A is merged
    .crucible/shards/00000003.json   plan B was divided

Each is created only if no object has its number. So of two machines that divide the run at the same
moment, one gets the next number, and the other is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from crucible_batch.core.sharding import OutstandingShards
from crucible_batch.engine import Clock
from crucible_batch.errors import RunDirectoryError, ShardsUnknownError
from crucible_batch.journal import Binding, Journal
from crucible_batch.outputs import ObjectOutputStore, ObjectPort, OutputStore
from crucible_batch.runs.log_copy import restore_rows
from crucible_batch.runs.object_runs import claim_prefix, note_url, objects_of, restore_receipts
from crucible_batch.runs.outstanding_shards import unknown_shards
from crucible_batch.runs.paths import SHARDS, plan_key
from crucible_batch.runs.run_log import MainLog, read_log
from crucible_batch.runs.shard_notes import noted_in, noted_shards


@dataclass(frozen=True, slots=True)
class ListedPlan:
    """A divided plan of the run.

    ``merged``: the journal, report and receipts of the run have all of its shards.
    """

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # becomes part of a path
    merged: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    """One object of the list: a plan was divided, or is merged now."""

    plan: ListedPlan
    tool: str = "crucible-batch"
    version: int = 1


_ENTRY: TypeAdapter[_Entry] = TypeAdapter(_Entry)


@dataclass(frozen=True, slots=True)
class PlanList:
    """The divided plans, oldest first, and the number of the list's last entry."""

    plans: tuple[ListedPlan, ...]
    position: int

    def of(self, digest: str) -> ListedPlan | None:
        return next((plan for plan in self.plans if plan.digest == digest), None)

    @property
    def unmerged(self) -> tuple[str, ...]:
        """The digests of the plans whose shards may still spend credits."""
        return tuple(plan.digest for plan in self.plans if not plan.merged)


async def read_list(objects: ObjectPort) -> PlanList:
    """Read the divided plans of the run. Raises ``RunDirectoryError`` if an entry can't be read."""
    plans: dict[str, ListedPlan] = {}  # each in the place that it has
    for position in count(1):
        content = await objects.read(_entry_key(position))
        if content is None:
            break
        try:
            plan = _ENTRY.validate_json(content).plan
        except ValidationError as error:
            raise RunDirectoryError(
                f"{objects.address(_entry_key(position))} can't be read: "
                "which shards may spend credits of the budget is not known",
                hint="it was edited or is damaged: restore it; nothing was spent",
            ) from error
        plans[plan.digest] = plan
    return PlanList(tuple(plans.values()), position - 1)


def _entry_key(number: int) -> str:
    return f"{SHARDS}/{number:08}.json"


async def add_to_list(objects: ObjectPort, position: int, plan: ListedPlan) -> bool:
    """Add the entry after ``position``; return False if there is one."""
    return await objects.create(_entry_key(position + 1), _ENTRY.dump_json(_Entry(plan)))


async def refuse_unknown_plans(store: OutputStore, outstanding: OutstandingShards | None) -> None:
    """Raise ``ShardsUnknownError`` if the run has shards that aren't merged and that the journal
    doesn't know.

    ``outstanding`` is the note of the journal. Raises ``RunDirectoryError`` if a shard was run here
    that an object store doesn't list, and as ``read_list`` does.
    """
    objects = objects_of(store)
    listed = await read_list(objects)
    for digest in listed.unmerged:
        if outstanding is None or digest not in outstanding.plans:
            raise ShardsUnknownError(objects.url, objects.address(plan_key(digest)))
    if not isinstance(store, ObjectOutputStore):
        return
    digests = {plan.digest[:8] for plan in listed.plans}
    for path in unknown_shards(store.directory, outstanding):
        if path.parent.name not in digests:
            raise RunDirectoryError(
                f"{store.url} doesn't list the plan of {path}, which was run here: "
                "it is another store, or its objects were deleted",
                hint=(
                    "check the endpoint and the account, or that it is mounted, or restore the "
                    "objects; nothing was spent"
                ),
            )


@asynccontextmanager
async def claimed_journal(
    store: OutputStore, binding: Binding, clock: Clock
) -> AsyncIterator[tuple[Journal, MainLog | None]]:
    """Open the journal of a main run directory for writing, once the object store is known to be
    that of its run, with what its log there has more.

    Also yields the log; None if the run is in a directory. The caller holds the directory's lock.
    Raises as ``claim_prefix``, ``read_log`` and ``refuse_unknown_plans`` do.
    """
    await claim_prefix(store, binding)
    log = await read_log(store, binding, clock)
    is_to_be_restored = log is not None and log.state.position > 0
    if not is_to_be_restored:  # refused before anything is created here
        await refuse_unknown_plans(store, noted_in(store.directory))
    await restore_receipts(store)
    with Journal.open(store.directory, binding, now=clock.now()) as journal:
        if log is not None:
            log.has_restored = restore_rows(journal, log.state)
        if is_to_be_restored:
            await refuse_unknown_plans(store, noted_shards(journal))
        note_url(journal, store.url)
        yield journal, log
