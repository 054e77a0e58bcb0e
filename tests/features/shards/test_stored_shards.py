"""Shards that have logs, on machines that share nothing but an object store, or a directory.

The judge is the sandbox's ledger.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.core.events import Held
from crucible_batch.errors import (
    CrucibleBatchError,
    NothingToDivideError,
    RunBusyError,
    RunDirectoryError,
    ShardsOutstandingError,
    ShardsUnknownError,
    UserError,
)
from crucible_batch.features.shards import merging
from crucible_batch.features.shards.command_log import StoredCommands
from crucible_batch.features.shards.given_commands import Shards
from crucible_batch.features.shards.stored_plans import outstanding_plan
from crucible_batch.journal import Journal
from crucible_batch.outputs import ObjectStoreError
from crucible_batch.runs.journal_log import LogTakenError
from crucible_batch.runs.reporting import write_report_again
from crucible_batch.runs.run_log import LOG
from tests.features.shards.stored_ground import JOBS, PLACES, PRICE, Ground, divided, ground
from tests.harness.features import has_feature
from tests.harness.object_fakes import unusable
from tests.harness.object_store import URL
from tests.harness.submits import (
    Killed,
    SubmittedKeys,
    Waiting,
    freeze_logs,
    is_poll,
    stopping_at,
)

SHORT_JOBS = True
__all__ = ["divided", "ground"]

ANNA = ControlSource("anna@host", "terminal")


def killing(*_given: object, **_named: object) -> None:
    raise Killed


async def killed(
    ground: Ground, number: int, machine: str, *, at: int, answered: bool, count: int = 2
) -> None:
    """Run a shard until its process is killed at a submit."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - it is in a group
        await ground.shard(
            number, machine, count, transport=stopping_at(at, answered=answered), concurrency=2
        )
    assert "Killed" in repr(raised.value)


@PLACES
async def test_shards_on_machines_of_their_own_are_merged_from_the_store(
    start: Any, ground: Any
) -> None:
    async with start() as bench:
        run = ground(bench)
        summary = await run.divide()
        results = [await run.shard(1, "one"), await run.shard(2, "two")]
        assert [result.exit_code for result in results] == [0, 0]
        assert results[0].merge == f"crucible-batch merge {run.url}"
        assert json.loads(run.content()["report.json"])["counts"]["succeeded"] == 1  # of the probe
        before = run.pictures()
        run.store.requests.clear()
        merged = run.merge()
        assert (merged.exit_code, merged.merged, merged.outputs) == (0, (1, 2), JOBS - 1)
        assert merged.report.counts.succeeded == JOBS == len(run.pictures())
        assert before == run.pictures()
        assert not {"create png", "delete png"} & run.store.requests.keys()
        assert json.loads(run.content()["report.json"])["counts"]["succeeded"] == JOBS
        state = await bench.state()
        assert Decimal(merged.report.credits.spent) == Decimal(state["audit"]["spent_on_jobs"])
        assert run.merge().is_repeated
        again = await run.run()
        assert again.exit_code == 0
        assert len(await run.keys()) == JOBS
        await run.check(Decimal(100))
        if has_feature("check"):
            with run.on("main"):
                assert (await api.check_outputs(run.url)).exit_code == 0
    assert summary.digest == merged.plan_digest


@PLACES
@pytest.mark.parametrize("answered", [False, True], ids=["before its answer", "after it was sent"])
async def test_a_shard_whose_machine_is_lost_is_continued_elsewhere_within_its_allowance(
    start: Any, ground: Any, answered: bool
) -> None:
    """The allowances are not enough for all jobs, so that other jobs bought elsewhere would exceed
    them."""
    async with start() as bench:
        run = ground(bench, budget=14, jobs=20, head="concurrency: 2\n")
        await run.divide(1)
        await killed(run, 1, "lost", at=4, answered=answered, count=1)
        shutil.rmtree(bench.path / "lost")
        before = await run.keys()
        second = await run.shard(1, "other", 1)
        assert second.exit_code == 4
        assert set(before) <= set(await run.keys())
        merged = run.merge()
        assert merged.exit_code == 4
        assert Decimal(merged.report.credits.spent) == 14 == PRICE * len(await run.keys())
        await run.check(Decimal(14))


@PLACES
async def test_a_hold_is_in_the_store_before_its_submit_is_sent(divided: Ground) -> None:
    keys = SubmittedKeys(
        lambda key: any(key.encode() in divided.content()[e] for e in divided.log(1))
    )
    assert (await divided.shard(1, "one", transport=keys.transport())).exit_code == 0
    assert keys.unknown == []


