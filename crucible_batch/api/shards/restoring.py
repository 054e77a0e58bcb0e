"""The journal of a main run directory, restored from those of its shards after it was lost.

A merge restores what the shards know: their jobs, with all that was bought for them. What the main run directory had
bought before is in its ``receipts.jsonl``, from which the next run of the manifest restores it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from crucible_batch.api.shards.directories import ShardDirectory, ShardJournalError, shard_errors
from crucible_batch.api.shards.divided_plan import is_untouched
from crucible_batch.domain.credits import ZERO
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.sharding import OutstandingShards
from crucible_batch.journal import Journal, PlanFile


def restored_shards(shards: Sequence[ShardDirectory], before: OutstandingShards | None) -> OutstandingShards:
    """Return the shards of a plan that the main journal doesn't know. ``before`` is what it knows.

    The allowances of shards without a directory are lost: they can be abandoned, or run and merged.
    """
    allowances = dict.fromkeys(range(1, shards[0].found.shard.count + 1), ZERO)
    allowances |= {shard.number: shard.terms.budget or ZERO for shard in shards if shard.number in allowances}
    earlier = () if before is None else before.plans
    return OutstandingShards(shards[0].found.plan_digest, allowances, earlier=earlier)


def adopt_jobs(journal: Journal, shards: Sequence[ShardDirectory]) -> None:
    """Add the jobs of shards to the plan of a main journal, and the fingerprint of their key unless it has one.

    Raises ``ShardJournalError`` if the main journal has events of one of the jobs: they would count twice.
    """
    for shard in shards:
        _refuse_twice_bought(journal, shard)
    with PlanFile.temporary() as plan:
        plan.fill(_united(journal, shards))
        journal.adopt(plan)
    with shard_errors(shards[0].path), Journal.read(shards[0].path) as first:
        key = first.remembered_key()
    if key is not None and journal.remembered_key() is None:
        journal.remember_key(key)


def _refuse_twice_bought(journal: Journal, shard: ShardDirectory) -> None:
    rule = shard.terms.rule
    with shard_errors(shard.path), Journal.read(shard.path) as theirs:
        for planned, job in theirs.started_jobs(rule):
            if not is_untouched(job) and not is_untouched(journal.job(planned, rule)):
                raise ShardJournalError(
                    f"the main run directory has bought job {planned.name!r} as well as the shard in {shard.path}, and"
                    " its journal doesn't know the shard; nothing was merged",
                    hint="restore the newest backup of the main run directory's journal",
                )


def _united(journal: Journal, shards: Sequence[ShardDirectory]) -> Iterator[PlannedJob]:
    """Yield the jobs of the plan and of the shards, each once. A place that is taken is changed: only order is lost."""
    known: set[str] = set()
    places: set[int] = set()
    last = max((planned.position for planned in chain(journal.plan(), _jobs_of(shards))), default=0)
    for planned in journal.plan():
        known.add(planned.identity)
        places.add(planned.position)
        yield planned
    for shard in shards:
        for planned in _jobs_of([shard]):
            if planned.identity in known:
                continue
            known.add(planned.identity)
            if planned.position in places:
                last += 1
                planned = replace(planned, position=last)  # noqa: PLW2901 - the same job at another place
            places.add(planned.position)
            yield planned


def _jobs_of(shards: Sequence[ShardDirectory]) -> Iterator[PlannedJob]:
    for shard in shards:
        with shard_errors(shard.path), Journal.read(shard.path) as journal:
            yield from journal.plan()
