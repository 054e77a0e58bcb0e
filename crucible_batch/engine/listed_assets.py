"""The gateway's list of assets, read once a run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from crucible_batch.core.asset import Asset
from crucible_batch.core.gateway_types import AssetSnapshot, AssetStatus
from crucible_batch.core.plan import InputImage
from crucible_batch.core.ports import Gateway


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
