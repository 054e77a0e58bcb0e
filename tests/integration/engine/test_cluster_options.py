"""A run on a cluster takes the options of a run on one machine: notifications, deadline, failed jobs, cleanup, display.

The judge is the sandbox's ledger. With PostgreSQL and processes: tests/verification/cluster.
"""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from crucible_batch import api
from crucible_batch.api.cluster import end as cluster_end
from crucible_batch.api.cluster import run as cluster_run
from crucible_batch.api.cluster.claimed_shard import ShardClaim
from crucible_batch.cluster import ShardKey
from crucible_batch.domain.outcome import Outcome
from crucible_batch.domain.progress import JobAdvanced, RunBegan, RunEnded, ShardsAdvanced
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.errors import ClusterUnreachableError, DeadlineError, NotificationError
from tests.integration.engine.cluster_ground import ClusterGround
from tests.integration.engine.test_clean import edit, ready_assets
from tests.unit.notifications.receiving import receiving

ALL = "on: [start, success, partial, blocked, failure]"
HEART = f'notify: [{{{ALL}, heartbeat: "env:HEART"}}]\n'
HOOK = f'notify: [{{{ALL}, webhook: "env:HOOK", secret: "env:SECRET"}}]\n'
SECRET = "whsec_c2VjcmV0LWtleS1vZi10aGUtd2ViaG9vay0wMQ=="
# Slow enough that the deadline passes while each shard has jobs left.
SLOW = "concurrency: 1\n"


async def never(_claim: ShardClaim) -> bool:
    return False


def ground_of(bench: Any, monkeypatch: pytest.MonkeyPatch) -> ClusterGround:
    ground = ClusterGround(bench, monkeypatch)
    ground.on_claim = never
    return ground


async def keys_of(bench: Any, result: api.RunResult) -> list[str]:
    """Check the books by the ledger, and return the key of each purchase."""
    state = await bench.agree(result)
    keys = [job["idempotency_key"] for job in state["jobs"]]
    assert len(keys) == len(set(keys))
    return keys


# -- notifications ----------------------------------------------------------------------------------------------------


