"""Planted bugs: each takes one rule out of the product. The judges have to find each, at least one of the two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from crucible_batch.api.cluster import directories as cluster_places
from crucible_batch.api.cluster import worker as cluster_worker
from crucible_batch.api.cluster.claimed_shard import ShardClaim
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.shard_lease import ClaimAnswer, FencedAnswer, ShardState
from tests import lease_model
from tests.lease_model import RunAllowances, ShardLease
from tests.verification.fleet import database

Plant = Callable[[ExitStack], None]
WITH_TAKEOVERS = (23, 7, 20, 3, 29, 36, 21, 14, 27, 34, 37, 10, 25, 6)
"""In most of these seeds a shard has several owners."""
WITH_LATE_RELEASES = (205, 213)
"""In these seeds workers return shards that have new owners already."""
BUGS: dict[str, Plant] = {}
_CLAIMED, _RENEWED, _REPORTED, _RELEASED = (
    ShardLease.claimed,
    ShardLease.renewed,
    ShardLease.reported,
    ShardLease.released,
)


def _bug(plant: Plant) -> Plant:
    BUGS[plant.__name__.strip("_").replace("_", " ")] = plant
    return plant


def seeds_of(bug: str) -> tuple[int, ...]:
    """Return the seeds of which one has to show a bug."""
    return WITH_LATE_RELEASES if bug == "a release without a fence" else WITH_TAKEOVERS


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have one bug in the product for as long as the block lasts."""
    with ExitStack() as stack:
        BUGS[name](stack)
        yield


def _set(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    stack.enter_context(patch.object(owner, name, value))


# -- leases -----------------------------------------------------------------------------------------------------------


@_bug
def no_epoch(stack: ExitStack) -> None:
    def claimed(self: ShardLease, claim: str, now: float, lease_s: float) -> tuple[ShardLease, ClaimAnswer]:
        after, answer = _CLAIMED(self, claim, now, lease_s)
        return replace(after, epoch=1), answer

    _set(stack, ShardLease, "claimed", claimed)


@_bug
def a_report_without_a_fence(stack: ExitStack) -> None:
    _set(stack, ShardLease, "reported", lambda self, _epoch, *figures: _REPORTED(self, self.epoch, *figures))


@_bug
def a_renewal_without_a_fence(stack: ExitStack) -> None:
    _set(stack, ShardLease, "renewed", lambda self, _epoch, *figures: _RENEWED(self, self.epoch, *figures))


@_bug
def a_release_without_a_fence(stack: ExitStack) -> None:
    _set(stack, ShardLease, "released", lambda self, _epoch, *figures: _RELEASED(self, self.epoch, *figures))


@_bug
def an_owner_that_stops_reports_an_end(stack: ExitStack) -> None:
    """A worker that is asked to stop reports the shard instead of releasing it. The next wave buys what is left."""

    async def release(self: ShardClaim) -> None:
        await self._report("succeeded")

    _set(stack, ShardClaim, "_release", release)


@_bug
def a_lease_that_never_ends(stack: ExitStack) -> None:
    for module in (lease_model, database):
        _set(stack, module, "is_stale", lambda *_: False)


@_bug
def a_valid_lease_is_taken(stack: ExitStack) -> None:
    for module in (lease_model, database):
        _set(stack, module, "is_stale", lambda renewed_at, now, _lease_s=15.0: now - renewed_at >= 3.0)


@_bug
def shards_without_an_owner_are_not_queued_again(stack: ExitStack) -> None:
    async def keep_rescuing(*_: Any, **__: Any) -> None:
        return

    _set(stack, cluster_worker, "keep_rescuing", keep_rescuing)


# -- allowances -------------------------------------------------------------------------------------------------------


@_bug
def an_allowance_returned_twice(stack: ExitStack) -> None:
    left = RunAllowances.left.fget  # type: ignore[attr-defined]

    def more(self: RunAllowances) -> Credits:
        ended = [each for each in self.shards.values() if each.state is ShardState.ENDED]
        return left(self) + sum((each.allowance - each.spent for each in ended), ZERO)

    _set(stack, RunAllowances, "left", property(more))


@_bug
def an_allowance_returned_while_its_shard_runs(stack: ExitStack) -> None:
    charge = ShardLease.charge.fget  # type: ignore[attr-defined]

    def less(self: ShardLease) -> Credits:
        return self.spent if self.state is ShardState.RUNNING else charge(self)

    _set(stack, ShardLease, "charge", property(less))


@_bug
def an_allowance_forgotten_at_takeover(stack: ExitStack) -> None:
    def claimed(self: ShardLease, claim: str, now: float, lease_s: float) -> tuple[ShardLease, ClaimAnswer]:
        after, answer = _CLAIMED(self, claim, now, lease_s)
        return (replace(after, allowance=ZERO) if after.epoch > max(1, self.epoch) else after), answer

    _set(stack, ShardLease, "claimed", claimed)


@_bug
def an_allowance_forgotten_at_a_release(stack: ExitStack) -> None:
    def released(self: ShardLease, *arguments: Any) -> tuple[ShardLease, FencedAnswer]:
        after, answer = _RELEASED(self, *arguments)
        return (replace(after, allowance=ZERO) if answer is FencedAnswer.ACCEPTED else after), answer

    _set(stack, ShardLease, "released", released)


# -- directories ------------------------------------------------------------------------------------------------------


@_bug
def the_first_owner_is_merged_and_not_the_last(stack: ExitStack) -> None:
    directory = cluster_places._directory

    def first(main: Path, plan: Any, row: Any) -> Path | None:
        return directory(main, plan, replace(row, epoch=min(row.epoch, 1)))

    _set(stack, cluster_places, "_directory", first)
