"""The log of a shard in an object store: one process at a time can continue it, and nothing in it
is lost.
"""

from __future__ import annotations

import asyncio
import shutil
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import obstore
import pytest
from obstore.store import LocalStore, MemoryStore

from crucible_batch.core.events import Event, Held, Prepared, Relocated
from crucible_batch.core.outcome import Outcome
from crucible_batch.core.sharding import OutstandingShards, ShardId
from crucible_batch.errors import JournalError, RunDirectoryError, ShardsUnknownError
from crucible_batch.features.shards.log import ShardLog
from crucible_batch.features.shards.stored_plans import (
    Listing,
    list_plan,
    note_merged,
    publish_bytes,
    publish_plan,
)
from crucible_batch.journal import Journal, JournalRows, rows_after
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectOutputStore, ObjectPort, ObjectStoreError
from crucible_batch.outputs.directory_objects import DirectoryObjects
from crucible_batch.outputs.objects import Objects
from crucible_batch.runs import journal_log
from crucible_batch.runs.divided_plans import read_list, refuse_unknown_plans
from crucible_batch.runs.journal_log import (
    JournalEntry,
    LoggedJournal,
    LogState,
    LogTakenError,
    is_before_purchase,
    is_logged_first,
)
from crucible_batch.runs.log_copy import (
    is_current,
    restore_rows,
    set_stale_journal_aside,
    take_log,
)
from crucible_batch.runs.logged_figures import LoggedFigures
from crucible_batch.runs.paths import plan_key
from tests.harness.job_events import accepted_event, held_event, intended_event
from tests.harness.object_fakes import DictObjects, unusable
from tests.harness.shard_ground import (
    BINDING,
    DIGEST,
    ShardGround,
    bought,
    done,
    in_flight,
    planned,
)

SHARD = ShardId(1, 4)
URL = ObjectUrl("s3", "bucket", "prefix")
AA, BB = "a" * 64, "b" * 64
FIRST = ".crucible/shards/00000001.json"


