"""Uploads that the storage refuses, and those whose answer is lost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

import pytest

from crucible_batch.core.asset import Asset
from crucible_batch.core.events import (
    Created,
    Event,
    Lost,
)
from crucible_batch.core.gateway_types import (
    AssetSnapshot,
    AssetStatus,
    UploadIntent,
)
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage
from crucible_batch.core.ports import BeforeSend
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.uploads import AssetFailed, AssetUploader
from crucible_batch.errors import GatewayError
from tests.harness.job_events import held_event
from tests.unit.engine.worker_bench import NO_ANSWER, Clock, Gateway

D = Decimal
HELD = held_event(40, images=True, alone=True)


class Storage(Gateway):
    """A gateway whose storage answers each upload with a status."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status
        self.created = 0

    async def assets(self) -> list[AssetSnapshot]:
        return []

    async def create_asset(
        self, _spec: object, *, nonce: str, before_send: BeforeSend
    ) -> UploadIntent:
        before_send()
        self.created += 1
        return UploadIntent(f"a{self.created}", f"https://storage/{nonce}", D(1))

    async def upload(self, _intent: UploadIntent, _spec: object, _content: bytes) -> None:
        raise GatewayError("refused", code=f"HTTP_{self.status}", status=self.status)

    async def asset(self, asset_id: str) -> AssetSnapshot:
        return AssetSnapshot(asset_id, AssetStatus.PENDING, 1)

    async def delete_asset(self, asset_id: str) -> Decimal:
        self.deleted.append(asset_id)
        return D(1)


def uploader_of(storage: Storage, accounting: JournaledLedger, clock: Any) -> AssetUploader:
    return AssetUploader(
        cast("Any", storage),  # it has only what an uploader calls
        accounting,
        clock,
        past=Asset,
        nonce=lambda: "n",
        observe=lambda _image, _event: None,
    )


@pytest.mark.parametrize(("status", "deleted"), [(403, ["a1", "a2"]), (429, []), (503, [])])
async def test_an_upload_is_given_back_only_where_the_storage_refuses_it(
    image: InputImage, status: int, deleted: list[str]
) -> None:
    """A storage that asks for less may take it later: what was paid for is not thrown away."""
    storage = Storage(status)
    accounting = JournaledLedger(storage, Ledger(), D(100))
    accounting.ledger.apply("job", HELD)
    uploader = uploader_of(storage, accounting, Clock())
    await uploader.look_up([image])
    with pytest.raises(
        (AssetFailed, GatewayError), match="refused" if not deleted else "uploaded 2 times"
    ):
        await uploader.ready(image, payer="job")
    assert storage.deleted == deleted


class Forgetful(Storage):
    """A gateway whose answer to an intent is lost, and that lists an asset with its nonce in a
    given state."""

    def __init__(self, status: AssetStatus) -> None:
        super().__init__(503)
        self.listed_as = status

    async def create_asset(
        self, _spec: object, *, nonce: str, before_send: BeforeSend
    ) -> UploadIntent:
        before_send()
        self.created += 1
        raise NO_ANSWER

    async def assets(self) -> list[AssetSnapshot]:
        return [AssetSnapshot("a1", self.listed_as, 1, nonce="n")] if self.created else []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(AssetStatus.READY, Created), (AssetStatus.PENDING, Created), (AssetStatus.DELETED, Lost)],
)
async def test_a_lost_upload_is_found_by_its_nonce_unless_it_was_deleted(
    image: InputImage, status: AssetStatus, kind: type[Event]
) -> None:
    storage = Forgetful(status)
    accounting = JournaledLedger(storage, Ledger(), D(100))
    uploader = uploader_of(storage, accounting, Clock())
    event = await uploader._find_lost(Asset("x", nonce="n"))
    assert isinstance(event, Lost)  # nothing is listed before the intent
    storage.created = 1
    assert isinstance(await uploader._find_lost(Asset("x", nonce="n")), kind)


class Stored(Storage):
    """A storage that refuses a second PUT, after the answer to the first one was lost."""

    async def asset(self, asset_id: str) -> AssetSnapshot:
        return AssetSnapshot(asset_id, AssetStatus.READY, 1)


async def test_a_refusal_does_not_show_that_no_try_before_it_has_stored_the_image(
    image: InputImage,
) -> None:
    storage = Stored(409)
    accounting = JournaledLedger(storage, Ledger(), D(100))
    accounting.ledger.apply("job", HELD)
    uploader = uploader_of(storage, accounting, Clock())
    await uploader.look_up([image])
    await uploader.ready(image, payer="job")
    assert (storage.created, storage.deleted) == (1, [])
