"""What a run does with the evidence that an upload without an answer was not charged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, cast

from crucible_batch.domain.events import Created, Event, Held, Intended, Lost, NotCharged
from crucible_batch.domain.gateway_types import AssetSnapshot, ErrorInfo, LedgerEntry
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.lost_uploads import LOST_UPLOAD_PATIENCE_S
from crucible_batch.domain.prices import PriceBook
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.lost_uploads import LostUploads
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import ExitCode, GatewayError

D = Decimal
ASSET = "asset:" + "a" * 64


class World(SystemClock):
    """A gateway, its ledger, a journal and a clock in one: an image was uploaded twice, the first time unanswered."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.read_at = 1000.0
        self.readings = 0
        self.fails = False
        self.events_: list[tuple[str, Event]] = []
        self.shown: list[AssetSnapshot] = []
        self.more: list[LedgerEntry] = []
        self.stop = Shutdown()
        self.accounting = JournaledLedger(cast("Any", self), Ledger(PriceBook(D(3), D(1))), D(60))
        self.lost = LostUploads(cast("Any", self), self.accounting, cast("Any", self), self, self.stop, readings=self)

    async def upload(self) -> None:
        story: list[Event] = [
            Intended(at=1000.0, nonce="n1", credits=D(1), payer="job"),
            Lost(at=1001.0, nonce="n1"),
            Intended(at=1002.0, nonce="n2", credits=D(1), payer="job"),
            Created(at=1003.0, asset_id="a2", credits=D("0.5")),
        ]
        held = Held(at=999.0, attempt=1, key="k", credits=D(5), price_class="workflow:w", images=True)
        await self.accounting.record("job", held)
        for event in story:
            await self.accounting.record(ASSET, event)
        self.time = 1004.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds

    async def append(self, subject: str, event: Event) -> None:
        self.events_.append((subject, event))

    async def drain(self) -> None:
        """Durable at once."""

    def events(self) -> Iterator[tuple[str, Event]]:
        return iter(self.events_)

    def started_jobs(self, _rule: object) -> Iterator[Any]:
        return iter(())

    retired = lambda self: iter(())  # noqa: E731

    async def assets(self) -> Sequence[AssetSnapshot]:
        if self.fails:
            raise GatewayError("not now", code="HTTP_503", status=503)
        return self.shown

    async def read(self) -> None:
        self.readings += 1
        self.read_at = self.time

    def entries(self) -> Sequence[LedgerEntry]:
        return [LedgerEntry("1", "upload", D("0.5"), 1002.5), *self.more]

    def covers(self, moment: float) -> bool:
        return moment >= 990.0

    @property
    def settled(self) -> list[str]:
        return [event.nonce for _, event in self.events_ if isinstance(event, NotCharged)]


async def test_it_is_settled_only_by_a_reading_after_the_patience() -> None:
    world = World()
    await world.upload()
    assert world.accounting.ledger.held_for_uploads == D(1)
    await world.lost.settle()
    assert world.settled == []
    world.time = 1003.0 + LOST_UPLOAD_PATIENCE_S
    await world.lost.settle()
    assert world.settled == []
    await world.read()
    await world.lost.settle()
    assert (world.settled, world.accounting.ledger.held_for_uploads, world.lost.are_open) == (["n1"], D(0), False)


async def test_the_end_of_a_run_waits_for_the_patience_once() -> None:
    world = World()
    await world.upload()
    await world.lost.settle_at_end()
    assert (world.settled, world.readings, world.time) == (["n1"], 1, 1003.0 + LOST_UPLOAD_PATIENCE_S)
    await world.lost.settle_at_end()
    assert (world.settled, world.readings) == (["n1"], 1)


async def test_nothing_is_waited_for_if_no_reading_could_prove_it_or_the_run_is_stopped() -> None:
    charged = World()
    charged.more = [LedgerEntry("2", "upload", D("0.5"), 1000.5)]
    stopped = World()
    stopped.stop.wind_down(ExitCode.STOPPED, ErrorInfo("X", "x"))
    for world in (charged, stopped):
        await world.upload()
        await world.lost.settle_at_end()
        assert (world.settled, world.readings, world.time) == ([], 0, 1004.0)


async def test_without_the_list_of_assets_it_stays_held_and_the_run_ends_as_it_would() -> None:
    world = World()
    await world.upload()
    world.fails = True
    await world.lost.settle_at_end()
    assert (world.settled, world.lost.are_open) == ([], True)
