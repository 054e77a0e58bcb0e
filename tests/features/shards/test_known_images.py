"""An image that the journal has as ready, and that the gateway may not list yet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from crucible_batch.core.gateway_types import AssetStatus
from crucible_batch.errors import GatewayError
from crucible_batch.features.shards.divided_plan import _is_ready

NOT_FOUND = GatewayError("not found", code="ASSET_NOT_FOUND", status=404)
READY = SimpleNamespace(status=AssetStatus.READY)


@pytest.mark.parametrize(("strays", "is_ready"), [(4, True), (5, False)])
async def test_the_fifth_404_in_a_row_is_believed(
    strays: int, is_ready: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio, "sleep", AsyncMock())
    gateway: Any = SimpleNamespace(asset=AsyncMock(side_effect=[NOT_FOUND] * strays + [READY]))
    assert await _is_ready(gateway, "asset") == is_ready
