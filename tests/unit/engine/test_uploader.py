"""What is known of an image before it is uploaded, who pays for it, and what a failure does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import pytest

from crucible_batch.core.asset import Asset, AssetPhase
from crucible_batch.core.events import Deleted, Event, Intended, Lost, NotCreated, Uploaded
from crucible_batch.core.gateway_types import AssetSnapshot, AssetStatus, UploadIntent
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage
from crucible_batch.core.ports import BeforeSend
from crucible_batch.core.prices import PriceBook
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.uploads import AssetFailed, AssetUploader, UploadNotSent
from crucible_batch.errors import GatewayError, KeyRefusedError
from tests.harness.job_events import held_event, intended_event
from tests.harness.replacing import replace

D = Decimal
READY, PENDING, DELETED = AssetStatus.READY, AssetStatus.PENDING, AssetStatus.DELETED
GONE = GatewayError("not found", code="ASSET_NOT_FOUND", status=404)
UNAVAILABLE = GatewayError("not now", code="HTTP_503", status=503)
NO_ANSWER = GatewayError("no answer", code="NO_ANSWER", in_doubt=True)


class World(SystemClock):
    """A gateway, a journal and a clock in one, with an uploader.

    ``lists`` are what the gateway lists, one after the other, the last one for good; ``by_id`` what
    it has of an asset by its id, READY if nothing is set; ``answers`` to intents, in order, then
    each is created.
    """

    def __init__(
        self, image: InputImage, *, budget: str = "100", upload_ceiling: str | None = "1"
    ) -> None:
        self.image = image
        self.lists: list[list[AssetSnapshot] | GatewayError] = [[]]
        self.by_id: dict[str, list[AssetStatus | GatewayError]] = {}
        self.answers: list[GatewayError] = []
        self.created: list[str] = []
        self.deleted: list[str] = []
        self.events: list[Event] = []
        self.past = Asset(image.spec.sha256)
        self.may_buy = True
        ceiling = None if upload_ceiling is None else D(upload_ceiling)
        self.accounting = JournaledLedger(self, Ledger(PriceBook(D(3), ceiling)), D(budget))
        self.uploader = AssetUploader(
            cast("Any", self),
            self.accounting,
            self,
            past=lambda _sha256: self.past,
            nonce=lambda: f"n{len(self.created)}",
            observe=lambda _image, _event: None,
            may_buy=lambda: self.may_buy,
        )

    async def sleep(self, _seconds: float) -> None:
        await asyncio.sleep(0)

    async def append(self, _subject: str, event: Event) -> None:
        self.events.append(event)

    async def assets(self) -> list[AssetSnapshot]:
        found = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        if isinstance(found, GatewayError):
            raise found
        return found

    async def asset(self, asset_id: str) -> AssetSnapshot:
        left = self.by_id.get(asset_id, [READY])
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, GatewayError):
            raise found
        return self.snapshot(asset_id, found)

    async def create_asset(
        self, _spec: object, *, nonce: str, before_send: BeforeSend
    ) -> UploadIntent:
        await asyncio.sleep(0)
        before_send()
        self.created.append(nonce)
        if self.answers:
            raise self.answers.pop(0)
        return UploadIntent(f"new{len(self.created)}", "https://storage/x", D(1))

    async def upload(self, *_upload: object) -> None:
        await asyncio.sleep(0)

    async def delete_asset(self, asset_id: str) -> Decimal:
        self.deleted.append(asset_id)
        return D(1)

    def snapshot(self, asset_id: str, status: AssetStatus = READY, **other: Any) -> AssetSnapshot:
        spec = self.image.spec
        return replace(AssetSnapshot(asset_id, status, spec.byte_size, spec.sha256), **other)

    def hold(self, job: str, credits: str = "4") -> None:
        held = held_event(credits, images=True)
        self.accounting.ledger.apply(job, held)

    async def ready(self, job: str = "job") -> str:
        await self.uploader.look_up([self.image])
        return await self.uploader.ready(self.image, payer=job)

    def of_kind(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


# -- what the gateway has


@pytest.mark.parametrize(
    ("change", "is_used"),
    [
        ({}, True),
        ({"status": PENDING}, False),
        ({"status": DELETED}, False),
        ({"byte_size": 1}, False),
    ],
)
async def test_only_a_ready_asset_of_the_same_size_is_used_instead_of_an_upload(
    image: InputImage, change: dict[str, Any], is_used: bool
) -> None:
    world = World(image)
    world.lists = [[world.snapshot("there", **change)]]
    world.hold("job")
    await world.uploader.look_up([image])
    assert world.uploader.missing("job", [image]) == (not is_used)
    assert (await world.ready(), len(world.created)) == (("there", 0) if is_used else ("new1", 1))


@pytest.mark.parametrize(
    ("by_id", "asset_id"),
    [(READY, "old"), (DELETED, "new1"), (PENDING, "new1"), (GONE, "new1"), (UNAVAILABLE, None)],
)
@pytest.mark.parametrize("other_is_listed", [False, True])
async def test_an_uploaded_asset_that_is_not_listed_is_asked_for_by_its_id(
    image: InputImage,
    by_id: AssetStatus | GatewayError,
    asset_id: str | None,
    other_is_listed: bool,
) -> None:
    """That it is gone is journalled: else the next run would rely on it."""
    world = World(image)
    world.past = Asset(image.spec.sha256, AssetPhase.READY, asset_id="old", charged=D(1))
    world.by_id = {"old": [by_id]}
    world.lists = [[world.snapshot("other")] if other_is_listed else []]
    world.hold("job")
    if asset_id is None:
        with pytest.raises(GatewayError, match="not now"):
            await world.ready()
        return
    assert await world.ready() == ("other" if other_is_listed and asset_id == "new1" else asset_id)
    assert len(world.of_kind(Deleted)) == (asset_id == "new1")


@pytest.mark.parametrize(
    ("phase", "event"), [(AssetPhase.INTENDED, Lost), (AssetPhase.CREATED, Uploaded)]
)
async def test_what_becomes_of_an_upload_of_an_earlier_run_is_journalled(
    image: InputImage, phase: AssetPhase, event: type[Event]
) -> None:
    world = World(image)
    asset_id = None if phase is AssetPhase.INTENDED else "old"
    world.past = Asset(image.spec.sha256, phase, asset_id=asset_id, nonce="n")
    await world.uploader.look_up([image])
    assert len(world.of_kind(event)) == 1


@pytest.mark.parametrize("phase", [AssetPhase.CREATED, AssetPhase.UPLOADED, AssetPhase.READY])
async def test_an_image_is_not_bought_again_for_a_404_that_is_not_repeated(
    image: InputImage, phase: AssetPhase
) -> None:
    world = World(image)
    world.past = Asset(image.spec.sha256, phase, asset_id="old", nonce="n", charged=D(1))
    world.by_id = {"old": [GONE] * 4 + [READY]}
    world.hold("job")
    assert (await world.ready(), world.created, world.of_kind(Deleted)) == ("old", [], [])


async def test_an_image_that_was_just_uploaded_is_not_bought_again_for_404s(
    image: InputImage,
) -> None:
    world = World(image)
    world.by_id = {"new1": [GONE] * 4 + [READY]}
    world.hold("job")
    assert (await world.ready(), world.created) == ("new1", ["n0"])


async def test_an_asset_whose_upload_is_uncertain_gets_time_before_it_is_deleted(
    image: InputImage,
) -> None:
    world = World(image)
    world.past = Asset(image.spec.sha256, AssetPhase.CREATED, asset_id="old", nonce="n")
    world.by_id = {"old": [PENDING, READY]}
    world.hold("job")
    assert (await world.ready(), world.deleted) == ("old", [])


async def test_a_lost_intent_is_searched_for_until_the_list_had_time_to_show_it(
    image: InputImage,
) -> None:
    world = World(image)
    listed = [world.snapshot("late", PENDING, nonce="n0")]
    world.answers = [NO_ANSWER]
    world.lists = [[], [], [], listed]
    world.hold("job")
    await world.uploader.look_up([image])
    event = await world.uploader._find_lost(Asset(image.spec.sha256, nonce="n0"))
    assert not isinstance(event, Lost)


# -- who pays


async def test_jobs_that_need_one_image_at_the_same_time_upload_it_once_and_one_of_them_pays(
    image: InputImage,
) -> None:
    world = World(image)
    await world.uploader.look_up([image])
    for job in ("first", "second"):
        world.hold(job)
    assert world.uploader.missing("first", [image]) == 1
    world.uploader.claim("first", [image])
    assert world.uploader.missing("second", [image]) == 0
    ready = await asyncio.gather(
        *(world.uploader.ready(image, payer=job) for job in ("second", "first"))
    )
    assert (ready, world.created) == (["new1", "new1"], ["n0"])
    intents = world.of_kind(Intended)
    assert [cast("Intended", intent).payer for intent in intents] == ["first"]


async def test_an_upload_that_is_not_sent_is_missing_for_the_next_job(image: InputImage) -> None:
    """Its claim was held for with credits that do not suffice: the next job must hold for it as
    well.
    """
    world = World(image)
    world.hold("first")
    await world.uploader.look_up([image])
    world.uploader.claim("first", [image])
    world.may_buy = False
    with pytest.raises(UploadNotSent):
        await world.uploader.ready(image, payer="first")
    assert world.created == []
    assert world.uploader.missing("second", [image]) == 1


async def test_nothing_is_sent_after_two_uploads_of_unknown_cost_even_if_it_was_held_for_before(
    image: InputImage,
) -> None:
    world = World(image, upload_ceiling=None)
    held = held_event(90, images=True, alone=True)
    world.accounting.ledger.apply("job", held)
    for sha256 in ("1", "2"):
        intended = intended_event(0, "other", nonce=sha256)
        world.accounting.ledger.apply(f"asset:{sha256}", intended)
        world.accounting.ledger.apply(f"asset:{sha256}", Lost(at=0.0, nonce=sha256))
    with pytest.raises(UploadNotSent):
        await world.ready()
    assert world.created == []


# -- what fails


def _raises_gateway_error(error: Exception) -> bool:
    return isinstance(error, GatewayError)


def _fails(*, declined: bool) -> Callable[[Exception], bool]:
    return lambda error: isinstance(error, AssetFailed) and error.declined is declined


@pytest.mark.parametrize(
    ("answer", "is_expected", "is_tried_again"),
    [
        (GatewayError("pay", code="PAYMENT_REQUIRED", status=402), _fails(declined=True), True),
        (
            GatewayError("no such type", code="UNSUPPORTED_IMAGE", status=400),
            _fails(declined=False),
            False,
        ),
        (KeyRefusedError("key", code="UNAUTHORIZED", status=401), _raises_gateway_error, True),
        (GatewayError("slow down", code="RATE_LIMITED", status=429), _raises_gateway_error, True),
    ],
)
async def test_an_image_fails_for_good_only_because_of_itself(
    image: InputImage,
    answer: GatewayError,
    is_expected: Callable[[Exception], bool],
    is_tried_again: bool,
) -> None:
    world = World(image)
    world.answers = [answer]
    world.hold("job")
    with pytest.raises((GatewayError, AssetFailed)) as raised:
        await world.ready()
    assert is_expected(raised.value)
    assert len(world.of_kind(NotCreated)) == 1
    if is_tried_again:
        assert await world.ready() == "new2"
    else:
        with pytest.raises(AssetFailed):
            await world.ready()
        assert len(world.created) == 1


async def test_an_image_without_an_answer_is_searched_for_before_it_is_bought_again(
    image: InputImage,
) -> None:
    world = World(image)
    world.answers = [NO_ANSWER]
    world.lists = [[], UNAVAILABLE, [world.snapshot("there", PENDING, nonce="n0")]]
    world.hold("job")
    with pytest.raises(GatewayError, match="not now"):
        await world.ready()
    assert await world.ready() == "there"
    assert world.created == ["n0"]


# -- what was not sent


def interrupted(world: World, error: BaseException, *, at: str) -> None:
    """Let an upload be interrupted: while its intent is journalled, while its file is read, or once
    it is sent.
    """

    async def load(_image: InputImage) -> bytes:
        if at == "read":
            raise error
        return b"png"

    async def append(_subject: str, event: Event) -> None:
        world.events.append(event)
        if at == "journal" and isinstance(event, Intended):
            raise error

    world.uploader._load = load
    world.append = append  # type: ignore[method-assign]
    if at == "answer":
        world.answers = cast("Any", [error])


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("disk"), asyncio.CancelledError(), RuntimeError("bug")]
)
@pytest.mark.parametrize("at", ["journal", "read"])
async def test_an_upload_that_was_not_sent_holds_nothing_whatever_was_raised(
    image: InputImage, error: BaseException, at: str
) -> None:
    world = World(image)
    interrupted(world, error, at=at)
    world.hold("job")
    with pytest.raises(type(error)):
        await world.ready()
    assert (world.created, len(world.of_kind(NotCreated))) == ([], 1)
    assert world.accounting.ledger.held == D(4)  # the job's, which is returned in full
    replayed = Ledger(PriceBook(D(3), D(1)))
    for event in world.events:
        replayed.apply(f"asset:{image.spec.sha256}", event)
    assert (replayed.held, replayed.unpriced_uploads) == (D(0), 0)


@pytest.mark.parametrize("error", [MemoryError(), asyncio.CancelledError()])
async def test_an_upload_that_was_sent_keeps_its_hold_and_is_searched_for_before_it_is_bought_again(
    image: InputImage, error: BaseException
) -> None:
    world = World(image)
    interrupted(world, error, at="answer")
    world.hold("job")
    with pytest.raises(type(error)):
        await world.ready()
    assert world.accounting.ledger.hold_of(f"asset:{image.spec.sha256}") == D(1)
    world.lists = [[world.snapshot("mine", status=PENDING, nonce="n0")]]
    world.by_id["mine"] = [READY]
    assert (await world.uploader.ready(image, payer="job"), len(world.created)) == ("mine", 1)
