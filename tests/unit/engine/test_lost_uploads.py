"""An image whose uploads come to nothing, again and again: what is bought, and what is held when it
is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible_batch.core.asset import Asset
from crucible_batch.core.events import Event
from crucible_batch.core.gateway_types import AssetSnapshot, AssetSpec, AssetStatus, UploadIntent
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage
from crucible_batch.core.ports import BeforeSend
from crucible_batch.core.prices import UPLOAD, PriceBook
from crucible_batch.core.upload_tries import MOST_TRIES
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.uploads import AssetFailed, AssetUploader, UploadNotSent
from crucible_batch.errors import GatewayError
from tests.harness.case_table import each_case
from tests.harness.job_events import held_event

D = Decimal
IMAGE = InputImage(AssetSpec("ab" * 32, 3, "image/png", "a.png"), Path("a.png"))
FULL, HALF, NOTHING = D(1), D("0.5"), D(0)
CUT, CUT_AND_GONE, REFUSED, PUT_CUT, GOES_WELL = (
    "cut",
    "cut and gone",
    "refused",
    "put cut",
    "goes well",
)


class Clock(SystemClock):
    async def sleep(self, _seconds: float) -> None:
        """Pass at once."""


class Gateway:
    """Does with each upload what a list says, then the same as with the last. ``taken`` is what it
    took, less what it gave back; ``found`` what it complains of."""

    def __init__(
        self, plays: Sequence[tuple[str, Decimal, Decimal]], budget: str, *, ceiling: str | None
    ) -> None:
        self.plays = plays
        self.ledger = Ledger(
            PriceBook(ceiling=D(3), upload_ceiling=None if ceiling is None else D(ceiling))
        )
        self.accounting = JournaledLedger(self, self.ledger, D(budget))
        self.assets_by_nonce: dict[str, tuple[str, Decimal, Decimal]] = {}
        self.deleted: set[str] = set()
        self.taken = D(0)
        self.found: list[str] = []
        self.nonces = 0

    async def append(self, _subject: str, _event: Event) -> None:
        """Durable at once."""

    def nonce(self) -> str:
        self.nonces += 1
        return f"n{self.nonces}"

    async def assets(self) -> list[AssetSnapshot]:
        return [
            AssetSnapshot(nonce, AssetStatus.PENDING, 3, nonce=nonce)
            for nonce, (what, _, _) in self.assets_by_nonce.items()
            if nonce not in self.deleted and what != CUT_AND_GONE
        ]

    async def create_asset(
        self, spec: AssetSpec, *, nonce: str, before_send: BeforeSend
    ) -> UploadIntent:
        before_send()
        hold, bound = self.ledger.hold_of(f"asset:{spec.sha256}"), self.ledger.prices.bound(UPLOAD)
        if (bound is None or hold < bound) and f"asset:{spec.sha256}" not in self.ledger.alone:
            self.found.append(f"{hold} is held for an upload that may cost {bound}")
        what, price, share = self.plays[min(len(self.assets_by_nonce), len(self.plays) - 1)]
        self.assets_by_nonce[nonce] = (what, price, share)
        self.taken += price
        if what in {CUT, CUT_AND_GONE}:
            raise GatewayError("cut", code="NO_ANSWER", in_doubt=True)
        return UploadIntent(nonce, "https://storage/x", price)

    async def upload(self, intent: UploadIntent, _spec: object, _content: bytes) -> None:
        what, _, _ = self.assets_by_nonce[intent.asset_id]
        if what == REFUSED:
            raise GatewayError("no", code="HTTP_403", status=403)
        if what == PUT_CUT:
            raise GatewayError("cut", code="NO_ANSWER")

    async def asset(self, asset_id: str) -> AssetSnapshot:
        what, _, _ = self.assets_by_nonce[asset_id]
        return AssetSnapshot(
            asset_id, AssetStatus.READY if what == GOES_WELL else AssetStatus.PENDING, 3
        )

    async def delete_asset(self, asset_id: str) -> Decimal:
        _, price, share = self.assets_by_nonce[asset_id]
        self.deleted.add(asset_id)
        self.taken -= price * share
        return price * share

    async def one_job_after_the_other(self, jobs: int) -> str | None:
        """Let each job bring its image up, with what the budget leaves; return why the image
        failed, if it did."""
        desk = AssetUploader(
            self,  # type: ignore[arg-type]
            self.accounting,
            Clock(),
            past=Asset,
            nonce=self.nonce,
            observe=lambda *_: None,
            load=content,
        )
        await desk.look_up([IMAGE])
        for number in range(jobs):
            bound = self.ledger.prices.bound(UPLOAD)
            left = self.accounting.budget - self.ledger.committed
            alone = bound is None or bound + 3 > left
            held = left if alone else bound + 3
            event = held_event(held, images=True, alone=alone)
            self.ledger.apply(job := f"job {number}", event)
            desk.claim(job, [IMAGE])
            try:
                await desk.ready(IMAGE, payer=job)
            except AssetFailed as failed:
                return failed.error.message
            except (UploadNotSent, GatewayError):
                continue
            finally:
                desk.release(job)
                self.ledger.set_hold(job, D(0), alone=False)
            return None
        return None


async def content(_image: InputImage) -> bytes:
    return b"abc"


def play(
    *plays: tuple[str, Decimal, Decimal],
    budget: str = "400",
    jobs: int = 50,
    ceiling: str | None = "1",
):
    gateway = Gateway(plays, budget, ceiling=ceiling)
    error = asyncio.run(gateway.one_job_after_the_other(jobs))
    assert gateway.found == []
    return gateway, error


@each_case("cuts", [2, 3, 19])
def test_a_lost_answer_to_an_upload_that_was_given_back_counts_for_nothing(cuts: int) -> None:
    gateway, error = play(*[(CUT, HALF, FULL)] * cuts, (GOES_WELL, HALF, FULL))
    assert (error, len(gateway.assets_by_nonce), gateway.taken) == (None, cuts + 1, HALF)


@each_case("cuts", [2, 3, 19])
def test_nor_does_one_whose_bytes_were_cut_off_and_that_was_given_back(cuts: int) -> None:
    gateway, error = play(*[(PUT_CUT, HALF, FULL)] * cuts, (GOES_WELL, HALF, FULL))
    assert (error, len(gateway.assets_by_nonce), gateway.taken) == (None, cuts + 1, HALF)


@pytest.mark.parametrize("what", [CUT, PUT_CUT])
def test_a_line_that_is_cut_each_time_ends_with_an_error(what: str) -> None:
    gateway, error = play((what, HALF, FULL))
    assert (len(gateway.assets_by_nonce), gateway.taken) == (MOST_TRIES, 0)
    assert error is not None
    assert error.startswith("a.png was uploaded 20 times and is not ready")


@pytest.mark.parametrize("what", [CUT, PUT_CUT])
def test_so_it_does_where_an_upload_costs_nothing(what: str) -> None:
    gateway, error = play((what, NOTHING, NOTHING), ceiling="0")
    assert len(gateway.assets_by_nonce) == MOST_TRIES
    assert error is not None


@each_case(
    "play_",
    [
        (CUT, HALF, NOTHING),
        (CUT_AND_GONE, HALF, NOTHING),
        (PUT_CUT, HALF, HALF),
        (REFUSED, HALF, FULL),
    ],
)
def test_two_that_cost_something_or_were_turned_down_are_enough(
    play_: tuple[str, Decimal, Decimal],
) -> None:
    gateway, error = play(play_)
    assert len(gateway.assets_by_nonce) == 2
    assert error is not None
    assert error.startswith("a.png was uploaded 2 times")


_PLAYS = st.tuples(
    st.sampled_from([CUT, CUT, CUT_AND_GONE, PUT_CUT, REFUSED, GOES_WELL]),
    st.sampled_from([NOTHING, HALF, D(1)]),
    st.sampled_from([NOTHING, HALF, FULL]),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(_PLAYS, min_size=1, max_size=25),
    st.sampled_from(["5", "20", "400"]),
    st.sampled_from(["1", None]),
)
def test_what_is_sent_is_held_and_what_was_taken_is_counted(
    plays: list[tuple[str, Decimal, Decimal]], budget: str, ceiling: str | None
) -> None:
    gateway, _ = play(*plays, budget=budget, ceiling=ceiling)
    assert len(gateway.assets_by_nonce) <= MOST_TRIES
    if ceiling is not None:
        assert gateway.taken <= gateway.ledger.committed <= D(budget)