@PLACES
async def test_of_two_machines_with_one_shard_only_the_later_one_buys(
    start: Any, ground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        run = ground(bench, budget=14, jobs=20, head="concurrency: 1\n")
        await run.divide(1)
        submits, awake = Waiting(3), freeze_logs(monkeypatch)
        first = asyncio.ensure_future(run.shard(1, "frozen", 1, transport=submits.transport()))
        await submits.reached.wait()
        second = await run.shard(1, "other", 1)
        assert second.exit_code == 4
        submits.released.set()
        awake.set()
        with pytest.raises(LogTakenError, match="another process continues shard 1/1"):
            await first
        assert submits.sent == 3
        merged = run.merge()
        assert Decimal(merged.report.credits.spent) == 14
        await run.check(Decimal(14))


@PLACES
async def test_a_shard_that_runs_is_left_alone_by_another_machine(start: Any, ground: Any) -> None:
    async with start() as bench:
        run = ground(bench, budget=14, jobs=20, head="concurrency: 1\n")
        await run.divide(1)
        submits = Waiting()
        first = asyncio.ensure_future(run.shard(1, "one", 1, transport=submits.transport()))
        await submits.reached.wait()
        with pytest.raises(RunBusyError, match="shard 1/1 is running on another machine"):
            await run.shard(1, "other", 1)
        submits.released.set()
        assert (await first).exit_code == 4
        run.merge()
        await run.check(Decimal(14))


@PLACES
async def test_a_frozen_shard_that_buys_nothing_more_learns_that_it_was_continued(
    start: Any, ground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        run = ground(bench, budget=14, jobs=2)
        await run.divide(1)
        polls, awake = Waiting(which=is_poll), freeze_logs(monkeypatch)
        first = asyncio.ensure_future(run.shard(1, "frozen", 1, transport=polls.transport()))
        await polls.reached.wait()
        assert (await run.shard(1, "other", 1)).exit_code == 0
        awake.set()
        with pytest.raises(LogTakenError):
            await first
        run.merge()
        await run.check(Decimal(14))


def entries(run: Any, number: int, count: int = 2) -> list[Any]:
    return [json.loads(run.content()[key]) for key in run.log(number, count)]


@PLACES
async def test_a_running_shard_shows_its_figures_and_its_end(start: Any, ground: Any) -> None:
    async with start() as bench:
        run = ground(bench, jobs=7)
        await run.divide(1)
        await run.shard(1, "one", 1)
        figures = [entry["figures"] for entry in entries(run, 1, 1)]
        assert figures[-1]["counts"] == {"succeeded": 6}
        assert figures[-1]["exit_code"] == 0
        assert Decimal(figures[-1]["spent"]) == 6 * PRICE
        assert all(each is None or each["exit_code"] is None for each in figures[:-1])
        run.merge()


@PLACES
async def test_a_shard_buys_nothing_in_a_pause_that_is_stored(start: Any, ground: Any) -> None:
    """The commands are numbered objects, whichever way the shard was started."""
    async with start() as bench:
        run = ground(bench, jobs=7)
        digest = (await run.divide(1)).digest
        commands = StoredCommands(run.objects, digest, bench.clock)
        await commands.add(ControlCommand(ControlAction.PAUSE), ANNA)
        bought_before = len(await run.keys())
        shard = asyncio.ensure_future(run.shard(1, "one", 1))
        while not any((entry["figures"] or {}).get("taken") for entry in entries(run, 1, 1)):
            await bench.clock.sleep(1)
        await bench.clock.sleep(10)
        assert len(await run.keys()) == bought_before
        await commands.add(ControlCommand(ControlAction.RESUME), ANNA)
        assert (await shard).exit_code == 0
        run.merge()
        await run.check(Decimal(100))


@PLACES
async def test_who_gives_a_command_learns_how_many_shards_have_taken_it(
    start: Any, ground: Any
) -> None:
    async with start() as bench:
        run = ground(bench, jobs=13)
        await run.divide(3)
        await run.shard(1, "one", 3)
        submits = Waiting()
        second = asyncio.ensure_future(run.shard(2, "two", 3, transport=submits.transport()))
        await submits.reached.wait()
        with run.on("main"):
            place = await outstanding_plan(run.url)
        assert place is not None
        shards = Shards.of(*place, bench.clock)
        answer = await shards.give(ControlCommand(ControlAction.PAUSE), ANNA)
        assert answer.message == (
            "pause is stored for all 3 shards; 1 of the 1 that run have taken it"
        )
        assert answer.data == {"action": "pause", "taken": 1, "running": 1, "shards": 3}
        submits.released.set()
        await Shards.of(*place, bench.clock).give(ControlCommand(ControlAction.RESUME), ANNA)
        assert (await second).exit_code == 0
        answer = await Shards.of(*place, bench.clock).give(ControlCommand(ControlAction.STOP), ANNA)
        assert "none is running: each takes it when it begins" in answer.message
        assert (await run.shard(3, "three", 3)).exit_code == 130


@PLACES
async def test_a_stop_ends_a_shard_and_the_next_resume_lets_it_begin_again(
    start: Any, ground: Any
) -> None:
    async with start() as bench:
        run = ground(bench, jobs=7)
        commands = StoredCommands(run.objects, (await run.divide(1)).digest, bench.clock)
        await commands.add(ControlCommand(ControlAction.STOP), ANNA)
        assert (await run.shard(1, "one", 1)).exit_code == 130
        await commands.add(ControlCommand(ControlAction.RESUME), ANNA)
        assert (await run.shard(1, "two", 1)).exit_code == 0
        run.merge()


@PLACES
async def test_a_command_to_the_shards_of_another_plan_has_no_effect(
    start: Any, ground: Any
) -> None:
    async with start() as bench:
        run = ground(bench, jobs=7)
        await run.divide(1)
        await StoredCommands(run.objects, "f" * 64, bench.clock).add(
            ControlCommand(ControlAction.STOP), ANNA
        )
        assert (await run.shard(1, "one", 1)).exit_code == 0
        run.merge()


@PLACES
async def test_a_machine_whose_shard_was_continued_elsewhere_takes_the_journal_of_the_store(
    start: Any, ground: Any
) -> None:
    async with start() as bench:
        run = ground(bench, budget=14, jobs=20, head="concurrency: 2\n")
        await run.divide(1)
        await killed(run, 1, "one", at=4, answered=True, count=1)
        await run.shard(1, "two", 1)
        again = await run.shard(1, "one", 1)
        assert again.exit_code == 4
        assert list(again.run_dir.glob(".crucible/journal.sqlite3.before-*"))
        with Journal.read(again.run_dir) as journal:
            held = {event.key for _, event in journal.events() if isinstance(event, Held)}
        assert set(await run.keys()) - held == set((await run.keys())[:1])  # of the probe
        run.merge()
        await run.check(Decimal(14))


@PLACES
async def test_a_shard_that_has_not_ended_is_not_merged(divided: Ground) -> None:
    await killed(divided, 1, "one", at=3, answered=True)
    await divided.shard(2, "two")
    with pytest.raises(UserError, match=r"shard 1/2 of plan .* has not ended") as caught:
        divided.merge()
    assert "--shard 1/2" in str(caught.value.hint)
    with pytest.raises(UserError, match="has not ended"):
        divided.merge(abandon=[1])
    await divided.shard(1, "three")
    assert divided.merge().report.counts.succeeded == JOBS
    await divided.check(Decimal(100))


async def test_a_plan_counts_as_merged_only_once_its_report_is_stored(
    start: Any, ground: Any
) -> None:
    """Until then another machine, which has not the journal of the merge, must not buy the jobs of
    the shards."""
    async with start() as bench:
        run = ground(bench, jobs=2)
        await run.divide(1)
        await run.shard(1, "one", 1)
        run.delete_log()
        for step in ("_merge", "write_results"):
            with run.patch.context() as patch:
                patch.setattr(merging, step, killing)
                with pytest.raises(Killed):
                    run.merge()
            with pytest.raises(ShardsUnknownError):
                await run.run("other")
        assert run.merge().merged == ()
        before = await run.keys()
        assert (await run.run("another")).exit_code == 0
        assert await run.keys() == before


@PLACES
async def test_a_merged_and_an_abandoned_shard_buy_nothing_more(divided: Ground) -> None:
    await divided.shard(1, "one")
    with pytest.raises(UserError, match="shard 2 of 2 is missing"):
        divided.merge()
    merged = divided.merge(abandon=[2])
    assert (merged.merged, merged.abandoned) == ((1,), (2,))
    before = await divided.keys()
    # As if the merge was killed before it noted its end there.
    divided.delete([".crucible/shards/00000002.json"])
    for number, machine, word in (
        (1, "one", "merged"),
        (1, "new", "merged"),
        (2, "new", "abandoned"),
    ):
        with pytest.raises(RunDirectoryError, match=f"was {word}, and its allowance was returned"):
            await divided.shard(number, machine)
    assert divided.merge().is_repeated
    divided.delete([*divided.log(1), *divided.log(2)])  # nobody needs them now
    with pytest.raises(RunDirectoryError, match=r"all shards of plan .* are merged"):
        await divided.shard(2, "newer")
    assert await divided.keys() == before
    done = await divided.run()
    assert (done.exit_code, done.report.counts.succeeded) == (0, JOBS)
    await divided.check(Decimal(100))


async def test_a_shard_that_is_running_when_it_is_abandoned_buys_nothing_more(
    divided: Ground,
) -> None:
    """Its process has taken the log, and has not bought anything yet."""
    results = await divided.shard(1, "one")
    original, is_closed = divided.store.create, asyncio.Event()

    async def create(key: str, content: bytes) -> bool:
        if "/2-of-2/00000002" in key and not is_closed.is_set():
            is_closed.set()
            await asyncio.to_thread(divided.merge, abandon=[2])
        return await original(key, content)

    divided.store.create = create
    with pytest.raises(LogTakenError, match="was abandoned"):
        await divided.shard(2, "two")
    assert len(await divided.keys()) == 1 + results.report.counts.succeeded
    assert (await divided.run()).report.counts.succeeded == JOBS
    await divided.check(Decimal(100))


async def test_without_the_journal_of_the_main_run_nothing_is_bought_until_its_shards_are_merged(
    divided: Ground,
) -> None:
    with pytest.raises(ShardsOutstandingError):
        await divided.run()
    await divided.shard(1, "one")
    shutil.rmtree(divided.bench.path / "main")
    divided.delete_log()
    before = await divided.keys()
    with pytest.raises(ShardsUnknownError, match=r"s3://bucket/runs/trial"):
        await divided.run("new")
    with pytest.raises(ShardsUnknownError):
        await divided.divide(machine="new")
    assert await divided.keys() == before
    await divided.shard(2, "two")
    merged = divided.merge(machine="new")
    assert merged.report.counts.succeeded == JOBS - 1  # without the probe's
    done = await divided.run("new")
    assert (done.exit_code, done.report.counts.succeeded) == (0, JOBS)
    assert len(await divided.keys()) == JOBS
    await divided.check(Decimal(100))


async def test_what_another_machine_has_divided_and_merged_is_in_the_log_of_the_run(
    start: Any, ground: Any
) -> None:
    async with start() as bench:
        run = ground(bench)
        divided = await run.divide()
        newest = max(key for key in run.content() if key.startswith(f"{LOG}/0"))
        assert json.loads(run.content()[newest])["figures"]["exit_code"] == 0  # nobody waits
        with pytest.raises(ShardsOutstandingError):
            await run.run("other")
        assert (await run.divide(machine="other")).digest == divided.digest
        await run.shard(1, "one")
        await run.shard(2, "two")
        shutil.rmtree(bench.path / "main")
        merged = run.merge(machine="new")
        assert (merged.merged, merged.report.counts.succeeded) == ((1, 2), JOBS)
        before = await run.keys()
        shutil.rmtree(bench.path / "new")
        done = await run.run("newer")
        assert (done.exit_code, done.report.counts.succeeded) == (0, JOBS)
        assert done.report.credits.bought == JOBS * PRICE
        assert (await run.run("other")).exit_code == 0  # which knew the shards as outstanding
        assert await run.keys() == before
        await run.check(Decimal(100))


async def test_a_main_run_lost_before_a_shard_has_begun_is_restored_by_a_merge(
    divided: Ground,
) -> None:
    shutil.rmtree(divided.bench.path / "main")
    divided.delete_log()
    with pytest.raises(UserError, match="shards 1, 2 of 2 are missing") as caught:
        divided.merge(machine="new")
    assert f"merge {URL} --abandon 1 --abandon 2" in (caught.value.hint or "")
    with pytest.raises(ShardsUnknownError):
        await divided.run("new")
    merged = divided.merge(machine="new", abandon="all")
    assert (merged.merged, merged.abandoned) == ((), (1, 2))
    with pytest.raises(RunDirectoryError, match=r"all shards of plan .* are merged"):
        await divided.shard(1, "one")
    divided.plan.unlink()
    await divided.divide(machine="new")  # another plan, though it has the same jobs
    await divided.shard(1, "one")
    await divided.shard(2, "two")
    assert divided.merge(machine="new").report.counts.succeeded == JOBS
    await divided.check(Decimal(100))


async def test_a_shard_that_was_merged_elsewhere_is_not_abandoned_once_its_log_is_deleted(
    divided: Ground,
) -> None:
    """The machine that divided comes back, and its journal still waits for the shards."""
    await divided.shard(1, "one")
    await divided.shard(2, "two")
    divided.delete_log()
    divided.merge(machine="other")
    kept = divided.delete(divided.log(1))
    for options in ({}, {"abandon": [1]}, {"abandon": "all"}):
        with pytest.raises(RunDirectoryError, match=r"log of shard 1/2 .* was merged") as caught:
            divided.merge(**options)
    with pytest.raises(ShardsOutstandingError):
        await divided.run()
    assert str(divided.bench.path / "main") in (caught.value.hint or "")
    before = await divided.keys()
    (divided.bench.path / "main").rename(divided.bench.path / "away")  # what the hint says
    assert (await divided.run()).report.counts.succeeded == JOBS
    (divided.bench.path / "main").rename(divided.bench.path / "new")
    (divided.bench.path / "away").rename(divided.bench.path / "main")
    divided.put_back(kept)
    divided.delete_log()
    assert divided.merge().merged == (1, 2)
    assert await divided.keys() == before


async def test_a_machine_that_ran_a_shard_continues_the_run_that_another_one_has_merged(
    divided: Ground,
) -> None:
    await divided.shard(1, "one")
    await divided.shard(2, "two")
    divided.delete_log()
    with divided.on("two") as state:
        (local,) = (state / "crucible-batch" / "runs").iterdir()
    with pytest.raises(ShardsUnknownError, match=r"s3://bucket/runs/trial has shards"):
        await divided.run("two")  # listed, and not merged
    for given in (URL, local):
        with (
            divided.on("two"),
            pytest.raises(UserError, match="shard 1/2 can't be abandoned: it was run"),
        ):
            api.merge([given], abandon=[1])
    divided.merge()
    before, report = await divided.keys(), divided.store.content["report.json"]
    for options in ({}, {"abandon": [1]}, {"abandon": "all"}):
        with pytest.raises(
            RunDirectoryError, match="no shard of s3://bucket/runs/trial waits for its merge"
        ):
            divided.merge(machine="two", **options)
        with divided.on("two"), pytest.raises(RunDirectoryError, match="waits for its merge"):
            api.merge([local], **options)
    assert divided.store.content["report.json"] == report
    with pytest.raises(NothingToDivideError, match="no job is new"):
        await divided.divide(machine="two")
    done = await divided.run("two")
    assert (done.exit_code, done.report.counts.succeeded, done.report.credits.reused) == (
        0,
        JOBS,
        JOBS * PRICE,
    )
    assert await divided.keys() == before


async def test_a_shard_of_an_earlier_plan_is_not_merged_with_those_of_the_listed_one(
    start: Any, ground: Any
) -> None:
    """Another machine has divided the rest; the journal of its main run is lost, and restored where
    both plans ran."""
    async with start() as bench:
        run = ground(bench, budget=10)
        await run.divide(1)
        await run.shard(1, "one", 1)
        run.merge()
        run.manifest.write_text(run.manifest.read_text().replace("credits: 10,", "credits: 100,"))
        run.plan.unlink()
        await run.divide(1)
        shutil.rmtree(bench.path / "main")
        run.delete_log()
        with pytest.raises(UserError, match="shard 1 of 1 is missing"):
            run.merge(machine="one")
        await run.shard(1, "one", 1)
        with pytest.raises(ShardsUnknownError):
            await run.run("one")
        merged = run.merge(machine="one")
        assert (merged.merged, merged.abandoned, merged.exit_code) == ((1,), (), 0)
        done = await run.run("one")
        assert (done.exit_code, done.report.counts.succeeded) == (0, JOBS)
        await run.check(Decimal(100))


@pytest.mark.parametrize("what", ["gone", "damaged"])
async def test_without_the_list_of_plans_a_machine_that_ran_a_shard_buys_nothing(
    divided: Ground, what: str
) -> None:
    await divided.shard(1, "one")
    await divided.shard(2, "two")
    divided.merge()
    divided.delete_log()
    before = await divided.keys()
    for key in (f".crucible/shards/0000000{number}.json" for number in (1, 2)):
        divided.store.content[key] = b"{}"
        if what == "gone":
            del divided.store.content[key]
    why = (
        "doesn't list the plan of .*2-of-2, which was run here"
        if what == "gone"
        else "can't be read"
    )
    for step in (divided.run, divided.divide):
        with pytest.raises(RunDirectoryError, match=why):
            await step(machine="two")
    for options in ({}, {"abandon": [1]}):
        with pytest.raises(
            RunDirectoryError, match="waits for its merge" if what == "gone" else why
        ):
            divided.merge(machine="two", **options)
    assert await divided.keys() == before


def failing(part: str) -> Callable[[str, str], None]:
    def fault(request: str, key: str) -> None:
        if request == "create" and part in key:
            raise unusable(key)

    return fault


async def test_a_plan_that_is_listed_can_be_read_by_any_machine(start: Any, ground: Any) -> None:
    """One that was not stored is not listed, and blocks nobody."""
    async with start() as bench:
        run = ground(bench)
        run.store.fault = failing("/plan.json")
        with pytest.raises(ObjectStoreError):
            await run.divide()
        run.store.fault = lambda _request, _key: None
        shutil.rmtree(bench.path / "main")
        assert (await run.run("new")).exit_code == 0
        await run.check(Decimal(100))


async def test_a_store_that_fails_before_a_purchase_prevents_it(divided: Ground) -> None:
    before = await divided.keys()
    divided.store.fault = failing("/1-of-2/00000002")
    with pytest.raises(ObjectStoreError):
        await divided.shard(1, "one")
    assert await divided.keys() == before
    divided.store.fault = lambda _request, _key: None
    for number in (1, 2):
        assert (await divided.shard(number, "one")).exit_code == 0
    assert divided.merge().report.counts.succeeded == JOBS
    await divided.check(Decimal(100))


async def test_the_directory_of_a_shard_is_not_that_of_its_run(divided: Ground) -> None:
    """Its journal is not set aside for that of the run."""
    await divided.shard(1, "one")
    with divided.on("one") as state:
        (local,) = (state / "crucible-batch" / "runs").glob("*/shards/*/1-of-2")
        with pytest.raises(RunDirectoryError, match="is the directory of shard 1/2"):
            await divided.bench.run(divided.manifest, out_dir=local)
    await divided.shard(2, "two")
    assert divided.merge().report.counts.succeeded == JOBS


async def test_a_shard_in_another_store_than_its_run_is_refused(divided: Ground) -> None:
    with pytest.raises(UserError, match="can't be run in s3://other/x"):
        await divided.shard(1, "one", out_dir="s3://other/x")
    with pytest.raises(UserError, match="are read from there, and from no directory"):
        divided.merge(out_dir=divided.bench.path / "elsewhere")


@PLACES
@pytest.mark.parametrize("lost", [16, 20])
async def test_a_shard_that_has_bought_is_never_missing_though_the_first_objects_of_its_log_are(
    start: Any, ground: Any, lost: int
) -> None:
    """Sixteen objects are read at once: where none of them is there, the log seemed to be empty."""
    async with start() as bench:
        run = ground(bench, jobs=50, budget=120, head="concurrency: 1\n")
        await run.divide()
        await killed(run, 1, "one", at=24, answered=True)
        await run.shard(2, "two")
        before, entries = await run.keys(), run.log(1)
        assert len(entries) > lost + 2
        kept = run.delete(entries[:lost])
        for options in ({}, {"abandon": [1]}):
            with pytest.raises(CrucibleBatchError) as caught:
                run.merge(machine="another", **options)
            said = f"{caught.value.message} {caught.value.hint}"
            assert "shard 1 of 2 is missing" not in said
            assert "--abandon" not in said
            assert "log of shard 1/2" in said
        with pytest.raises(CrucibleBatchError, match=r"log of shard 1/2"):
            await run.shard(1, "three")
        assert await run.keys() == before
        run.put_back(kept)
        assert (await run.shard(1, "four")).exit_code == 0
        assert run.merge().report.counts.succeeded == 50
        await run.check(Decimal(120))


@PLACES
async def test_a_report_that_is_written_while_shards_are_out_has_no_end_and_what_they_may_spend(
    divided: Ground,
) -> None:
    with divided.on("main"):
        head = write_report_again(divided.url, html=False)
    assert (head.status, head.exit_code, head.finished_at) == ("running", None, None)
    assert head.credits.set_aside == head.credits.held >= PRICE * (JOBS - 1)
    await divided.shard(1, "one")
    await divided.shard(2, "two")
    done = divided.merge().report
    assert (done.status, done.exit_code) == ("succeeded", 0)
    assert (done.credits.set_aside, done.credits.held) == (0, 0)
