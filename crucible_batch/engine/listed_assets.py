"""The gateway's list of assets, read once a run, and single assets by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from crucible_batch.core.asset import Asset
from crucible_batch.core.gateway_types import AssetSnapshot, AssetStatus
from crucible_batch.core.plan import InputImage
from crucible_batch.core.ports import Gateway
from crucible_batch.errors import GatewayError


class ListedAssets:
    """The assets that are ready, as they were when the list was read."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._listed: Mapping[str, AssetSnapshot] | None = None
        self._reading = asyncio.Lock()

    async def read(self) -> Mapping[str, AssetSnapshot]:
        """Return the assets by the digests of their images. Raises ``GatewayError``."""
        async with self._reading:
            if self._listed is None:
                self._listed = {
                    snapshot.sha256: snapshot
                    for snapshot in await self._gateway.assets()
                    if snapshot.sha256 is not None and snapshot.status is AssetStatus.READY
                }
            return self._listed

    def has(self, image: InputImage) -> bool:
        """Whether an asset with this image's content is listed; False before the list was read."""
        found = (self._listed or {}).get(image.spec.sha256)
        return found is not None and found.byte_size == image.spec.byte_size

    def shows(self, asset: Asset) -> bool:
        """Whether this very asset is listed; False before the list was read."""
        found = (self._listed or {}).get(asset.sha256)
        return found is not None and found.asset_id == asset.asset_id

    async def read_one(self, asset: Asset) -> AssetSnapshot | None:
        """Return an asset as it is now; None if it doesn't exist. Raises ``GatewayError``."""
        try:
            return await self._gateway.asset(asset.asset_id or "")
        except GatewayError as error:
            if error.is_not_found:
                return None
            raise