@pytest.fixture(params=["fake", "memory", "local", "directory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectPort:
    if request.param == "fake":
        return DictObjects(URL)
    if request.param == "directory":
        return DirectoryObjects(tmp_path / "shared")
    if request.param == "memory":
        return Objects(MemoryStore(), URL, checks_uploads=False)
    (tmp_path / "store").mkdir()

    class WithoutAttributes(Objects):
        """The local store of obstore has no metadata."""

        async def _put(self, key, content, replaced=None):  # type: ignore[no-untyped-def]
            try:
                await obstore.put_async(
                    self._backend, key, content, mode="create" if replaced is None else "overwrite"
                )
            except obstore.exceptions.AlreadyExistsError:
                return False
            return True

    return WithoutAttributes(LocalStore(tmp_path / "store"), URL, checks_uploads=True)


@pytest.fixture
def fake() -> DictObjects:
    return DictObjects(URL)


def log_on(objects: ObjectPort) -> ShardLog:
    return ShardLog(objects, DIGEST, SHARD)


def rows(*numbers: int) -> JournalRows:
    return JournalRows(tuple((number, f"job-{number}", "Held", "{}") for number in numbers))


def numbers(state: LogState) -> list[int]:
    return [number for entry in state.entries for number, *_ in entry.events]


async def test_what_one_process_added_is_read_by_the_next(objects: ObjectPort) -> None:
    first = log_on(objects)
    assert (await first.read()).position == 0
    await first.append(rows(1, 2))
    await first.append(rows(4))
    state = await log_on(objects).read()
    assert (state.position, state.writer, state.last, numbers(state)) == (
        2,
        first.writer,
        4,
        [1, 2, 4],
    )


async def test_of_two_processes_at_one_entry_one_continues(objects: ObjectPort) -> None:
    first, second = log_on(objects), log_on(objects)
    await first.read()
    await first.append(rows(1))
    await second.read()
    await second.append(rows())
    with pytest.raises(LogTakenError, match="another process continues shard 1/4"):
        await first.append(rows(2))
    await second.append(rows(2, 3))
    assert numbers(await log_on(objects).read()) == [1, 2, 3]


async def test_a_closed_log_takes_nothing_more(objects: ObjectPort) -> None:
    first, merge = log_on(objects), log_on(objects)
    await first.append(rows(1))
    await merge.read()
    await merge.close("merged")
    with pytest.raises(LogTakenError, match="was merged"):
        await first.append(rows(2))
    state = await log_on(objects).read()
    assert (state.closed, state.writer, state.position, numbers(state)) == (
        "merged",
        first.writer,
        2,
        [1],
    )


async def test_a_merge_of_a_log_that_continues_does_not_close_it(objects: ObjectPort) -> None:
    first, merge = log_on(objects), log_on(objects)
    await first.append(rows(1))
    await merge.read()
    await first.append(rows(2))
    with pytest.raises(LogTakenError):
        await merge.close("merged")
    await first.append(rows(3))
    assert not (await log_on(objects).read()).closed


async def test_an_entry_whose_answer_was_lost_counts(fake: DictObjects) -> None:
    log = log_on(fake)

    def lost(request: str, key: str) -> None:
        if request == "answer":
            raise unusable(key)

    fake.fault = lost
    with pytest.raises(ObjectStoreError):
        await log.append(rows(1))
    fake.fault = lambda _request, _key: None
    await log.append(rows(1, 2))
    assert log.last == 2
    state = await log_on(fake).read()
    assert (numbers(state), state.position) == ([1, 2], 2)


async def test_a_request_that_was_cancelled_may_have_added_its_entry(
    tmp_path: Path, fake: DictObjects
) -> None:
    log, create, is_there = log_on(fake), fake.create, asyncio.Event()

    async def slow(key: str, content: bytes) -> bool:
        await create(key, content)
        is_there.set()
        await asyncio.Event().wait()
        return True

    with Journal.open(tmp_path / "run", BINDING, now=1.0) as journal:
        logged = LoggedJournal(journal, log)
        fake.create = slow  # type: ignore[method-assign]
        adding = asyncio.ensure_future(logged.append(planned(1).identity, bought(1, 1.0)[0]))
        waiting = asyncio.ensure_future(is_there.wait())
        await asyncio.wait({adding, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        assert is_there.is_set()
        adding.cancel()
        await asyncio.wait({adding})
        fake.create = create  # type: ignore[method-assign]
        await journal.append(planned(1).identity, bought(1, 1.0)[1])
        await logged.finish()
    assert numbers(await log_on(fake).read()) == [1, 2]


async def test_more_entries_than_are_read_at_once_and_their_sum(objects: ObjectPort) -> None:
    log = log_on(objects)
    for number in range(1, 41):
        await log.append(rows(number))
    assert numbers(await log_on(objects).read()) == list(range(1, 41))
    await log.sum_up(rows(*range(1, 41)))
    await log.append(rows(41))
    state = await log_on(objects).read()
    assert (numbers(state), state.position, len(state.entries)) == (list(range(1, 42)), 41, 2)


async def test_entries_that_the_sum_includes_may_be_missing_or_damaged_and_later_ones_not(
    fake: DictObjects,
) -> None:
    log = log_on(fake)
    for number in range(1, 4):
        await log.append(rows(number))
    await log.sum_up(rows(1, 2, 3))
    for number in range(4, 7):
        await log.append(rows(number))
    first, second, fourth = (f"{log.prefix}/0000000{number}.json" for number in (1, 2, 4))
    del fake.content[first]
    fake.content[second] = b"{"
    assert numbers(await log_on(fake).read()) == [1, 2, 3, 4, 5, 6]
    kept = fake.content.pop(fourth)
    with pytest.raises(JournalError, match=r"00000004\.json is missing"):
        await log_on(fake).read()
    fake.content[fourth] = kept
    del fake.content[f"{log.prefix}/journal.json"]
    with pytest.raises(JournalError, match=r"00000002\.json can.t be read"):
        await log_on(fake).read()


async def test_the_end_of_a_log_is_read_without_what_is_before(fake: DictObjects) -> None:
    log = log_on(fake)
    await log.append(rows(1, 2))
    await log.append(rows(3))
    await log.append(JournalRows())  # a sign of life
    fake.content[f"{log.prefix}/00000001.json"] = b"{"
    end = log_on(fake)
    state = await end.read_end()
    assert (state.position, state.writer, state.last, state.entries) == (3, log.writer, 3, ())
    await end.append(rows(4))
    assert (await log_on(fake).read_end()).last == 4
    await end.close("merged")
    assert await log_on(fake).read_end() == LogState()


async def test_a_long_log_is_not_summed_up(
    tmp_path: Path, fake: DictObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its events would be in memory."""
    monkeypatch.setattr(journal_log, "MOST_IN_SUMMARY", 2)
    shard = ShardGround(tmp_path).shard(1, [done(0, 10.0), done(4, 11.0)])
    log = log_on(fake)
    with Journal.open(shard, BINDING, now=1.0) as journal:
        assert journal.last_number() > 2
        await LoggedJournal(journal, log).finish()
    assert list(fake.content) == [f"{log.prefix}/00000001.json"]


async def test_a_sum_that_is_not_all_of_the_log_is_not_stored(fake: DictObjects) -> None:
    log = log_on(fake)
    await log.append(rows(1, 2))
    await log.sum_up(rows(1))
    assert not [key for key in fake.content if key.endswith("journal.json")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content, keys: content.pop(keys[1]), "00000002.json is missing"),
        (lambda content, keys: content.update({keys[1]: b"{"}), "00000002.json can't be read"),
        (
            lambda content, keys: content.update({keys[1]: content[keys[0]]}),
            "00000002.json doesn't follow",
        ),
        (
            lambda content, keys: content.update(
                {keys[1]: content[keys[1]].replace(b'"writer":"', b'"writer":"../')}
            ),
            "00000002.json can't be read",
        ),
        (
            lambda content, keys: content.update(
                {keys[1]: content[keys[1]].replace(DIGEST.encode(), b"f" * 64)}
            ),
            "00000002.json is not of shard 1/4",
        ),
    ],
    ids=[
        "missing",
        "damaged",
        "of an earlier place",
        "a writer that leads elsewhere",
        "of another plan",
    ],
)
async def test_a_damaged_log_is_refused(fake: DictObjects, change: Any, words: str) -> None:
    log = log_on(fake)
    for number in (1, 2, 3):
        await log.append(rows(number))
    change(fake.content, sorted(fake.content))
    with pytest.raises(JournalError, match=words):
        await log_on(fake).read()


@pytest.mark.parametrize(("first", "last"), [(1, 16), (1, 39), (5, 30), (17, 32)])
async def test_a_log_does_not_end_at_a_gap_however_long(
    fake: DictObjects, first: int, last: int
) -> None:
    log = log_on(fake)
    for number in range(1, 41):
        await log.append(rows(number))
    for number in range(first, last + 1):
        del fake.content[f"{log.prefix}/{number:08}.json"]
    with pytest.raises(JournalError, match=f"{first:08}.json is missing"):
        await log_on(fake).read()


def test_each_event_that_a_purchase_may_follow_is_in_the_log_before_it() -> None:
    held = bought(1, 0.0)[0]
    assert isinstance(held, Held)
    events: dict[Event, bool] = {
        held: True,
        held_event(1, price_class="c"): True,
        held_event(1, price_class="c", images=True): False,
        intended_event(1, "p"): True,
        accepted_event(1): False,
    }
    assert {event: is_before_purchase(event) for event in events} == events
    assert is_before_purchase(Prepared(at=0.0, credits=Decimal(1)))
    # Another output takes the place of one that is moved, for whoever continues the log as well.
    assert is_logged_first(Relocated(at=0.0, index=0, path="fox/0.1a.png"))
    assert {event: is_logged_first(event) for event in events} == events


async def test_events_of_the_time_of_an_entry_are_one_entry(
    tmp_path: Path, fake: DictObjects
) -> None:
    log = log_on(fake)
    with Journal.open(tmp_path / "run", BINDING, now=1.0) as journal:
        logged = LoggedJournal(journal, log)
        await asyncio.gather(
            *(
                logged.append(planned(number).identity, bought(number, 1.0)[0])
                for number in range(9)
            )
        )
        assert log.last == journal.last_number() == 9
        entries = log.position
        await logged.append(planned(1).identity, bought(1, 1.0)[1])
        assert (log.last, log.position) == (9, entries)
        await logged.finish()
    assert entries < 9
    assert numbers(await log_on(fake).read()) == list(range(1, 11))


async def test_an_event_is_not_acted_on_if_its_entry_fails(
    tmp_path: Path, fake: DictObjects
) -> None:
    def down(_request: str, key: str) -> None:
        raise unusable(key)

    fake.fault = down
    with Journal.open(tmp_path / "run", BINDING, now=1.0) as journal:
        with pytest.raises(ObjectStoreError):
            await LoggedJournal(journal, log_on(fake)).append(
                planned(1).identity, bought(1, 1.0)[0]
            )
        assert journal.last_number() == 1


async def test_a_journal_is_made_again_of_its_log(tmp_path: Path, fake: DictObjects) -> None:
    ground = ShardGround(tmp_path)
    shard = ground.shard(1, [done(0, 10.0), in_flight(4, 11.0)])
    with Journal.read(shard) as journal:
        log = log_on(fake)
        await log.append(rows_after(journal, 0))
        before = (list(journal.numbered_events()), journal.runs())
    state = await log_on(fake).read()
    copy = tmp_path / "copy"
    with Journal.open(copy, BINDING, now=1.0) as journal:
        restore_rows(journal, state)
        assert (list(journal.numbered_events()), journal.runs()) == before
        restore_rows(journal, state)
        assert (list(journal.numbered_events()), journal.runs()) == before
        journal.restore([in_flight(5, 12.0)])
        assert journal.last_number() == state.last + 2
    assert is_current(copy, state)


@pytest.mark.parametrize("grows", [False, True])
async def test_a_journal_made_again_is_current_as_long_as_its_log_does_not_grow(
    tmp_path: Path, fake: DictObjects, grows: bool
) -> None:
    """By an entry without events as well, which may have notes. One that closes the log has
    nothing."""
    log = log_on(fake)
    await log.append(rows(1))
    state = await log_on(fake).read()
    with Journal.open(tmp_path / "copy", BINDING, now=1.0) as journal:
        assert restore_rows(journal, state)
    if grows:
        await log.append(rows())
    assert is_current(tmp_path / "copy", await log_on(fake).read()) is not grows
    await log.close("merged")
    assert is_current(tmp_path / "copy", await log_on(fake).read()) is not grows


def test_a_local_journal_that_went_on_without_the_log_is_not_current(
    tmp_path: Path, fake: DictObjects
) -> None:
    """It has more events than the log, of a process that lost the shard meanwhile."""
    ground = ShardGround(tmp_path)
    shard = ground.shard(1, [done(0, 10.0), done(4, 11.0)])
    with Journal.open(shard, BINDING, now=1.0) as journal:
        journal.note("log_writers", "first second")
    assert is_current(shard, LogState(3, "second", last=2))
    assert not is_current(shard, LogState(3, "another", last=2))
    assert not is_current(shard, LogState(3, "second", last=98))
    assert not is_current(shard, LogState())
    with pytest.raises(RunDirectoryError, match="has no log of shard 1/4"):
        set_stale_journal_aside(shard, log_on(fake), LogState())
    set_stale_journal_aside(shard, log_on(fake), LogState(3, "another", last=2))
    assert not Journal.exists(shard)
    assert [path.name for path in (shard / ".crucible").glob("journal*")] == [
        "journal.sqlite3.before-another-3"
    ]


@pytest.mark.parametrize("is_summed_up", [False, True])
@pytest.mark.parametrize("grows", [False, True])
async def test_a_copy_of_a_journal_is_current_until_the_other_one_goes_on(
    tmp_path: Path, fake: DictObjects, grows: bool, is_summed_up: bool
) -> None:
    """The copy has more events than the log, but not all that the log has."""
    shard, copy = ShardGround(tmp_path).shard(1, [done(0, 10.0)]), tmp_path / "copy"
    log = log_on(fake)
    with Journal.open(shard, BINDING, now=1.0) as journal:
        logged = await take_log(journal, log, await log.read(), ObjectOutputStore(shard, fake))
    shutil.copytree(shard, copy)
    with Journal.open(copy, BINDING, now=1.0) as journal:
        journal.restore([done(1, 11.0), done(2, 12.0)])
    with Journal.open(shard, BINDING, now=1.0) as journal:
        logged.journal = journal
        if grows:
            journal.restore([in_flight(3, 11.5)])
        await logged.add()
        await logged.add()
        if is_summed_up:
            await logged.finish()
    for state in (await log_on(fake).read(), await log_on(fake).read_end()):
        assert is_current(shard, state)
        assert is_current(copy, state) is not grows


async def test_a_journal_names_its_process_before_the_log_has_its_entry(
    tmp_path: Path, fake: DictObjects
) -> None:
    """Otherwise it would be set aside as that of a machine which has lost the shard."""
    shard = ShardGround(tmp_path).shard(1, [done(0, 10.0)])
    log = log_on(fake)

    def fault(request: str, key: str) -> None:
        if request == "answer":
            raise unusable(key)

    fake.fault = fault
    with Journal.open(shard, BINDING, now=1.0) as journal, pytest.raises(ObjectStoreError):
        await take_log(journal, log, await log.read(), ObjectOutputStore(shard, fake))
    state = await log_on(fake).read()
    assert (state.position, state.writer) == (1, log.writer)
    assert is_current(shard, state)


async def test_a_plan_is_listed_before_it_can_be_run(tmp_path: Path, fake: DictObjects) -> None:
    plan: Any = SimpleNamespace(digest=AA, path=tmp_path / "plan.json")
    plan.path.write_bytes(b"plan")

    def fault(request: str, key: str) -> None:
        if (request, key) == ("create", FIRST):
            raise unusable(key)

    fake.fault = fault
    with pytest.raises(ObjectStoreError):
        await publish_plan(fake, plan)
    assert fake.content == {}
    fake.fault = lambda _request, _key: None
    await publish_plan(fake, plan)
    assert fake.content[plan_key(AA)] == b"plan"


async def test_plans_are_listed_until_they_are_merged(tmp_path: Path, objects: ObjectPort) -> None:
    store = ObjectOutputStore(tmp_path, objects)
    await refuse_unknown_plans(store, None)
    await list_plan(objects, AA)
    await list_plan(objects, AA)
    with pytest.raises(ShardsUnknownError):
        await refuse_unknown_plans(store, OutstandingShards(BB, {}))
    with pytest.raises(ShardsUnknownError):
        await list_plan(objects, BB)
    await refuse_unknown_plans(store, OutstandingShards(BB, {}, earlier=(AA,)))
    await note_merged(objects, AA)
    await note_merged(objects, AA)
    await list_plan(objects, AA)  # by a shard that is started late
    await list_plan(objects, BB)
    listed = await read_list(objects)
    assert [(plan.digest, plan.merged) for plan in listed.plans] == [(AA, True), (BB, False)]
    assert listed.position == 3
    await refuse_unknown_plans(store, OutstandingShards(BB, {}))


async def test_a_plan_whose_budget_does_not_include_a_later_division_is_not_listed(
    objects: ObjectPort,
) -> None:
    """Its shards are merged, but after the machine has read what is left of the budget."""
    listing = await Listing.of(objects)
    await list_plan(objects, AA)
    await note_merged(objects, AA)
    with pytest.raises(RunDirectoryError, match="at the same time"):
        await listing.add(BB)
    await (await Listing.of(objects)).add(BB)
    await listing.add(BB)  # the same command again


async def test_of_two_plans_that_are_listed_at_once_one_is(fake: DictObjects) -> None:
    create = fake.create

    async def slower(key: str, content: bytes) -> bool:
        fake.create = create  # type: ignore[method-assign]
        await list_plan(fake, BB)
        return await create(key, content)

    fake.create = slower  # type: ignore[method-assign]
    with pytest.raises(ShardsUnknownError):
        await list_plan(fake, AA)
    assert (await read_list(fake)).unmerged == (BB,)


@pytest.mark.parametrize(
    "content", [b"[]", b'{"plan": {"digest": "../../../etc", "merged": false}}']
)
async def test_a_list_that_cannot_be_read_permits_nothing(
    tmp_path: Path, fake: DictObjects, content: bytes
) -> None:
    fake.content[FIRST] = content
    with pytest.raises(RunDirectoryError, match="can't be read"):
        await refuse_unknown_plans(ObjectOutputStore(tmp_path, fake), None)


async def test_another_object_in_the_place_of_a_plan_is_kept(fake: DictObjects) -> None:
    await publish_bytes(fake, "k", b"one")
    await publish_bytes(fake, "k", b"one")
    with pytest.raises(RunDirectoryError, match="another object"):
        await publish_bytes(fake, "k", b"two")
    assert fake.content["k"] == b"one"


def test_an_entry_is_json_that_later_releases_can_read() -> None:
    """The names of its fields are part of the format."""
    from crucible_batch.runs.journal_log import _ENTRY

    content = JournalRows(
        ((1, "s", "Held", "{}"),),
        ((1, 1.5, None, "{}", None),),
        {"key": "k"},
        (("e", 1.0, '{"amount":"2"}'),),
        ((1.0, 2.0, "{}"),),
        (("s", "{}"),),
    )
    figures = LoggedFigures({Outcome.PENDING: 3}, Decimal(2), Decimal(1), 1, 4)
    of = ShardLog(DictObjects(URL), "d", ShardId(1, 2)).of
    entry = JournalEntry(of, "ab", content, figures=figures)
    text = (
        b'{"of":{"plan":"d","shard":"1/2"},"writer":"ab","rows":{"events":[[1,"s","Held","{}"]],'
        b'"runs":[[1,1.5,null,"{}",null]],"notes":{"key":"k"},'
        b'"gateway_entries":[["e",1.0,"{\\"amount\\":\\"2\\"}"]],'
        b'"gateway_readings":[[1.0,2.0,"{}"]],"planned":[["s","{}"]]},"closed":"",'
        b'"figures":{"counts":{"pending":3},"spent":"2","held":"1","in_flight":1,"taken":4,'
        b'"exit_code":null},'
        b'"last":0,"digest":"","through":0,"version":1}'
    )
    assert _ENTRY.dump_json(entry) == text
    assert _ENTRY.validate_json(text.replace(b'"digest":"",', b"")) == entry
    assert _ENTRY.validate_json(text) == entry
