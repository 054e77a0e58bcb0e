"""The database follows the rules of ``domain/shard_lease.py`` in random histories, and a planted bug is noticed."""

# ruff: noqa: E501 - a bug is a line

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from crucible_batch.cluster import ClusterAddress
from crucible_batch.cluster.connection import ClusterConnection
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.cluster.schema import MIGRATIONS
from tests.lease_model import ShardLease
from tests.slow_cases import quick_where
from tests.verification.cluster.histories import LEASE_S, Different, History

SQL = "\n".join(each.statements for each in MIGRATIONS)

# Each bug: the function, the text of it, and what replaces it.
BUGS = {
    "a report without a fence": ("report_shard_v1", "AND s.state = 'running' AND s.epoch = p_epoch", "AND s.state = 'running'"),
    "a renewal without a fence": ("renew_shard_v1", "AND s.epoch = p_epoch", ""),
    "a release without a fence": ("release_shard_v1", "AND s.epoch = p_epoch", ""),
    "no epoch": ("claim_shard_v1", "present.epoch + 1", "greatest(present.epoch, 1)"),
    "a second report counts": ("report_shard_v1", "AND s.state = 'running' AND", "AND s.state IN ('running', 'ended') AND"),
    "a merged shard is reported again": ("report_shard_v1", "AND s.state = 'running' AND", "AND s.state <> 'waiting' AND"),
    "a repeated claim is a new one": ("claim_shard_v1", "present.claim = p_claim", "false"),
    "a live lease is taken": ("claim_shard_v1", "present.renewed_at > clock_timestamp()", "present.renewed_at > 'infinity'::timestamptz"),
    "a stale lease is not taken": ("claim_shard_v1", "make_interval(secs => p_lease_s)", "make_interval(secs => 1e9)"),
    "an ended shard is claimed": ("claim_shard_v1", "NOT IN ('waiting', 'running')", "IN ('merged', 'withdrawn')"),
    "a withdrawn shard is claimed": ("claim_shard_v1", "NOT IN ('waiting', 'running')", "IN ('merged', 'ended')"),
    "the allowance is returned while the shard runs": ("charge_v1", "IN ('waiting', 'running') THEN", "= 'waiting' THEN"),
    "the allowance is forgotten at takeover": (
        "claim_shard_v1", "SET state = 'running', epoch", "SET allowance = CASE WHEN s.epoch > 0 THEN 0 ELSE s.allowance END, state = 'running', epoch",
    ),
    "the allowance is forgotten at a release": ("release_shard_v1", "SET state = 'waiting'", "SET allowance = 0, state = 'waiting'"),
    "an allowance is returned twice": (
        "report_shard_v1", "    IF FOUND THEN", "    IF FOUND THEN\n UPDATE runs r SET used = greatest(0, r.used - p_spent) WHERE r.run = p_run;",
    ),
    "a merged shard is counted twice": ("charge_v1", "p_shard.state = 'ended'", "p_shard.state IN ('ended', 'merged')"),
    "what is held is returned": ("charge_v1", "'ended' THEN p_shard.spent + p_shard.held", "'ended' THEN p_shard.spent"),
    "more than the allowance is not charged": ("charge_v1", "greatest(p_shard.allowance, p_shard.spent + p_shard.held)", "p_shard.allowance"),
    "allowances beyond the budget": ("add_shards_v1", "IF wanted > left_v1(p_run) THEN", "IF wanted > 2 * left_v1(p_run) THEN"),
    "a shard is deferred with another allowance": ("add_shards_v1", "s.allowance <> g.allowance", "s.allowance < 0"),
    "a known shard is set aside again": ("add_shards_v1", "s.plan_digest = p_digest AND s.number = g.number", "s.number < 0"),
    "a claimed shard is withdrawn": ("withdraw_shards_v1", "s.state = 'waiting' AND s.epoch = 0", "s.state = 'waiting'"),
    "a running shard is drained": ("drain_run_v1", "s.state = 'waiting' RETURNING", "s.state IN ('waiting', 'running') RETURNING"),
    "a shard that had an owner is withdrawn": ("drain_run_v1", "CASE s.epoch WHEN 0 THEN 'withdrawn' ELSE 'ended' END", "'withdrawn'"),
    "what a released shard may have spent is returned": ("drain_run_v1", "greatest(s.held, s.allowance - s.spent)", "s.held"),
    "shards of other runs are drained": ("drain_run_v1", "WHERE s.run = p_run AND s.state = 'waiting'", "WHERE s.state = 'waiting'"),
    "a running shard is merged": ("settle_run_v1", "IN ('ended', 'merged') FOR", "IN ('running', 'ended', 'merged') FOR"),
    "a stale shard is not rescued": ("take_rescue_turn_v1", "OR (s.state = 'running' AND", "OR (s.state = 'stale' AND"),
    "a live shard is rescued": ("take_rescue_turn_v1", "s.renewed_at <= clock_timestamp()", "s.renewed_at <= 'infinity'::timestamptz"),
}  # fmt: skip


def function_text(name: str) -> str:
    """Return the text that creates a function."""
    start = SQL.index(f"CREATE FUNCTION {name}(")
    return SQL[start : SQL.index("\n$$;", start) + 4]


@asynccontextmanager
async def opened(address: ClusterAddress) -> AsyncIterator[tuple[ClusterDatabase, ClusterConnection]]:
    connection = ClusterConnection(address)
    try:
        yield ClusterDatabase(connection, lease_s=LEASE_S), connection
    finally:
        await connection.close()


async def play(address: ClusterAddress, seeds: Sequence[int], steps: int, rules: type[ShardLease] = ShardLease) -> None:
    async with opened(address) as (cluster, connection):
        for seed in seeds:
            await History(cluster, connection, seed, rules).play(steps)


@pytest.mark.parametrize("seeds", [range(4), range(4, 8)], ids=str)
async def test_the_database_follows_the_rules(address: ClusterAddress, seeds: Sequence[int]) -> None:
    await play(address, seeds, 120)


QUICK = (
    "no epoch", "a report without a fence", "an allowance is returned twice", "the allowance is forgotten at takeover",
)  # fmt: skip


@pytest.mark.parametrize("bug", quick_where(BUGS, QUICK.__contains__))
async def test_a_bug_in_the_database_is_noticed(address: ClusterAddress, bug: str) -> None:
    name, old, new = BUGS[bug]
    text = function_text(name)
    assert old in text
    async with opened(address) as (_, connection):
        await connection.rows(text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace(old, new))
    with pytest.raises(Different):
        await play(address, range(100, 130), 120)
