"""Planted bugs: each takes one rule out of the product. The judges have to find each, at least one
of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from crucible_batch.core.control import ControlCommand, ControlSource
from crucible_batch.core.saved_plan import ShardRow
from crucible_batch.engine import Clock
from crucible_batch.errors import ObjectStoreError
from crucible_batch.features.machines import coordinator
from crucible_batch.features.shards import run as shard_runs
from crucible_batch.features.shards import stored_plans
from crucible_batch.features.shards.command_log import StoredCommands
from crucible_batch.features.shards.shard_division import Divider, Division
from crucible_batch.features.shards.stored_merge import StoredShards
from crucible_batch.outputs import ObjectPort
from crucible_batch.runs import journal_log
from crucible_batch.runs.journal_log import (
    JournalEntry,
    JournalLog,
    LoggedJournal,
    LogState,
    LogTakenError,
)
from crucible_batch.saved_plan import SavedPlan

Plant = Callable[[ExitStack], None]
BUGS: dict[str, Plant] = {}
STORE_BUGS: dict[str, Plant] = {}
"""Those that a run on many machines can have."""


def _bug(plant: Plant) -> Plant:
    BUGS[_name(plant)] = STORE_BUGS[_name(plant)] = plant
    return plant


def _stored_bug(plant: Plant) -> Plant:
    STORE_BUGS[_name(plant)] = plant
    return plant


def _name(plant: Plant) -> str:
    return plant.__name__.strip("_").replace("_", " ")


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have one bug in the product for as long as the block lasts."""
    with ExitStack() as stack:
        {**BUGS, **STORE_BUGS, **ELSEWHERE}[name](stack)
        yield


def _set(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    stack.enter_context(patch.object(owner, name, value))


@_bug
def a_shard_has_the_budget_of_the_complete_run(stack: ExitStack) -> None:
    terms_of = shard_runs.shard_terms
    _set(
        stack,
        shard_runs,
        "shard_terms",
        lambda terms, plan, shard: replace(terms_of(terms, plan, shard), budget=terms.budget),
    )


@_bug
def allowances_that_are_more_than_the_budget(stack: ExitStack) -> None:
    divide = Divider.divide

    def doubled(self: Divider) -> Division:
        division = divide(self)
        shards = tuple(replace(each, allowance=2 * each.allowance) for each in division.shards)
        return replace(division, shards=shards)

    _set(stack, Divider, "divide", doubled)


@_bug
def a_shard_runs_the_jobs_of_the_next_one(stack: ExitStack) -> None:
    rows_of = SavedPlan.shard_rows

    def of_next(self: SavedPlan, number: int) -> Iterator[ShardRow]:
        return rows_of(self, number % len(self.head.shards) + 1)

    _set(stack, SavedPlan, "shard_rows", of_next)


# -- of logs, waves and commands in an object store


@_stored_bug
def it_is_sent_before_its_entry_exists(stack: ExitStack) -> None:
    _set(stack, journal_log, "is_before_purchase", lambda _event: False)


@_stored_bug
def a_lost_answer_is_taken_for_a_failure(stack: ExitStack) -> None:
    """The rows are added again under the next number."""
    create = JournalLog._created

    async def again(self: JournalLog, entry: JournalEntry) -> JournalEntry:
        try:
            return await create(self, entry)
        except ObjectStoreError:
            self.position += 1
            return await create(self, entry)

    _set(stack, JournalLog, "_created", again)


@_stored_bug
def a_shard_is_continued_without_a_part_of_its_log(stack: ExitStack) -> None:
    read = JournalLog.read

    async def in_part(self: JournalLog) -> LogState:
        state = await read(self)
        if state.may_be_running and len(state.entries) > 2:
            state = replace(state, entries=[state.entries[0], state.entries[-1]])
        return state

    _set(stack, JournalLog, "read", in_part)


@_stored_bug
def an_entry_is_added_after_those_of_another_process(stack: ExitStack) -> None:
    create = JournalLog._created

    async def beside(self: JournalLog, entry: JournalEntry) -> JournalEntry:
        while True:
            try:
                return await create(self, entry)
            except LogTakenError:
                self.position += 1

    _set(stack, JournalLog, "_created", beside)


@_stored_bug
def a_merge_does_not_close_the_logs(stack: ExitStack) -> None:
    _set(stack, StoredShards, "close", lambda _self, _choice: None)


class _Replacing:
    """A store in which an object is created although its name is taken."""

    def __init__(self, objects: ObjectPort) -> None:
        self._objects = objects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    async def create(self, key: str, content: bytes) -> bool:
        if not await self._objects.create(key, content):
            info = await self._objects.info(key)
            assert info is not None
            await self._objects.replace(key, content, info)
        return True


@_stored_bug
def a_plan_replaces_another_in_the_list(stack: ExitStack) -> None:
    add = stored_plans.add_to_list
    _set(
        stack,
        stored_plans,
        "add_to_list",
        lambda objects, position, plan: add(_Replacing(objects), position, plan),
    )


ELSEWHERE: dict[str, Plant] = {}
"""Bugs that tests of their own find: they need two commands, or a coordinator that is killed."""


def _found_elsewhere(plant: Plant) -> Plant:
    ELSEWHERE[_name(plant)] = plant
    return plant


@_found_elsewhere
def a_command_replaces_another(stack: ExitStack) -> None:
    add = StoredCommands.add

    async def added(self: StoredCommands, command: ControlCommand, source: ControlSource) -> int:
        replacing = StoredCommands(_Replacing(self.objects), self.plan, self.clock)
        return await add(replacing, command, source)

    _set(stack, StoredCommands, "add", added)


@_found_elsewhere
def the_store_is_not_told_of_a_merge(stack: ExitStack) -> None:
    async def nothing(_objects: ObjectPort, _digest: str) -> None:
        pass

    _set(stack, coordinator, "note_merged", nothing)


@_found_elsewhere
def a_tick_is_no_entry(stack: ExitStack) -> None:
    async def idle(self: LoggedJournal, clock: Clock) -> None:
        while True:
            await clock.sleep(journal_log.TICK_S)

    _set(stack, LoggedJournal, "keep", idle)


@_found_elsewhere
def a_shard_begins_without_watching(stack: ExitStack) -> None:
    """Wasteful and not unsafe: the log decides. So no judge objects, and it is measured."""

    async def at_once(*_given: object, **_named: object) -> None:
        pass

    _set(stack, shard_runs, "refuse_while_it_runs", at_once)
