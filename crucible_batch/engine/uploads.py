"""Uploads input images as assets: each distinct image once, however many jobs need it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import assert_never

from crucible_batch.core.account_shortage import INSUFFICIENT_CREDITS
from crucible_batch.core.asset import (
    ASSET_PREFIX,
    Asset,
    AssetCommand,
    AssetPhase,
    AwaitReady,
    CreateIntent,
    FindAsset,
    PutBytes,
    decide_asset,
    evolve_asset,
    resume_asset,
)
from crucible_batch.core.budget import (
    BUDGET_EXHAUSTED,
    hold_is_too_small,
    uploads_are_uncounted,
)
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import (
    AssetEvent,
    BecameReady,
    Created,
    Deleted,
    Found,
    Intended,
    Lost,
    NotCreated,
    Uploaded,
)
from crucible_batch.core.gateway_types import AssetStatus, ErrorInfo, UploadIntent
from crucible_batch.core.plan import InputImage
from crucible_batch.core.ports import Gateway
from crucible_batch.core.prices import UPLOAD
from crucible_batch.core.upload_tries import ASSET_NOT_READY, FailedUpload, not_ready, upload_stop
from crucible_batch.engine.acknowledged import read_acknowledged
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.driver import Driver
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.listed_assets import ListedAssets
from crucible_batch.engine.shutdown import error_info
from crucible_batch.errors import UNSAFE_URL, CrucibleBatchError, GatewayError, KeyRefusedError
from crucible_batch.input_images import InputError, load_input
from crucible_batch.outputs import ObjectStoreError

INPUT_CHANGED = "INPUT_CHANGED"
_READY_LOOKS_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 5.0, 5.0, 10.0, 10.0, 20.0)
"""Delays before each poll of an uploaded asset: mostly under a second, about a minute in all."""
_LOST_LOOKS_S = (0.5, 2.0, 4.0)
"""Delays before each search for an intent whose answer was lost: the list may lag behind."""
_LAST_LOOKS_S = (0.0, 1.5)
"""The same for a pending asset whose upload is uncertain; then it is deleted."""


class AssetFailed(Exception):  # noqa: N818 - a finding about an image, handled by its jobs
    """An image can't be uploaded in this run.

    ``declined``: for lack of credits, not because of the image.
    """

    def __init__(self, error: ErrorInfo, *, declined: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.declined = declined


class UploadNotSent(Exception):  # noqa: N818 - a decision, not an error
    """The hold is too small for the upload: the job has to ask for its credits again."""


class AssetUploader:
    """All assets of a run.

    ``past`` reads an asset from the journal; ``nonce`` returns a new unguessable word.
    """

    def __init__(
        self,
        gateway: Gateway,
        accounting: JournaledLedger,
        clock: Clock,
        *,
        past: Callable[[str], Asset],
        nonce: Callable[[], str],
        observe: Callable[[InputImage, AssetEvent], None],
        may_buy: Callable[[], bool] = lambda: True,
        load: Callable[[InputImage], Awaitable[bytes]] = load_input,
    ) -> None:
        self._gateway = gateway
        self._accounting = accounting
        self._clock = clock
        self._past = past
        self._nonce = nonce
        self._observe = observe
        self._may_buy = may_buy
        self._load = load
        self._assets: dict[str, Asset] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._claims: dict[str, str] = {}
        self._intents: dict[str, UploadIntent] = {}
        self._contents: dict[str, bytes] = {}
        self._failed_uploads: dict[str, list[FailedUpload]] = {}
        self._refused: set[str] = set()
        """The images whose bytes the storage refused, until their assets are given back."""
        self._unsent: set[str] = set()
        """The images for which an intent was journalled, or is about to be, and not sent yet."""
        self._other_errors: dict[str, CrucibleBatchError | UploadNotSent] = {}
        self._listed = ListedAssets(gateway)

    # -- what a job asks

    async def look_up(self, images: Iterable[InputImage]) -> None:
        """Find out what is known of these images from the journal and, once a run, from the
        gateway's list.

        Uploads that an earlier run left in doubt are settled here, before credits are held: they
        may hold all that the budget has.
        """
        for image in images:
            digest = image.spec.sha256
            if digest in self._assets:
                continue
            async with self._locks.setdefault(digest, asyncio.Lock()):
                # Checked again inside the lock: another job may have advanced the asset meanwhile.
                if digest not in self._assets:
                    self._assets[digest] = await self._resume(digest, image)

    async def settle(self) -> None:
        """Settle the uploads that an earlier run left with an open hold, before any job asks for
        credits.

        Such a hold may be all that the budget has, and a job that asked before would be blocked for
        the entire run. Raises ``GatewayError`` if they can't be settled.
        """
        for digest in self.held():
            if digest not in self._assets:
                self._assets[digest] = await self._resume(digest, None)

    def are_there(self, images: Iterable[InputImage]) -> bool:
        """Whether the gateway is known to have all of these images, by its list or by what was done
        in this run."""
        return all(map(self._is_there, images))

    def missing(self, identity: str, images: Iterable[InputImage]) -> int:
        """Count the distinct images that this job would have to pay for: not uploaded, not claimed
        by another job.
        """
        return len(self._to_buy(identity, images))

    def claim(self, identity: str, images: Iterable[InputImage]) -> None:
        """Claim the missing images for this job, whose hold includes their credits."""
        for digest in self._to_buy(identity, images):
            self._claims[digest] = identity

    def release(self, identity: str) -> None:
        """Drop all claims of a job that is no longer active."""
        for digest in [digest for digest, owner in self._claims.items() if owner == identity]:
            del self._claims[digest]

    async def ready(self, image: InputImage, *, payer: str) -> str:
        """Return the id of a ready asset with this image's content; upload it if needed, once for
        all jobs.

        Raises ``AssetFailed``, ``UploadNotSent``, ``GatewayError`` if the gateway or the connection
        failed, and ``ObjectStoreError`` if the store of the outputs did.
        """
        digest = image.spec.sha256
        async with self._locks.setdefault(digest, asyncio.Lock()):
            asset = self._assets[digest]
            if asset.phase is not AssetPhase.READY and asset.phase is not AssetPhase.FAILED:
                asset = await self._make_ready(image, asset, payer)
        if asset.phase is AssetPhase.READY and asset.asset_id is not None:
            return asset.asset_id
        error = asset.error or ErrorInfo(ASSET_NOT_READY, f"{image.path.name} can't be uploaded")
        raise AssetFailed(error, declined=error.code == INSUFFICIENT_CREDITS)

    # -- the life of one asset

    async def _make_ready(self, image: InputImage, asset: Asset, payer: str) -> Asset:
        async def perform(asset: Asset, command: AssetCommand) -> AssetEvent:
            return await self._perform(image, payer, asset, command)

        def step(asset: Asset, event: AssetEvent) -> Asset:
            self._observe(image, event)
            if isinstance(event, Lost | Deleted):
                self._note_failed_upload(asset, event)
            moved = evolve_asset(asset, event)
            self._assets[image.spec.sha256] = moved
            return moved

        driver: Driver[Asset, AssetCommand, AssetEvent] = Driver(
            decide_asset, perform, self._accounting.record, step
        )
        try:
            made = await driver.drive(asset)
        except BaseException as error:
            if asset.sha256 in self._unsent:
                await self._release_unsent(asset, error)
            raise
        finally:
            self._unsent.discard(asset.sha256)
        reason = self._other_errors.pop(image.spec.sha256, None)
        if reason is not None:
            self._assets[image.spec.sha256] = Asset(image.spec.sha256)
            raise reason
        if (
            made.phase is AssetPhase.FAILED
            and made.error
            and made.error.code == INSUFFICIENT_CREDITS
        ):
            # Not because of the image: after a refund the next job may try again.
            self._assets[image.spec.sha256] = Asset(image.spec.sha256)
        return made

    async def _release_unsent(self, asset: Asset, error: BaseException) -> None:
        """Release the hold of an upload that was interrupted before it was sent, whatever the
        reason."""
        info = ErrorInfo("INTERRUPTED", f"{type(error).__name__} before the upload was sent")
        await self._accounting.record(asset.identity, NotCreated(at=self._clock.now(), error=info))
        self._contents.pop(asset.sha256, None)
        self._assets[asset.sha256] = Asset(asset.sha256)

    def _note_failed_upload(self, asset: Asset, event: Lost | Deleted) -> None:
        """Note a failed upload. Its charge is known only if it was answered."""
        digest = asset.sha256
        upload = FailedUpload(None)
        if isinstance(event, Deleted):
            charged = None
            if not asset.assumed:
                charged = asset.charged
            was_refused = digest in self._refused or asset.phase is AssetPhase.UPLOADED
            upload = FailedUpload(charged, event.rebate, was_refused)
        self._refused.discard(digest)
        self._failed_uploads.setdefault(digest, []).append(upload)

    async def _resume(self, digest: str, image: InputImage | None) -> Asset:
        """Resume an asset from the journal.

        Nothing is bought; raises ``GatewayError`` if it can't be settled.
        """
        asset = resume_asset(self._past(digest))
        await self._listed.read()
        if asset.phase is AssetPhase.READY and not self._listed.shows(asset):
            return await self._checked(asset)
        while asset.in_doubt and asset.phase is not AssetPhase.UPLOADED:
            settle = self._settle_pending
            if asset.phase is AssetPhase.INTENDED:
                settle = self._find_lost
            event = await settle(asset)
            await self._accounting.record(asset.identity, event)
            if image is not None:
                self._observe(image, event)
            asset = evolve_asset(asset, event)
        return asset

    async def _checked(self, asset: Asset) -> Asset:
        """Check an asset that is ready by the journal but not in the gateway's list, by its id."""
        if await self._status_of(asset) is AssetStatus.READY:
            return asset
        event = Deleted(at=self._clock.now(), rebate=ZERO)
        await self._accounting.record(asset.identity, event)
        return evolve_asset(asset, event)

    async def _perform(
        self, image: InputImage, payer: str, asset: Asset, command: AssetCommand
    ) -> AssetEvent:
        match command:
            case FindAsset():
                return await self._look(image, payer)
            case CreateIntent() if asset.in_doubt:
                return await self._find_lost(asset)
            case CreateIntent():
                return await self._create(image, asset)
            case PutBytes():
                return await self._put(image, asset)
            case AwaitReady():
                return await self._await(asset)
            case _:
                assert_never(command)

    async def _look(self, image: InputImage, payer: str) -> AssetEvent:
        digest = image.spec.sha256
        found = (await self._listed.read()).get(digest)
        if found is not None and found.byte_size == image.spec.byte_size:
            return Found(at=self._clock.now(), asset_id=found.asset_id)
        uploads = self._failed_uploads.get(digest, [])
        stop = upload_stop(uploads, self._accounting.ledger, self._accounting.budget)
        if stop is not None:
            return NotCreated(at=self._clock.now(), error=not_ready(image.path.name, uploads, stop))
        # The first job that gets here uploads it; the job that claimed it pays.
        payer = self._claims.get(digest, payer)
        self._unsent.add(digest)
        share, maximum = self._share(payer), self._accounting.ledger.prices.upload_ceiling
        return Intended(
            at=self._clock.now(), nonce=self._nonce(), credits=share, payer=payer, maximum=maximum
        )

    def _share(self, payer: str) -> Credits:
        """Return the part of the payer's hold that an upload may cost: its bound, or all of it if
        there is none.
        """
        bundle = self._accounting.ledger.hold_of(payer)
        bound = self._accounting.ledger.prices.bound(UPLOAD)
        if bound is None:
            return bundle
        return min(bound, bundle)

    async def _create(self, image: InputImage, asset: Asset) -> AssetEvent:
        digest = image.spec.sha256

        def before_send() -> None:
            if self._must_not_send(asset):
                raise UploadNotSent
            self._unsent.discard(digest)
            # From now on, the image is not bought again before the intent has been searched for.
            self._assets[digest] = replace(asset, in_doubt=True)

        try:
            # Read before paying: the bytes sent must be the bytes that were hashed.
            self._contents[digest] = await self._load(image)
            intent = await self._gateway.create_asset(
                image.spec, nonce=asset.nonce or "", before_send=before_send
            )
        except InputError as error:
            return NotCreated(at=self._clock.now(), error=ErrorInfo(INPUT_CHANGED, str(error)))
        except ObjectStoreError as error:
            return self._not_sent(digest, error, error_info(error))
        except UploadNotSent as decision:
            # The claiming job's hold is too small as well: the next job that asks for credits
            # counts it as missing.
            self._claims.pop(digest, None)
            info = ErrorInfo(BUDGET_EXHAUSTED, "the credits held for it are not sufficient")
            return self._not_sent(digest, decision, info)
        except GatewayError as error:
            return await self._not_created(digest, asset, error)
        self._intents[digest] = intent
        return Created(at=self._clock.now(), asset_id=intent.asset_id, credits=intent.credits)

    async def _not_created(self, digest: str, asset: Asset, error: GatewayError) -> AssetEvent:
        """Return the event of an intent that was sent and not answered with an asset."""
        if error.in_doubt:
            return await self._find_lost(asset)
        if error.status == 402:
            # Whatever its error code, a 402 is for lack of credits and not because of the image.
            return NotCreated(
                at=self._clock.now(), error=replace(error_info(error), code=INSUFFICIENT_CREDITS)
            )
        if isinstance(error, KeyRefusedError) or not error.is_refusal:
            # Refused, but not because of the image: the credits are released, and it may be tried
            # again.
            self._other_errors[digest] = error
        return NotCreated(at=self._clock.now(), error=error_info(error))

    def _must_not_send(self, asset: Asset) -> bool:
        """Whether nothing more may be bought, or the hold of the upload is too small now."""
        if not self._may_buy():
            return True
        ledger, budget, subject = self._accounting.ledger, self._accounting.budget, asset.identity
        if budget is None:
            return False
        return uploads_are_uncounted(ledger) or hold_is_too_small(
            ledger, budget, UPLOAD, ledger.hold_of(subject), alone=subject in ledger.alone
        )

    def _not_sent(
        self, digest: str, reason: CrucibleBatchError | UploadNotSent, error: ErrorInfo
    ) -> NotCreated:
        """Release an upload that was not sent; ``reason`` is raised once that is journalled."""
        self._contents.pop(digest, None)
        self._other_errors[digest] = reason
        return NotCreated(at=self._clock.now(), error=error)

    async def _find_lost(self, asset: Asset) -> AssetEvent:
        """Search for an intent whose answer was lost by its nonce.

        Its cost is unknown, so the upload bound is used.
        """
        charge = self._accounting.ledger.prices.expected(UPLOAD) or ZERO
        for wait_s in _LOST_LOOKS_S:
            await self._clock.sleep(wait_s)
            for snapshot in await self._gateway.assets():
                if snapshot.nonce == asset.nonce and snapshot.status is not AssetStatus.DELETED:
                    return Created(
                        at=self._clock.now(),
                        asset_id=snapshot.asset_id,
                        credits=charge,
                        assumed=True,
                    )
        return Lost(at=self._clock.now(), nonce=asset.nonce or "")

    async def _put(self, image: InputImage, asset: Asset) -> AssetEvent:
        digest = image.spec.sha256
        intent = self._intents.pop(digest, None)
        content = self._contents.pop(digest, None)
        if intent is None or content is None:
            return await self._settle_pending(asset)
        try:
            await self._gateway.upload(intent, image.spec, content)
        except GatewayError as error:
            is_refused = error.status is not None and 400 <= error.status < 429
            if is_refused or error.code == UNSAFE_URL:
                self._refused.add(digest)
                return await self._give_back(asset)
            raise
        return Uploaded(at=self._clock.now())

    async def _settle_pending(self, asset: Asset) -> AssetEvent:
        """Settle an asset whose upload URL is lost: it becomes ready soon, or is deleted for its
        rebate.
        """
        return await self._until_ready(asset, _LAST_LOOKS_S, Uploaded)

    async def _await(self, asset: Asset) -> AssetEvent:
        return await self._until_ready(asset, _READY_LOOKS_S, BecameReady)

    async def _until_ready(
        self, asset: Asset, looks_s: Iterable[float], ready: type[Uploaded | BecameReady]
    ) -> AssetEvent:
        """Return the event of an asset that is ``ready`` at one of the looks, or is deleted."""
        for wait_s in looks_s:
            await self._clock.sleep(wait_s)
            status = await self._status_of(asset)
            if status is AssetStatus.DELETED:
                return Deleted(at=self._clock.now(), rebate=ZERO)
            if status is AssetStatus.READY:
                return ready(at=self._clock.now())
        return await self._give_back(asset)

    async def _status_of(self, asset: Asset) -> AssetStatus:
        """Return an asset's status as it is now. Raises ``GatewayError``."""
        read = partial(self._gateway.asset, asset.asset_id or "")
        try:
            return (await read_acknowledged(read, self._clock.sleep)).status
        except GatewayError as error:
            if error.is_not_found:
                return AssetStatus.DELETED
            raise

    async def _give_back(self, asset: Asset) -> Deleted:
        rebate = await self._gateway.delete_asset(asset.asset_id or "")
        return Deleted(at=self._clock.now(), rebate=rebate)

    # -- which images are there

    def held(self) -> list[str]:
        """Return the digests of the images for whose uploads credits are held."""
        return [
            subject.removeprefix(ASSET_PREFIX)
            for subject in self._accounting.ledger.holds()
            if subject.startswith(ASSET_PREFIX)
        ]

    def _to_buy(self, identity: str, images: Iterable[InputImage]) -> set[str]:
        return {
            image.spec.sha256
            for image in images
            if self._assets[image.spec.sha256].phase not in {AssetPhase.UPLOADED, AssetPhase.READY}
            and not self._listed.has(image)
            and self._claims.get(image.spec.sha256, identity) == identity
        }

    def _is_there(self, image: InputImage) -> bool:
        asset = self._assets.get(image.spec.sha256)
        if asset is None or asset.phase is AssetPhase.ABSENT:
            return self._listed.has(image)
        return asset.phase is AssetPhase.READY
