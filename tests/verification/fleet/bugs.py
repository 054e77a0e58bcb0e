"""Planted bugs: each takes one rule out of the product. The judges have to find each, at least one
of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from crucible_batch.core.saved_plan import ShardRow
from crucible_batch.features.shards.shard_division import Divider, Division
from crucible_batch.runs import running
from crucible_batch.saved_plan import SavedPlan

Plant = Callable[[ExitStack], None]
BUGS: dict[str, Plant] = {}


def _bug(plant: Plant) -> Plant:
    BUGS[plant.__name__.strip("_").replace("_", " ")] = plant
    return plant


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have one bug in the product for as long as the block lasts."""
    with ExitStack() as stack:
        BUGS[name](stack)
        yield


def _set(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    stack.enter_context(patch.object(owner, name, value))


@_bug
def a_shard_has_the_budget_of_the_complete_run(stack: ExitStack) -> None:
    terms_of = running.shard_terms
    _set(
        stack,
        running,
        "shard_terms",
        lambda terms, request: replace(terms_of(terms, request), budget=terms.budget),
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
