"""What a run does with the evidence that an upload without an answer was not charged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Any, cast

from crucible_batch.core.events import Created, Event, Lost, NotCharged
from crucible_batch.core.gateway_types import AssetSnapshot, ErrorInfo, LedgerEntry
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.lost_uploads import LOST_UPLOAD_PATIENCE_S
from crucible_batch.core.prices import PriceBook
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.lost_uploads import LostUploads
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import ExitCode, GatewayError
from tests.harness.job_events import held_event, intended_event
from tests.harness.replacing import replace
from tests.unit.engine.test_slots import kept, settled

D = Decimal
ASSET = "asset:" + "a" * 64
OTHER = "asset:" + "b" * 64
ANSWER = Created(at=1003.0, asset_id="a2", credits=D("0.5"))


class World(SystemClock):
    """A gateway, its ledger, a journal and a clock in one: an image was uploaded twice, the first
    time unanswered.
    """

    def __init__(self) -> None:
        self.time = 1000.0
        self.put_forward_s = 0.0
        self.read_at = 1000.0
        self.readings = 0
        self.starts: list[float] = []
        self.fails = False
        self.events_: list[tuple[str, Event]] = []
        self.shown: list[AssetSnapshot] = []
        self.more: list[LedgerEntry] = []
        self.seen: dict[str, float] = {}
        self.elsewhere: frozenset[str] = frozenset()
        self.answers = True
        self.charge_listed_at = 0.0
        self.while_asleep: Callable[[], None] = lambda: None
        self.stop = Shutdown()
        self.accounting = JournaledLedger(cast("Any", self), Ledger(PriceBook(D(3), D(1))), D(60))
        self.begin_a_run()

    def begin_a_run(self) -> None:
        self.lost = LostUploads(
            cast("Any", self), self.accounting, cast("Any", self), self, self.stop, readings=self
        )

    async def upload(self) -> None:
        story: list[Event] = [
            intended_event(1, at=1000.0, nonce="n1"),
            Lost(at=1001.0, nonce="n1"),
            intended_event(1, at=1002.0, nonce="n2"),
            ANSWER,
        ]
        held = held_event(5, at=999.0, images=True)
        await self.accounting.record("job", held)
        for event in story:
            self.time = event.at
            await self.accounting.record(ASSET, event)
        self.time = 1004.0

    def now(self) -> float:
        return self.time + self.put_forward_s

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.while_asleep()

    async def append(self, subject: str, event: Event) -> None:
        self.events_.append((subject, event))

    async def drain(self) -> None:
        """Durable at once."""

    def events(self) -> Iterator[tuple[str, Event]]:
        return iter(self.events_)

    def sent_elsewhere(self) -> frozenset[str]:
        return self.elsewhere

    def run_starts(self) -> list[float]:
        return self.starts

    def started_jobs(self, _rule: object) -> Iterator[Any]:
        return iter(())

    retired = lambda self: iter(())  # noqa: E731

    async def assets(self) -> Sequence[AssetSnapshot]:
        if self.fails:
            raise GatewayError("not now", code="HTTP_503", status=503)
        return self.shown

    async def read(self) -> None:
        self.readings += 1
        if self.answers:
            self.read_at = self.now()

    def ledger_entries(self) -> Sequence[LedgerEntry]:
        """The charge of the upload with an answer, and others."""
        charge = LedgerEntry("1", "upload", D("0.5"), 1002.5, description="upload of a2")
        return self.more if self.read_at < self.charge_listed_at else [charge, *self.more]

    def ledger_entries_seen(self) -> Mapping[str, float]:
        return self.seen

    def reaches_back_to(self, moment: float) -> bool:
        return moment >= 990.0

    @property
    def settled(self) -> list[str]:
        return [event.nonce for _, event in self.events_ if isinstance(event, NotCharged)]

    def kept(self) -> AbstractAsyncContextManager[None]:
        return kept(self.lost.keep())


OVER = 1003.0 + LOST_UPLOAD_PATIENCE_S
"""When the patience of both uploads is over."""
CHARGE_OF_THE_LOST = LedgerEntry("2", "upload", D("0.5"), 1000.5)


async def test_it_is_settled_only_by_a_reading_after_the_patience() -> None:
    world = World()
    await world.upload()
    assert world.accounting.ledger.held_for_uploads == D(1)
    await world.lost.settle()
    assert world.settled == []
    world.time = OVER
    await world.lost.settle()
    assert world.settled == []
    await world.read()
    await world.lost.settle()
    assert (world.settled, world.accounting.ledger.held_for_uploads, world.lost.are_open) == (
        ["n1"],
        D(0),
        False,
    )


async def test_it_is_never_settled_if_another_process_may_still_send_it() -> None:
    world = World()
    await world.upload()
    world.elsewhere = frozenset({"n1", "n2"})
    world.time = OVER
    await world.read()
    await world.lost.settle()
    assert (world.settled, world.accounting.ledger.held_for_uploads) == ([], D(1))


async def test_a_clock_that_is_put_forward_does_not_end_its_patience() -> None:
    world = World()
    await world.upload()
    for put_forward_s in (7200.0, 9000.0):
        world.put_forward_s = put_forward_s
        await world.read()
        await world.lost.settle()
        assert (world.settled, world.lost.awaited) == ([], D(1))
    world.time = OVER
    world.put_forward_s += 7200.0  # since the reading
    await world.lost.settle()
    assert world.settled == []
    await world.lost.settle_at_end()
    assert (world.settled, world.time) == (["n1"], OVER)


async def test_its_patience_begins_when_its_answer_is_given_up() -> None:
    world = World()
    await world.accounting.record(OTHER, intended_event(1, at=1000.0, nonce="n2"))
    await world.accounting.record(OTHER, ANSWER)
    await world.accounting.record(ASSET, intended_event(1, at=1000.0, nonce="n1"))
    world.time = 1029.0
    await world.accounting.record(ASSET, Lost(at=1029.0, nonce="n1"))
    await world.lost.settle_at_end()
    assert (world.settled, world.time) == (["n1"], 1029.0 + LOST_UPLOAD_PATIENCE_S)


async def test_the_patience_of_an_upload_of_an_earlier_run_begins_with_the_run() -> None:
    """The clock may have been put right in between."""
    world = World()
    await world.upload()
    world.time = OVER + 100
    world.begin_a_run()
    await world.read()
    await world.lost.settle()
    assert (world.settled, world.lost.awaited) == ([], D(1))
    await world.lost.settle_at_end()
    assert (world.settled, world.time) == (["n1"], OVER + 100 + LOST_UPLOAD_PATIENCE_S)


async def test_until_then_its_credits_are_awaited() -> None:
    world = World()
    await world.upload()
    assert world.lost.awaited == 0  # nothing is known yet
    await world.lost.settle()
    assert (world.settled, world.lost.awaited) == ([], D(1))
    world.time = OVER
    await world.read()
    assert world.lost.awaited == D(1)
    await world.lost.settle()
    assert (world.settled, world.lost.awaited) == (["n1"], 0)


async def test_what_may_be_charged_or_cannot_be_known_is_not_awaited() -> None:
    world = World()
    await world.upload()
    await world.lost.settle()
    world.more = [CHARGE_OF_THE_LOST]
    await world.lost.settle()
    assert world.lost.awaited == 0
    world.more = []
    await world.lost.settle()
    assert world.lost.awaited == D(1)
    world.fails = True
    await world.lost.settle()
    assert world.lost.awaited == 0


async def test_after_each_settlement_those_who_wait_are_told() -> None:
    world = World()
    told: list[Decimal] = []
    world.lost.on_settled.append(lambda: told.append(world.lost.awaited))
    await world.lost.settle()
    assert told == []
    await world.upload()
    await world.lost.settle()
    world.fails = True
    await world.lost.settle()
    assert told == [D(1), D(0)]


async def test_an_entry_that_was_seen_before_it_was_sent_is_not_its_charge() -> None:
    for seen_at, expected in ((999.0, ["n1"]), (1000.5, [])):
        world = World()
        world.more = [LedgerEntry("2", "upload", D("0.7"), 1000.5)]
        world.seen = {"2": seen_at}
        await world.upload()
        await world.lost.settle_at_end()
        assert world.settled == expected


async def test_an_upload_not_listed_yet_does_not_explain_the_charge_of_the_lost_one() -> None:
    """Its patience is over first; then the only charge may be its own."""
    world = World()
    world.more = [CHARGE_OF_THE_LOST]
    world.charge_listed_at = OVER
    await world.upload()
    world.time = 1001.0 + LOST_UPLOAD_PATIENCE_S
    await world.read()
    await world.lost.settle()
    assert (world.settled, world.lost.awaited) == ([], D(1))
    await world.lost.settle_at_end()
    assert (world.settled, world.lost.awaited, world.time) == ([], 0, OVER)


async def test_the_end_of_a_run_waits_for_the_patience_once() -> None:
    world = World()
    await world.upload()
    await world.lost.settle_at_end()
    assert (world.settled, world.readings, world.time) == (["n1"], 2, OVER)
    await world.lost.settle_at_end()
    assert (world.settled, world.readings) == (["n1"], 2)


async def test_the_end_of_a_run_reads_first_and_waits_no_more_if_the_patience_is_over() -> None:
    world = World()
    await world.upload()
    world.time = OVER + 5
    await world.lost.settle_at_end()
    assert (world.settled, world.readings, world.time) == (["n1"], 1, OVER + 5)


async def test_an_upload_of_a_clock_that_was_ahead_is_not_waited_for_and_stays_held() -> None:
    world = World()
    await world.upload()
    world.time = 995.0
    await world.lost.settle_at_end()
    assert (world.settled, world.lost.awaited, world.time) == ([], 0, 995.0)
    world.time = OVER + 5
    await world.lost.settle_at_end()
    assert (world.settled, world.lost.are_open, world.time) == ([], True, OVER + 5)


async def test_an_upload_of_a_run_whose_clock_was_ahead_stays_held_whatever_is_known() -> None:
    for starts, expected in (([999.0], ["n1"]), ([999.0, 500.0], [])):
        world = World()
        world.starts = starts
        await world.upload()
        world.time = OVER + 5
        await world.lost.settle_at_end()
        assert world.settled == expected


async def test_nothing_is_waited_for_if_no_reading_could_prove_it_or_the_run_is_stopped() -> None:
    charged = World()
    charged.more = [CHARGE_OF_THE_LOST]
    stopped = World()
    stopped.stop.wind_down(ExitCode.STOPPED, ErrorInfo("X", "x"))
    for world in (charged, stopped):
        await world.upload()
        await world.lost.settle_at_end()
        assert (world.settled, world.readings, world.time) == ([], 1, 1004.0)


async def test_a_run_that_is_stopped_while_it_waits_reads_no_more() -> None:
    world = World()
    await world.upload()
    world.while_asleep = lambda: world.stop.wind_down(ExitCode.STOPPED, ErrorInfo("X", "x"))
    await world.lost.settle_at_end()
    assert (world.settled, world.readings) == ([], 1)


async def test_without_the_list_of_assets_it_stays_held_and_the_run_ends_as_it_would() -> None:
    world = World()
    await world.upload()
    world.fails = True
    await world.lost.settle_at_end()
    assert (world.settled, world.lost.are_open) == ([], True)


# -- while a run is active


async def test_a_run_settles_it_as_soon_as_the_patience_is_over() -> None:
    world = World()
    async with world.kept():
        assert world.readings == 0
        await world.upload()
        await settled()
        assert (world.settled, world.readings, world.time) == (["n1"], 2, OVER)
        await settled()
        assert world.readings == 2


async def test_an_upload_that_is_answered_later_shows_it_once_its_patience_is_over() -> None:
    """Until then nothing shows that the ledger lists uploads, and nothing is waited for."""
    world = World()
    world.charge_listed_at = 2000.0
    async with world.kept():
        await world.accounting.record(ASSET, intended_event(1, at=1000.0, nonce="n1"))
        await world.accounting.record(ASSET, Lost(at=1001.0, nonce="n1"))
        await settled()
        assert (world.settled, world.readings, world.lost.awaited) == ([], 2, 0)
        world.time = 2000.0
        await world.accounting.record(OTHER, intended_event(1, at=2000.0, nonce="n2"))
        await world.accounting.record(OTHER, replace(ANSWER, at=2000.0))
        await settled()
        assert (world.settled, world.readings) == (["n1"], 3)
        assert world.time == 2000.0 + LOST_UPLOAD_PATIENCE_S


async def test_a_run_reads_once_for_what_may_be_charged() -> None:
    world = World()
    world.more = [CHARGE_OF_THE_LOST]
    async with world.kept():
        await world.upload()
        await settled()
        await settled()
        assert (world.settled, world.readings, world.time) == ([], 1, 1004.0)


async def test_a_gateway_that_does_not_answer_is_asked_every_five_seconds() -> None:
    world = World()
    world.answers = False
    async with world.kept():
        await world.upload()
        await settled()
        asked = world.readings - 2
        assert asked > 1
        assert world.time in (OVER + 5 * asked, OVER + 5 * asked + 5)
        world.answers = True
        await settled()
        assert (world.settled, world.lost.are_open) == (["n1"], False)
