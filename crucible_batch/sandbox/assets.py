"""Uploaded images, from the intent that is charged for to the deletion with a rebate."""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from PIL import Image

from crucible_batch.sandbox.faults import Stage
from crucible_batch.sandbox.ledger import WorldContext
from crucible_batch.sandbox.pricing import FIXED, UPLOAD, Pricing, Purchase
from crucible_batch.sandbox.records import (
    Asset,
    Params,
    RefusedError,
    Upload,
    chance,
    invalid_params,
    not_found,
)

_MAX_PIXELS = 40_000_000


class NotAnImageError(Exception):
    """The bytes are not an image, or a damaged one, or one too large to be held in memory."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The true type and size of an image."""

    mime_type: str
    width: int
    height: int


def inspect(content: bytes) -> ImageFacts:
    """Decode an image to its last byte. Raises NotAnImageError."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise NotAnImageError
            image.load()
            return ImageFacts(image.get_format_mimetype() or "", image.width, image.height)
    # Pillow's decoders raise nearly anything on broken bytes; a warning arrives here where warnings
    # are errors.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise NotAnImageError from error


MAX_UPLOAD_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Intent:
    mime_type: str
    byte_size: int
    filename: str | None
    metadata: Params


@dataclass(frozen=True, slots=True)
class Arrival:
    """What arrived at the storage: `byte_size` bytes of a true image."""

    sha256: str
    width: int
    height: int


class Assets:
    """All assets of all accounts, deleted ones included.

    Their bytes stay, since a job may still need them.
    """

    def __init__(self, context: WorldContext, saved: Iterable[Asset] = ()) -> None:
        self._context = context
        self._assets = {asset.asset_id: asset for asset in saved}
        self.pricing: Mapping[str, Pricing] = context.config.pricing

    def __iter__(self) -> Iterator[Asset]:
        return iter(self._assets.values())

    def create(self, account_id: str, intent: Intent, now: float) -> Asset:
        """Charge for an upload and open its window."""
        if not intent.mime_type.startswith("image/"):
            raise RefusedError(
                400,
                "UNSUPPORTED_ASSET_TYPE",
                f"{intent.mime_type!r} is not an image type.",
                "mime_type must start with image/.",
            )
        if intent.byte_size > MAX_UPLOAD_BYTES:
            raise RefusedError(
                400,
                "ASSET_TOO_LARGE",
                f"{intent.byte_size} bytes are too many.",
                f"At most {MAX_UPLOAD_BYTES} are taken.",
            )
        price = self.price(now)
        self._context.ledger.require(account_id, price)
        asset = Asset(
            asset_id=self._context.ids.next(),
            account_id=account_id,
            mime_type=intent.mime_type,
            byte_size=intent.byte_size,
            filename=intent.filename,
            metadata=intent.metadata,
            created_at=now,
            upload_expires_at=now + self._context.config.upload_ttl_s,
            charged=price,
        )
        self._put(asset)
        self._context.ledger.post(
            account_id, "upload", price, now, description="Asset upload", asset_id=asset.asset_id
        )
        return asset

    def price(self, now: float) -> Decimal:
        context, earlier = self._context, len(self._assets)
        luck = chance(context.config.seed, "price", UPLOAD, earlier)
        pricing = self.pricing.get(UPLOAD, FIXED)
        return pricing.price(
            context.config.upload_price, Purchase(earlier, now - context.began, luck)
        )

    def listed(self, account_id: str) -> list[Asset]:
        """List an account's assets, oldest first, without the deleted ones."""
        return [
            asset
            for asset in self._assets.values()
            if asset.account_id == account_id and asset.deleted_at is None
        ]

    def find(self, asset_id: str) -> Asset:
        """Find an asset of any account. Raises RefusedError (404), for a deleted one too."""
        asset = self._assets.get(asset_id)
        if asset is None or asset.deleted_at is not None:
            raise not_found("Asset", "ASSET_NOT_FOUND")
        return asset

    def get(self, account_id: str, asset_id: str) -> Asset:
        """Find an asset of an account. Raises RefusedError (404), for a deleted one too."""
        asset = self.find(asset_id)
        if asset.account_id != account_id:
            raise not_found("Asset", "ASSET_NOT_FOUND")
        return asset

    def delete(self, account_id: str, asset_id: str, now: float) -> Decimal:
        """Delete an asset; return the credits refunded."""
        asset = self.get(account_id, asset_id)
        rebate = asset.charged * self._context.config.rebate_share
        self._put(replace(asset, deleted_at=now))
        self._context.ledger.post(
            account_id, "rebate", rebate, now, description="Asset deleted", asset_id=asset_id
        )
        return rebate

    def receive(self, asset_id: str, arrival: Arrival, now: float) -> Asset:
        """Take the bytes of an asset.

        Sending the same ones again changes nothing; others are refused (409). Refused too (403)
        once the window of the upload has closed.
        """
        asset = self.find(asset_id)
        if now >= asset.upload_expires_at:
            raise RefusedError(403, "AccessDenied", "Request has expired")
        if asset.upload is not None:
            if asset.upload.sha256 != arrival.sha256:
                raise RefusedError(
                    409, "UPLOAD_CONFLICT", "Other bytes have been uploaded for this asset."
                )
            return asset
        ready_at: float | None = now + self._context.config.ready_after_s
        if self._context.faults.draw("upload", Stage.UPLOAD) == "never-ready":
            ready_at = None
        asset = replace(
            asset, upload=Upload(arrival.sha256, arrival.width, arrival.height, ready_at)
        )
        self._put(asset)
        return asset

    def source(self, account_id: str, asset_id: str, now: float) -> Upload:
        """Return the input image for a job.

        Raises RefusedError (400) unless it is the account's own and ready.
        """
        asset = self._assets.get(asset_id.lower())
        if asset is None or asset.account_id != account_id or asset.deleted_at is not None:
            raise invalid_params(
                "image.image names no asset of yours.",
                "Upload the image first: POST /api/v1/assets.",
            )
        if asset.upload is None or asset.status(now) != "ready":
            raise invalid_params(
                "image.image is not ready.", f"GET /api/v1/assets/{asset_id} until it is ready."
            )
        return asset.upload

    def _put(self, asset: Asset) -> None:
        self._assets[asset.asset_id] = asset
        self._context.changes.append(asset)