async def test_start_and_end_of_the_complete_run_are_notified_once(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as bench, receiving() as receiver:
        monkeypatch.setenv("HOOK", receiver.url)
        monkeypatch.setenv("SECRET", SECRET)
        ground = ground_of(bench, monkeypatch)
        manifest = bench.manifest("{name: t, prompt: text, repeat: 9}", budget=18, head=HOOK)
        result = await ground.run(manifest, shards=3)
        assert (await ground.run(manifest, shards=3)).ok  # by the coordinator itself: there is nothing to divide
    messages = [json.loads(request.body) for request in receiver.requests]
    assert [message["type"] for message in messages] == 2 * ["run.started", "run.succeeded"]
    first, last, *_ = (message["data"] for message in messages)
    assert first["attempt"] == last["attempt"]
    assert (first["counts"]["total"], first["counts"]["pending"], first["counts"]["succeeded"]) == (9, 9, 0)
    assert (last["counts"]["succeeded"], last["credits"]["run"], last["exit_code"]) == (9, "18", 0)
    written = json.loads((bench.path / "out" / "report.json").read_text())
    assert [row["event"] for row in written["notifications"]] == ["start", "success"]
    assert [row.event for row in result.report.notifications] == ["start", "success"]


async def test_a_run_that_ends_before_its_first_job_is_notified_as_a_failure(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench, receiving() as receiver:
        monkeypatch.setenv("HEART", receiver.url)
        ground = ground_of(bench, monkeypatch)

        async def away(*_args: object, **_options: object) -> None:
            raise ClusterUnreachableError("the database is away")

        monkeypatch.setattr("crucible_batch.api.cluster.run.ClusterDatabase.opened", away)
        with pytest.raises(ClusterUnreachableError):
            await ground.run(bench.manifest("{name: t, prompt: text}", head=HEART), shards=1)
    assert [request.path for request in receiver.requests] == ["/5"]


async def test_a_run_that_can_not_notify_is_refused_and_no_notify_is_obeyed(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ground_of(bench, monkeypatch)
        manifest = bench.manifest("{name: t, prompt: text, repeat: 2}", head=HEART)
        with pytest.raises(NotificationError, match="HEART"):
            await ground.run(manifest, shards=1)
        assert (await bench.state())["jobs"] == []
        assert (await ground.run(manifest, shards=1, notify=False)).ok


# -- the deadline -----------------------------------------------------------------------------------------------------


async def test_after_the_deadline_nothing_is_bought_and_the_same_command_continues(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ground_of(bench, monkeypatch)
        manifest = bench.manifest("{name: t, prompt: text, repeat: 36}", budget=72, head=SLOW)
        began = bench.clock.now()
        result = await ground.run(manifest, shards=3, deadline_s=6)
        ended = bench.clock.now()
        state = await bench.state()
        bought = len(state["jobs"])
        assert 3 < bought < 36
        assert max(job["submitted_at"] for job in state["jobs"]) <= began + 6
        assert 6 <= ended - began < 6 + 60
        await bench.clock.sleep(600)
        assert len((await bench.state())["jobs"]) == bought
        counts = result.report.counts
        assert (result.exit_code, result.report.status, result.report.stops["*"].code) == (5, "stopped", "DEADLINE")
        assert counts.pending == 36 - counts.succeeded
        assert (counts.blocked, counts.failed, counts.unknown) == (0, 0, 0)
        assert {lease.state for lease in ground.cluster.rules.shards.values()} == {ShardState.MERGED}
        again = await ground.run(manifest, shards=3)
        keys = await keys_of(bench, again)
    assert again.ok
    assert len(keys) == 36


async def test_a_shard_whose_worker_is_dead_at_the_deadline_is_ended_and_merged(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner has bought some jobs: they are in the report, and its successor would have the deadline behind it."""
    async with start() as bench:
        ground = ground_of(bench, monkeypatch)

        async def killed(claim: ShardClaim) -> bool:
            if claim.claimed.key.number == 2:
                await asyncio.Event().wait()  # it was killed before it began
            working = asyncio.ensure_future(claim.work(asyncio.Event()))
            while len((await bench.state())["jobs"]) < 4:
                await asyncio.sleep(0.001)
            working.cancel()
            await asyncio.wait({working})
            ground.cluster.now += 15
            await asyncio.Event().wait()
            return True

        ground.on_claim = killed
        manifest = bench.manifest("{name: t, prompt: text, repeat: 20}", budget=40, head=SLOW)
        result = await ground.run(manifest, shards=2, deadline_s=300)
        for each in ground.working:
            each.cancel()
        await keys_of(bench, result)
        assert (result.exit_code, result.report.stops["*"].code) in {(5, "DEADLINE"), (5, "SHARD_UNFINISHED")}
        assert result.report.counts.succeeded + result.report.counts.pending == 20
        assert sorted(ground.cluster.calls) == ["1 e2 stopped accepted", "2 e2 stopped accepted", "closed"]
        ground.on_claim = never
        again = await ground.run(manifest, shards=2)
        assert len(await keys_of(bench, again)) == 20
    assert again.ok


async def test_jobs_of_a_shard_that_was_not_begun_are_pending_because_of_the_deadline(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ground_of(bench, monkeypatch)
        work = ground.work

        async def only_the_first(key: ShardKey) -> None:
            if key.number == 1:
                await work(key)

        monkeypatch.setattr(ground, "work", only_the_first)
        manifest = bench.manifest("{name: t, prompt: text, repeat: 9}", budget=18)
        result = await ground.run(manifest, shards=2, deadline_s=300)
        await keys_of(bench, result)
        jobs = [job for job in result.jobs() if job.status == "pending"]
    assert (result.exit_code, {scope: stop.code for scope, stop in result.report.stops.items()}) == (
        5,
        {"*": "DEADLINE"},
    )
    assert (result.report.counts.succeeded, len(jobs)) == (5, 4)
    assert {job.error.code for job in jobs if job.error is not None} == {"DEADLINE"}


async def test_if_no_worker_has_begun_the_run_ends_at_the_deadline_with_its_code(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ground_of(bench, monkeypatch)

        async def absent(_key: object) -> None:
            """Nobody claims it."""

        monkeypatch.setattr(ground, "work", absent)
        manifest = bench.manifest("{name: t, prompt: text, repeat: 9}", budget=18)
        result = await ground.run(manifest, shards=3, deadline_s=60)
        written = json.loads((bench.path / "out" / "report.json").read_text())
        assert (result.exit_code, written["exit_code"], written["stops"]["*"]["code"]) == (5, 5, "DEADLINE")
        assert (written["counts"]["succeeded"], written["counts"]["pending"]) == (1, 8)
        assert len(await keys_of(bench, result)) == 1  # of the probe


async def test_a_run_that_is_drained_before_a_shard_has_begun_is_stopped(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest run in its journal is the purchase of the first job, which has succeeded."""
    async with start() as bench:
        ground = ground_of(bench, monkeypatch)

        async def drained(_key: object) -> None:
            ground.cluster.rules = ground.cluster.rules.drained()

        monkeypatch.setattr(ground, "work", drained)
        result = await ground.run(bench.manifest("{name: t, prompt: text, repeat: 9}", budget=18), shards=3)
    assert (result.exit_code, result.report.exit_code, result.report.stops["*"].code) == (5, 5, "SHARD_ABANDONED")
    assert (result.report.counts.succeeded, result.report.counts.pending) == (1, 8)


async def test_a_deadline_before_the_first_job_is_as_on_one_machine(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ground_of(bench, monkeypatch)
        manifest = bench.manifest("{name: t, prompt: text}", head="deadline: 6h\n")
        opened = cluster_run.ClusterDatabase.opened

        async def slowly(*args: object, **options: object) -> object:
            await bench.clock.sleep(10)
            return await opened(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(cluster_run.ClusterDatabase, "opened", slowly)
        with pytest.raises(DeadlineError):
            await ground.run(manifest, shards=1, deadline_s=5)
        assert (await bench.state())["jobs"] == []


# -- failed jobs ------------------------------------------------------------------------------------------------------


async def test_failed_jobs_are_tried_again_once_and_only_if_asked(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start(faults="generate.fail=1") as bench:
        ground = ground_of(bench, monkeypatch)
        head = "retry: {attempts: 1}\n"
        manifest = bench.manifest("{name: t, prompt: text, repeat: 9}", budget=40, head=head)
        first = await ground.run(manifest, shards=2)
        assert (first.exit_code, first.report.counts.succeeded) == (1, 8)
        assert (await ground.run(manifest, shards=2)).exit_code == 1
        assert len((await bench.state())["jobs"]) == 9
        again = await ground.run(manifest, shards=2, job_filter=api.JobFilter(retry_failed=True))
        keys = await keys_of(bench, again)
    assert (again.exit_code, again.report.counts.succeeded) == (0, 9)
    assert len(keys) == 10


async def test_a_job_that_fails_again_is_not_tried_a_third_time(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as bench:
        ground = ground_of(bench, monkeypatch)
        jobs = "{name: bad, prompt: nsfw}\n{name: t, prompt: text, repeat: 6}"
        manifest = bench.manifest(jobs, budget=40, head="retry: {attempts: 1}\n")
        first = await ground.run(manifest, shards=2)
        bought = len((await bench.state())["jobs"])
        again = await ground.run(manifest, shards=2, job_filter=api.JobFilter(retry_failed=True))
        assert len((await bench.state())["jobs"]) == bought + 1
    assert (first.exit_code, again.exit_code) == (1, 1)


async def test_shards_of_an_earlier_command_are_merged_before_failed_jobs_are_tried_again(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they are out, their allowances are set aside, and the coordinator has no budget of its own."""
    async with start(faults="generate.fail=1") as bench:
        ground = ground_of(bench, monkeypatch)

        async def stopped(_claim: ShardClaim) -> bool:
            await asyncio.Event().wait()
            return True

        ground.on_claim = stopped
        manifest = bench.manifest("{name: t, prompt: text, repeat: 9}", budget=40, head="retry: {attempts: 1}\n")
        first = asyncio.ensure_future(ground.run(manifest, shards=2))
        while len(ground.working) < 2:
            await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.wait({first})
        for each in ground.working:
            each.cancel()
        ground.working.clear()
        ground.on_claim = never
        ground.cluster.now += 15
        waiting = [each for each in await ground.cluster.shards("run") if each.state is ShardState.RUNNING]
        working = [asyncio.ensure_future(ground.work(each.key)) for each in waiting]
        result = await ground.run(manifest, shards=2, job_filter=api.JobFilter(retry_failed=True))
        await asyncio.gather(*working)
        keys = await keys_of(bench, result)
    assert (result.exit_code, result.report.counts.succeeded, len(keys)) == (0, 9, 10)


# -- assets.cleanup ---------------------------------------------------------------------------------------------------


async def test_images_are_deleted_once_after_the_merge(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as bench:
        ground = ground_of(bench, monkeypatch)
        image, seen = bench.picture("1.png"), list[int]()

        async def looks(_claim: ShardClaim) -> bool:
            seen.append(len(await ready_assets(bench)))
            return False

        ground.on_claim = looks
        head = "assets: {cleanup: on_success}\nbudget: {credits: 100, max_credits_per_upload: 2}\n"
        jobs = "\n".join(edit(f"a{number}", image) for number in range(6))
        result = await ground.run(bench.manifest(jobs, budget=None, head=head), shards=2)
        assert result.ok
        assert seen == [1, 1]
        assert await ready_assets(bench) == []
        await bench.agree(result)
        written = json.loads((bench.path / "out" / "report.json").read_text())
    assert Decimal(written["credits"]["rebates"]) == result.report.credits.rebates == Decimal("0.5")


@pytest.mark.parametrize("case", ["a job failed", "not asked for", "shards are out"])
async def test_images_that_may_still_be_used_are_kept(start: Any, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    async with start() as bench:
        ground = ground_of(bench, monkeypatch)
        if case == "shards are out":  # of a plan that was made meanwhile, on another machine
            outstanding = type("Outstanding", (), {"missing": (1,)})()
            monkeypatch.setattr(cluster_end, "outstanding_shards", lambda _journal: outstanding)
        cleanup = "" if case == "not asked for" else "assets: {cleanup: on_success}\n"
        head = f"{cleanup}budget: {{credits: 100, max_credits_per_upload: 2}}\n"
        jobs = "\n".join(edit(f"a{number}", bench.picture("1.png")) for number in range(6))
        jobs += "\n{name: bad, prompt: nsfw}" if case == "a job failed" else ""
        result = await ground.run(bench.manifest(jobs, budget=None, head=head), shards=2)
        assert result.exit_code == (1 if case == "a job failed" else 0)
        assert len(await ready_assets(bench)) == 1


# -- the display ------------------------------------------------------------------------------------------------------


async def test_an_observer_gets_the_messages_of_one_run(
    start: Any, monkeypatch: pytest.MonkeyPatch, watcher: Any
) -> None:
    async with start() as bench:
        ground, seen = ground_of(bench, monkeypatch), watcher()
        manifest = bench.manifest("{name: t, prompt: text, repeat: 9}", budget=18)
        result = await ground.run(manifest, shards=3, observer=seen)
    began = [each for each in seen.messages if isinstance(each, RunBegan)]
    assert [(each.total, each.manifest, each.run_id) for each in began] == [(9, "trial", "default")]
    assert seen.messages.index(began[0]) < min(
        number for number, each in enumerate(seen.messages) if isinstance(each, JobAdvanced)
    )
    waves = [each for each in seen.messages if isinstance(each, ShardsAdvanced)]
    assert (waves[0].shards, waves[0].ended, waves[0].counts[Outcome.SUCCEEDED], waves[0].balance.spent) == (3, 0, 1, 2)
    assert (waves[-1].ended, waves[-1].counts[Outcome.SUCCEEDED], waves[-1].balance.spent) == (3, 9, 18)
    assert len({(each.ended, each.running, str(each.counts), each.balance) for each in waves}) == len(waves)
    ended = [each for each in seen.messages if isinstance(each, RunEnded)]
    assert seen.messages[-1] == ended[0]
    assert (len(ended), ended[0].counts[Outcome.SUCCEEDED], ended[0].balance.spent) == (1, 9, 18)
    assert (ended[0].ending.exit_code, result.exit_code) == (0, 0)
