"""One epoch's word counts, an allowance stays set aside until its shard ends, and it is returned once."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

from crucible_batch.domain.shard_lease import (
    LEASE_S,
    RENEW_S,
    AllowanceAnswer,
    ClaimAnswer,
    FencedAnswer,
    ShardState,
    is_stale,
)
from tests.case_table import each_case
from tests.lease_model import RunAllowances, ShardLease

D = Decimal
WAITING = ShardLease(D(10))
RUNNING = ShardLease(D(10), ShardState.RUNNING, 2, "a", 100.0)
RELEASED = replace(RUNNING, state=ShardState.WAITING)
ENDED = replace(RUNNING, state=ShardState.ENDED, spent=D(7), held=D(1))
MERGED = replace(ENDED, state=ShardState.MERGED)
WITHDRAWN = replace(WAITING, state=ShardState.WITHDRAWN)


@each_case(
    "lease, claim, now, answer, epoch",
    [
        (WAITING, "b", 100, "claimed", 1),
        (RELEASED, "b", 100, "claimed", 3),
        (RELEASED, "a", 100, "claimed", 3),  # it was released after the first answer
        (RUNNING, "b", 100 + LEASE_S - 0.1, "held", 2),
        (RUNNING, "b", 100 + LEASE_S, "claimed", 3),
        (RUNNING, "a", 101, "claimed", 2),  # the answer to the first try was lost
        (RUNNING, "a", 100 + LEASE_S, "claimed", 2),
        (ENDED, "b", 1000, "finished", 2),
        (ENDED, "a", 1000, "finished", 2),
        (MERGED, "b", 1000, "finished", 2),
        (WITHDRAWN, "b", 1000, "finished", 0),
    ],
)
def test_a_claim_raises_the_epoch_if_nobody_holds_the_shard(
    lease: ShardLease, claim: str, now: float, answer: str, epoch: int
) -> None:
    after, given = lease.claimed(claim, now)
    assert (given, after.epoch) == (ClaimAnswer(answer), epoch)
    if given is ClaimAnswer.CLAIMED:
        assert (after.state, after.claim, after.renewed_at) == (ShardState.RUNNING, claim, now)
        assert after.charge == lease.charge == D(10)  # not forgotten, and not granted twice
    else:
        assert after == lease


@each_case(
    "lease, epoch, renew, report, release",
    [
        (WAITING, 0, "superseded", "superseded", "superseded"),
        (RUNNING, 2, "accepted", "accepted", "accepted"),
        (RUNNING, 1, "superseded", "superseded", "superseded"),
        (RUNNING, 3, "superseded", "superseded", "superseded"),
        (RELEASED, 2, "superseded", "superseded", "repeated"),
        (RELEASED, 1, "superseded", "superseded", "superseded"),
        (ENDED, 2, "superseded", "repeated", "superseded"),
        (ENDED, 1, "superseded", "superseded", "superseded"),
        (MERGED, 2, "superseded", "repeated", "superseded"),
        (WITHDRAWN, 0, "superseded", "superseded", "superseded"),
    ],
)
def test_only_the_newest_epoch_of_a_running_shard_counts(
    lease: ShardLease, epoch: int, renew: str, report: str, release: str
) -> None:
    renewed, answer = lease.renewed(epoch, 500, D(3), D(2))
    assert answer is FencedAnswer(renew)
    assert renewed == (replace(lease, renewed_at=500, spent=D(3), held=D(2)) if answer.counts else lease)
    reported, answer = lease.reported(epoch, D(3), D(2))
    assert answer is FencedAnswer(report)
    done = answer is FencedAnswer.ACCEPTED
    assert reported == (replace(lease, state=ShardState.ENDED, spent=D(3), held=D(2)) if done else lease)
    released, answer = lease.released(epoch, D(3), D(2))
    assert answer is FencedAnswer(release)
    done = answer is FencedAnswer.ACCEPTED
    assert released == (replace(lease, state=ShardState.WAITING, spent=D(3), held=D(2)) if done else lease)
    if done:
        assert released.charge == lease.charge


@each_case(
    "lease, charge",
    [(WAITING, 10), (RUNNING, 10), (RELEASED, 10), (replace(RUNNING, spent=D(9), held=D(3)), 12), (ENDED, 8),
     (MERGED, 0), (WITHDRAWN, 0)],
)  # fmt: skip
def test_a_shard_is_charged_its_allowance_until_it_ends(lease: ShardLease, charge: int) -> None:
    assert lease.charge == charge


def test_three_renewals_are_lost_before_a_lease_is_stale() -> None:
    assert 3 * RENEW_S < LEASE_S
    assert not is_stale(100, 100 + 3 * RENEW_S)
    assert is_stale(100, 100 + LEASE_S)


def run_of(*shards: ShardLease, used: int = 0) -> RunAllowances:
    return RunAllowances(D(30), D(used), {("p", number): shard for number, shard in enumerate(shards, 1)})


@each_case(
    "run, wanted, answer, left",
    [
        (run_of(), {1: 10, 2: 20}, "accepted", 0),
        (run_of(), {1: 10, 2: 21}, "over_budget", 30),
        (run_of(used=5), {1: 25}, "accepted", 0),
        (run_of(used=5), {1: 26}, "over_budget", 25),
        (run_of(WAITING), {1: 10, 2: 20}, "accepted", 0),  # the same again
        (run_of(ENDED), {1: 10}, "accepted", 22),
        (run_of(WAITING), {1: 11}, "conflict", 20),
        (run_of(ENDED), {2: 22}, "accepted", 0),
        (run_of(ENDED), {2: 23}, "over_budget", 22),
        (run_of(MERGED, used=8), {2: 22}, "accepted", 0),
        (run_of(WITHDRAWN), {2: 30}, "accepted", 0),
        (run_of(RUNNING, RELEASED), {3: 10}, "accepted", 0),
        (run_of(used=31), {1: 0}, "accepted", 0),
        (run_of(used=31), {1: 1}, "over_budget", 0),
    ],
)
def test_allowances_are_set_aside_all_or_none(
    run: RunAllowances, wanted: dict[int, int], answer: str, left: int
) -> None:
    after, given = run.deferred("p", {number: D(amount) for number, amount in wanted.items()})
    assert (given, after.left) == (AllowanceAnswer(answer), left)
    assert (after == run) is (given is not AllowanceAnswer.ACCEPTED or set(run.shards) >= {("p", n) for n in wanted})


def test_a_merged_shard_is_part_of_what_the_run_has_used() -> None:
    run, answer = run_of(ENDED, WAITING).settled(D(8), [("p", 1)])
    assert (answer, run.left) == (AllowanceAnswer.ACCEPTED, 12)
    again, answer = run.settled(D(8), [("p", 1)])
    assert (answer, again) == (AllowanceAnswer.ACCEPTED, run)
    assert run.settled(D(9), [])[0].left == 11


@each_case("lease", [WAITING, RUNNING, RELEASED, WITHDRAWN])
def test_a_shard_without_a_report_is_not_merged(lease: ShardLease) -> None:
    run = run_of(lease)
    assert run.settled(D(0), [("p", 1)]) == (run, AllowanceAnswer.CONFLICT)
    assert run.settled(D(0), [("p", 9)]) == (run, AllowanceAnswer.CONFLICT)


@each_case("lease", [RUNNING, RELEASED, ENDED, MERGED])
def test_a_shard_that_was_ever_claimed_is_not_withdrawn(lease: ShardLease) -> None:
    run = run_of(WAITING, lease)
    assert run.withdrawn([("p", 1), ("p", 2)]) == (run, AllowanceAnswer.CONFLICT)


def test_a_shard_that_nobody_claimed_returns_its_allowance_once() -> None:
    run, answer = run_of(WAITING).withdrawn([("p", 1)])
    assert (answer, run.left) == (AllowanceAnswer.ACCEPTED, 30)
    assert run.withdrawn([("p", 1)]) == (run, AllowanceAnswer.ACCEPTED)
    assert run.shards["p", 1].claimed("z", 1000)[1] is ClaimAnswer.FINISHED


def test_a_run_that_is_ended_early_keeps_what_owners_have_spent_and_what_runs() -> None:
    """Only a shard that nobody ever claimed has certainly bought nothing."""
    run = run_of(WAITING, RELEASED, RUNNING, ENDED, MERGED).drained()
    states = [run.shards["p", number].state for number in range(1, 6)]
    assert states == ["withdrawn", "ended", "running", "ended", "merged"]
    assert run.shards["p", 1].charge == 0
    assert run.shards["p", 2].charge == RELEASED.allowance > RELEASED.spent + RELEASED.held
    assert run.shards["p", 3] == RUNNING
    assert run.drained() == run
    assert run.shards["p", 2].claimed("z", 1000)[1] is ClaimAnswer.FINISHED
    assert run.shards["p", 2].reported(RELEASED.epoch - 1, D(0), D(0))[1] is FencedAnswer.SUPERSEDED


@each_case("seed", range(40))
def test_in_any_history_the_budget_covers_what_every_worker_may_spend(seed: int) -> None:
    """Workers never spend more than their allowance; two on one shard find each other's jobs under the same keys."""
    rng = random.Random(seed)
    run, now, number = RunAllowances(D(100)), 0.0, 0
    bought: dict[int, int] = {}  # by shard: what the gateway charged
    claims: list[tuple[int, int]] = []  # shard and epoch, of owners that may be zombies
    ended: dict[int, int] = {}
    for step in range(300):
        now += rng.choice((0, 1, LEASE_S / 2, LEASE_S))
        match rng.randrange(7):
            case 0:
                number += 1
                wanted = D(rng.randint(0, 40))
                run, answer = run.deferred("p", {number: wanted})
                assert (answer is AllowanceAnswer.ACCEPTED) == (number in {n for _, n in run.shards})
            case 1 if run.shards:
                key = rng.choice(sorted(run.shards))
                lease, answer = run.shards[key].claimed(f"c{step}", now)
                run = replace(run, shards={**run.shards, key: lease})
                if answer is ClaimAnswer.CLAIMED:
                    assert (key[1], lease.epoch) not in claims
                    claims.append((key[1], lease.epoch))
            case 2 if claims:  # an owner buys: a zombie too
                shard, _ = rng.choice(claims)
                if shard not in ended:
                    limit = int(run.shards["p", shard].allowance)
                    bought[shard] = min(limit, bought.get(shard, 0) + rng.randint(0, 10))
            case 3 if claims:
                shard, epoch = rng.choice(claims)
                lease, fenced = run.shards["p", shard].reported(epoch, D(bought.get(shard, 0)), D(0))
                run = replace(run, shards={**run.shards, ("p", shard): lease})
                if fenced is FencedAnswer.ACCEPTED:
                    assert shard not in ended
                    assert epoch == max(e for s, e in claims if s == shard)
                    ended[shard] = bought.get(shard, 0)
            case 4 if claims:
                shard, epoch = rng.choice(claims)
                lease, _ = run.shards["p", shard].released(epoch, D(0), D(0))
                run = replace(run, shards={**run.shards, ("p", shard): lease})
            case 5 if ended:
                done = [("p", shard) for shard in ended if rng.random() < 0.5]
                merged = {s for (_, s), lease in run.shards.items() if lease.state is ShardState.MERGED}
                used = D(sum(ended[s] for s in merged | {s for _, s in done}))
                run, answer = run.settled(used, done)
                assert answer is AllowanceAnswer.ACCEPTED
            case 6 if rng.random() < 0.05:  # an operator ends the run early: only unclaimed shards return anything
                run = run.drained()
        owned = {s: lease for (_, s), lease in run.shards.items() if lease.state is not ShardState.WITHDRAWN}
        assert owned.keys() >= set(bought)
        at_risk = sum(int(lease.allowance) for s, lease in owned.items() if s not in ended)
        assert at_risk + sum(ended.values()) <= 100
        assert run.left == 100 - at_risk - sum(ended.values())  # nothing is stranded either
