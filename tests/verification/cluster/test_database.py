"""What the database answers to coordinators and workers, also if it is asked twice or after a cut connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from decimal import Decimal

import psycopg
import pytest

from crucible_batch.cluster import ClusterAddress, ClusterRun, ShardFigures, ShardKey
from crucible_batch.cluster.connection import ClusterConnection
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.shard_lease import AllowanceAnswer, ClaimAnswer, FencedAnswer, ShardState
from crucible_batch.domain.sharding import PlannedShard
from crucible_batch.errors import ClusterSetupError

D = Decimal
DIGEST = "ab" * 32
RUN = ClusterRun("spring-1", "spring", "2026-11-28", "https://gateway.test", "/mnt/outputs/spring", D(100), D(0))
DONE = ShardFigures(D(7), D("0.5"), succeeded=3, failed=1, blocked=1)


def key(number: int = 1) -> ShardKey:
    return ShardKey(RUN.run, DIGEST, number)


def planned(*allowances: int) -> list[PlannedShard]:
    return [PlannedShard(number, 5, 4, D(amount)) for number, amount in enumerate(allowances, 1)]


async def with_shards(cluster: ClusterDatabase, *allowances: int) -> int:
    claim = await cluster.open_run(RUN)
    assert (await cluster.add_shards(RUN.run, claim.epoch, DIGEST, planned(*allowances))).answer == "accepted"
    return claim.epoch


async def test_a_shard_is_claimed_renewed_and_reported(cluster: ClusterDatabase) -> None:
    await with_shards(cluster, 10, 20)
    claimed = await cluster.claim_shard(key(), "w1")
    assert (claimed.answer, claimed.epoch, claimed.allowance) == (ClaimAnswer.CLAIMED, 1, 10)
    assert (claimed.location, claimed.gateway) == (RUN.location, RUN.gateway)
    assert (await cluster.claim_shard(key(), "w2")).answer is ClaimAnswer.HELD
    assert await cluster.renew_shard(key(), 1, ShardFigures(D(2), D(1), succeeded=1, pending=4)) == "accepted"
    (row, other) = await cluster.shards()
    assert (row.state, row.worker, row.epoch, row.figures.spent) == (ShardState.RUNNING, "w1", 1, 2)
    assert other.state is ShardState.WAITING
    assert (await cluster.runs())[0].left == 70
    assert await cluster.report_shard(key(), 1, "partial", DONE) is FencedAnswer.ACCEPTED
    assert (await cluster.runs())[0].left == D("72.5")
    assert await cluster.report_shard(key(), 1, "partial", DONE) is FencedAnswer.REPEATED
    assert (await cluster.runs())[0].left == D("72.5")
    (row, _) = await cluster.shards(RUN.run)
    assert (row.state, row.ending, row.figures) == (ShardState.ENDED, "partial", DONE)
    assert (await cluster.claim_shard(key(), "w2")).answer is ClaimAnswer.FINISHED


async def test_a_stale_shard_is_taken_over_and_the_zombie_is_refused(address: ClusterAddress) -> None:
    cluster = ClusterDatabase(ClusterConnection(address), lease_s=0.0)
    await with_shards(cluster, 10)
    zombie = await cluster.claim_shard(key(), "zombie")
    rescuer = await cluster.claim_shard(key(), "rescuer")
    assert (zombie.epoch, rescuer.epoch) == (1, 2)
    assert rescuer.allowance == 10
    assert (await cluster.runs())[0].set_aside == 10
    assert await cluster.renew_shard(key(), 1, DONE) is FencedAnswer.SUPERSEDED
    assert await cluster.release_shard(key(), 1, DONE) is FencedAnswer.SUPERSEDED
    assert await cluster.report_shard(key(), 1, "succeeded", DONE) is FencedAnswer.SUPERSEDED
    assert (await cluster.runs())[0].set_aside == 10
    assert await cluster.report_shard(key(), 2, "succeeded", DONE) is FencedAnswer.ACCEPTED
    assert await cluster.report_shard(key(), 1, "succeeded", DONE) is FencedAnswer.SUPERSEDED
    await cluster.close()


async def test_a_request_that_is_repeated_has_the_same_answer(cluster: ClusterDatabase) -> None:
    epoch = await with_shards(cluster, 10)
    again = await cluster.add_shards(RUN.run, epoch, DIGEST, planned(10))
    assert (again.answer, again.left) == (AllowanceAnswer.ACCEPTED, 90)
    assert (await cluster.claim_shard(key(), "w", "one")).epoch == 1
    assert (await cluster.claim_shard(key(), "w", "one")).epoch == 1
    assert await cluster.release_shard(key(), 1, DONE) is FencedAnswer.ACCEPTED
    assert await cluster.release_shard(key(), 1, DONE) is FencedAnswer.REPEATED
    assert (await cluster.claim_shard(key(), "w", "one")).epoch == 2
    assert (await cluster.claim_shard(ShardKey("other", DIGEST, 1), "w")).answer is ClaimAnswer.UNKNOWN
    assert await cluster.report_shard(ShardKey("other", DIGEST, 1), 1, "failed", DONE) is FencedAnswer.UNKNOWN


async def test_two_coordinators_do_not_share_a_run(cluster: ClusterDatabase, address: ClusterAddress) -> None:
    first = await cluster.open_run(RUN, "one")
    assert (first.answer, first.epoch, first.left) == ("claimed", 1, 100)
    assert (await cluster.open_run(RUN, "two")).answer == "held"
    assert (await cluster.open_run(RUN, "one")).epoch == 1
    assert (await cluster.open_run(replace(RUN, manifest="autumn"), "one")).answer == "conflict"
    impatient = ClusterDatabase(ClusterConnection(address), lease_s=0.0)
    second = await impatient.open_run(replace(RUN, budget=D(120)), "two")
    assert (second.answer, second.epoch, second.left) == ("claimed", 2, 120)
    await impatient.close()
    assert await cluster.renew_run(RUN.run, 1) is FencedAnswer.SUPERSEDED
    assert (await cluster.add_shards(RUN.run, 1, DIGEST, planned(10))).answer is AllowanceAnswer.SUPERSEDED
    assert (await cluster.settle_run(RUN.run, 1, D(0))).answer is AllowanceAnswer.SUPERSEDED
    assert (await cluster.withdraw_shards(RUN.run, 1, [])).answer is AllowanceAnswer.SUPERSEDED
    assert await cluster.renew_run(RUN.run, 2) is FencedAnswer.ACCEPTED
    assert await cluster.close_run(RUN.run, 2) is FencedAnswer.ACCEPTED
    assert await cluster.close_run(RUN.run, 2) is FencedAnswer.ACCEPTED
    third = await cluster.open_run(replace(RUN, used=D(12)), "three")
    assert (third.answer, third.left) == ("claimed", 88)


async def test_a_call_that_is_cancelled_leaves_a_usable_connection(address: ClusterAddress) -> None:
    connection = ClusterConnection(address)
    call = asyncio.ensure_future(connection.rows("SELECT pg_sleep(3)"))
    while not await _is_sleeping(address):
        await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.wait({call})
    assert call.cancelled()
    assert await connection.rows("SELECT 1 AS one") == [{"one": 1}]
    await connection.close()


async def _is_sleeping(address: ClusterAddress) -> bool:
    async with await psycopg.AsyncConnection.connect(address.dsn) as connection:
        found = await connection.execute(
            "SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
            " AND datname = current_database()"
        )
        return await found.fetchone() is not None


async def test_requests_at_the_same_moment_never_set_more_aside_than_the_budget(address: ClusterAddress) -> None:
    opening = await ClusterDatabase.opened(address)
    epoch = (await opening.open_run(RUN)).epoch
    each = [ClusterDatabase(ClusterConnection(address)) for _ in range(10)]
    digests = [f"{number:064x}" for number in range(10)]
    requests = (cluster.add_shards(RUN.run, epoch, d, planned(30)) for cluster, d in zip(each, digests, strict=True))
    answers = [result.answer for result in await asyncio.gather(*requests)]
    assert sorted(answers) == [AllowanceAnswer.ACCEPTED] * 3 + [AllowanceAnswer.OVER_BUDGET] * 7
    first = (await opening.shards())[0].key
    claims = await asyncio.gather(*(cluster.claim_shard(first, "w") for cluster in each))
    assert sorted(claim.answer for claim in claims) == ["claimed"] + ["held"] * 9
    for cluster in (opening, *each):
        await cluster.close()


async def test_a_draining_worker_takes_no_shard_and_is_told_so(cluster: ClusterDatabase) -> None:
    await with_shards(cluster, 10, 10)
    assert await cluster.see_worker("w1", "alpha", "1.0") is False
    assert await cluster.see_worker("w2", "beta", "1.0") is False
    await cluster.claim_shard(key(1), "w1")
    assert await cluster.drain(["alpha", "gamma"]) == [("w1", "alpha")]
    assert await cluster.see_worker("w1", "alpha", "1.0") is True
    assert await cluster.see_worker("w2", "beta", "1.0") is False
    assert (await cluster.claim_shard(key(2), "w1")).answer is ClaimAnswer.DRAINING
    assert await cluster.renew_shard(key(1), 1, DONE) is FencedAnswer.ACCEPTED
    assert (await cluster.claim_shard(key(2), "w2")).answer is ClaimAnswer.CLAIMED
    assert [(each.name, each.shards, each.draining_age_s is None) for each in await cluster.workers()] == [
        ("alpha", 1, False),
        ("beta", 1, True),
    ]
    assert len(await cluster.drain()) == 2
    await cluster.forget_worker("w1")
    assert [each.name for each in await cluster.workers()] == ["beta"]


async def test_the_turn_to_rescue_goes_to_one_worker(cluster: ClusterDatabase, address: ClusterAddress) -> None:
    await with_shards(cluster, 10, 10, 10)
    await cluster.claim_shard(key(2), "w")
    assert await cluster.take_rescue_turn() == [key(1), key(3)]
    assert await cluster.take_rescue_turn() == []
    assert await cluster.take_rescue_turn(0.0) == [key(1), key(3)]
    stale = ClusterDatabase(ClusterConnection(address), lease_s=0.0)
    assert await stale.take_rescue_turn(0.0) == [key(1), key(2), key(3)]
    await stale.close()


async def test_a_call_is_repeated_on_a_new_connection(cluster: ClusterDatabase, address: ClusterAddress) -> None:
    await with_shards(cluster, 10)
    for _ in range(3):
        with psycopg.connect(address.dsn, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert len(await cluster.shards()) == 1


async def test_the_server_ends_statements_and_transactions_that_take_too_long(address: ClusterAddress) -> None:
    connection = ClusterConnection(address)
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
        assert await connection.rows(f"SHOW {setting}") == [{setting: "5s"}]
    await connection.close()


@pytest.mark.parametrize(
    ("column", "value"), [("run", "a prompt of several words"), ("manifest", "x" * 301), ("plan_digest", "not hex")]
)
async def test_a_column_does_not_take_any_text(cluster: ClusterDatabase, column: str, value: str) -> None:
    """A prompt that a later change would put into a wrong column is refused by the database."""
    epoch = await with_shards(cluster, 10)
    if column == "plan_digest":
        request: Awaitable[object] = cluster.add_shards(RUN.run, epoch, value, planned(1))
    else:
        request = cluster.open_run(replace(RUN, **{"run": "other", column: value}))  # type: ignore[arg-type]
    with pytest.raises(ClusterSetupError, match="violates check constraint"):
        await request
