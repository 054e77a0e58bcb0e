"""What an upload may cost is held when it is sent: also the second of an image, and one that
another job claimed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from crucible_batch.core.asset import Asset
from crucible_batch.core.events import Created, Event
from crucible_batch.core.gateway_types import AssetSpec, UploadIntent
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage
from crucible_batch.core.ports import BeforeSend
from crucible_batch.core.prices import PriceBook
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.uploads import AssetFailed, AssetUploader, UploadNotSent
from crucible_batch.errors import GatewayError
from tests.harness.job_events import held_event

ONE = "{name: a, prompt: one, workflow: qwen-edit, image: a.png}"
HEAD = "budget: {{credits: {}, max_credits_per_job: 3, max_credits_per_upload: 25}}\n"


def is_intent(request: httpx.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith("/assets")


async def refused_by_the_storage(request: httpx.Request, send):
    return httpx.Response(403) if request.method == "PUT" else await send()


async def lost_and_in_no_list(request: httpx.Request, send):
    if is_intent(request):
        await (await send()).aread()
        raise httpx.ReadError("lost")
    if request.url.path.endswith("/assets"):
        return httpx.Response(200, json={"success": True, "data": {"assets": []}})
    return await send()


@pytest.mark.parametrize("fault", [refused_by_the_storage, lost_and_in_no_list])
async def test_an_image_is_not_bought_a_second_time_where_a_declared_ceiling_leaves_no_room(
    start, tampered, tally, fault
):
    """The budget is one upload and one job.

    The first upload is charged and of no use: the second would exceed it.
    """
    async with start(upload_price=Decimal(25), rebate_share=Decimal(0)) as bench:
        bench.picture("a.png")
        manifest = bench.manifest(ONE, budget=None, head=HEAD.format(28))
        result = await bench.run(manifest, transport=tampered(fault))
        state = await bench.state()
    assert state["audit"]["spent_on_uploads"] == 25
    assert (result.exit_code, tally(result)) == (4, {"blocked": 1})
    assert result.report.credits.over_budget == 0


async def test_an_image_is_bought_a_second_time_where_the_budget_has_room(start, tampered, tally):
    puts = itertools.count(1)

    async def refused_once(request: httpx.Request, send):
        return httpx.Response(403) if request.method == "PUT" and next(puts) == 1 else await send()

    async with start(upload_price=Decimal(25), rebate_share=Decimal(0)) as bench:
        bench.picture("a.png")
        manifest = bench.manifest(ONE, budget=None, head=HEAD.format(53))
        result = await bench.run(manifest, transport=tampered(refused_once))
        await bench.agree(result)
    assert (result.exit_code, tally(result)) == (0, {"succeeded": 1})
    assert result.report.credits.spent == 53


async def test_uploads_of_which_nobody_knows_the_price_are_not_lost_one_after_the_other(
    start, tally
):
    """No answer to an upload ever comes, and nothing bounds its price: each counts 0, so two are
    enough.
    """
    faults = "asset-create.drop-after=99"
    async with start(upload_price=Decimal(25), rebate_share=Decimal(0), faults=faults) as bench:
        for number in range(5):
            bench.picture(f"{number}.png", (number, 0, 0))
        jobs = "\n".join(
            f"{{name: e{n}, prompt: p{n}, workflow: qwen-edit, image: {n}.png}}" for n in range(5)
        )
        result = await bench.run(bench.manifest(f"{jobs}\n{{name: t, prompt: one}}", budget=60))
        state = await bench.state()
        tallied = tally(result)
        await bench.configure(faults="")
        head = "budget: {credits: 60, max_credits_per_job: 3, max_credits_per_upload: 25}\n"
        again = await bench.run(
            bench.manifest(f"{jobs}\n{{name: t, prompt: one}}", budget=None, head=head)
        )
        after = await bench.state()
    assert state["audit"]["spent_on_uploads"] == 50
    assert (result.exit_code, tallied["blocked"], tallied["succeeded"]) == (4, 4, 1)
    (stop,) = result.report.stops.values()
    assert "max_credits_per_upload" in stop.hint
    assert (after["audit"]["spent_on_uploads"], again.report.credits.held) == (50, 50)
    assert again.report.credits.over_budget == 0


async def test_an_upload_in_doubt_is_searched_for_although_its_job_has_left_the_plan(
    start, tampered, tally
):
    """The run ends before it could search for the upload, and the next has nothing else to do."""
    sent: list[httpx.Request] = []

    async def lost_and_then_down(request: httpx.Request, send):
        if is_intent(request):
            sent.append(request)
            await (await send()).aread()
            raise httpx.ReadError("lost")
        return (
            httpx.Response(503) if sent and request.url.path.endswith("/assets") else await send()
        )

    other = "{name: t, prompt: two}"
    async with start(upload_price=Decimal(2), rebate_share=Decimal(1)) as bench:
        bench.picture("a.png")
        both = bench.manifest(f"{other}\n{ONE}")
        ended = await bench.run(both, transport=tampered(lost_and_then_down))
        before = await bench.state()
        left = await bench.run(bench.manifest(other))
        after = await bench.state()
    assert (ended.exit_code, left.exit_code, tally(left)) == (5, 0, {"succeeded": 1})
    assert (before["audit"]["spent_on_uploads"], after["audit"]["spent_on_uploads"]) == (2, 0)
    assert after["audit"]["problems"] == []


async def content(_image: InputImage) -> bytes:
    return b"abc"


class Turnstile:
    """A gateway that refuses each intent, and a log that keeps nothing.

    ``held`` is what was held for each intent.
    """

    def __init__(self, budget: str) -> None:
        self.ledger = Ledger(PriceBook(ceiling=Decimal(1), upload_ceiling=Decimal(25)))
        self.accounting = JournaledLedger(self, self.ledger, Decimal(budget))
        self.held: list[Decimal] = []
        self.may_buy = True
        self.meanwhile: Callable[[], None] | None = None

    async def append(self, _subject: str, _event: Event) -> None:
        """Durable at once."""

    async def assets(self) -> list[object]:
        return []

    async def create_asset(
        self, spec: AssetSpec, *, nonce: str, before_send: BeforeSend
    ) -> UploadIntent:
        before_send()
        self.held.append(self.ledger.hold_of(f"asset:{spec.sha256}"))
        if self.meanwhile is not None:
            self.meanwhile()
            before_send()
        raise GatewayError("no", code="INVALID_REQUEST", status=400)

    def hold(self, job: str, credits: str) -> None:
        held = held_event(credits, images=True)
        self.ledger.apply(job, held)

    def desk(self) -> AssetUploader:
        def past(digest: str) -> Asset:
            return Asset(digest)

        return AssetUploader(
            self,
            self.accounting,
            SystemClock(),
            past=past,
            nonce=lambda: "n",
            observe=lambda *_: None,
            may_buy=lambda: self.may_buy,
            load=content,
        )

    async def claimed(self, image: InputImage) -> AssetUploader:
        """Return an uploader whose image the first job has claimed, with the credits for it."""
        desk = self.desk()
        await desk.look_up([image])
        self.hold("first", "26")
        desk.claim("first", [image])
        return desk

    def other_upload(self, cost: str) -> None:
        self.ledger.apply(
            "asset:" + "cd" * 32, Created(at=1.0, asset_id="x", credits=Decimal(cost))
        )

    def stop(self) -> None:
        self.may_buy = False


@pytest.fixture
def image(tmp_path: Path) -> InputImage:
    return InputImage(AssetSpec("ab" * 32, 3, "image/png", "a.png"), tmp_path / "a.png")


async def test_who_uploads_what_another_claimed_takes_the_credits_from_who_holds_them(image):
    """The second job needs only the picture that the first has claimed, and comes to it first."""
    around = Turnstile("27")
    desk = await around.claimed(image)
    around.hold("second", "1")
    with pytest.raises(AssetFailed):
        await desk.ready(image, payer="second")
    assert around.held == [25]
    assert (around.ledger.hold_of("first"), around.ledger.hold_of("second")) == (
        26,
        1,
    )  # given back: it was refused


async def test_what_nobody_holds_credits_for_is_not_uploaded_and_counts_as_missing(
    image,
):
    around = Turnstile("27")
    desk = await around.claimed(image)
    around.hold("second", "1")
    desk.release("first")
    with pytest.raises(UploadNotSent):
        await desk.ready(image, payer="second")
    assert around.held == []
    assert (around.ledger.hold_of("second"), around.ledger.held) == (1, 27)
    assert desk.missing("second", [image]) == 1


async def test_no_upload_is_sent_where_figures_above_their_holds_have_used_the_budget_up(image):
    around = Turnstile("27")
    desk = await around.claimed(image)
    around.other_upload("2")
    with pytest.raises(UploadNotSent):
        await desk.ready(image, payer="first")
    assert around.held == []


@pytest.mark.parametrize(
    "meanwhile", [lambda around: around.other_upload("2"), lambda around: around.stop()]
)
async def test_an_upload_that_was_told_to_wait_is_sent_again_only_while_it_may_be_sent(
    image, meanwhile
):
    around = Turnstile("27")
    desk = await around.claimed(image)
    around.meanwhile = lambda: meanwhile(around)
    with pytest.raises(UploadNotSent):
        await desk.ready(image, payer="first")
    assert around.held == [25]
    assert around.ledger.hold_of("first") == 26


async def test_no_image_is_uploaded_once_nothing_more_may_be_bought(image):
    around = Turnstile("27")
    desk = await around.claimed(image)
    around.stop()
    with pytest.raises(UploadNotSent):
        await desk.ready(image, payer="first")
    assert around.held == []
