"""Planted bugs, each of which takes one safety away: a judge that doesn't find them is no judge."""

from __future__ import annotations

import secrets
from typing import Any

from crucible_batch.core.asset import Asset
from crucible_batch.core.events import Lost
from crucible_batch.engine.assets import AssetDesk
from crucible_batch.gateway import HttpGateway
from crucible_batch.results import OutputStore


def _fresh_keys() -> None:
    submit = HttpGateway.submit

    async def under_a_fresh_key(self: HttpGateway, workflow_id: str, params: Any, *, key: str) -> Any:
        return await submit(self, workflow_id, params, key=key[:100] + secrets.token_hex(8))

    HttpGateway.submit = under_a_fresh_key  # type: ignore[method-assign]


def _lost_intents_forgotten() -> None:
    async def forget(_self: AssetDesk, asset: Asset) -> Lost:
        return Lost(at=0.0, nonce=asset.nonce or "")

    AssetDesk._find_lost = forget  # type: ignore[method-assign]


def _nothing_swept() -> None:
    save = OutputStore.save

    async def save_under_a_fresh_name(
        self: OutputStore, pattern: str, index: int, token: str, *rest: Any, **how: Any
    ) -> Any:
        return await save(self, pattern, index, token + secrets.token_hex(4), *rest, **how)

    OutputStore.save = save_under_a_fresh_name  # type: ignore[method-assign]
    OutputStore.sweep = lambda _self: 0  # type: ignore[method-assign]


PLANTS = {
    "nothing": lambda: None,
    "fresh-keys": _fresh_keys,
    "lost-intents-forgotten": _lost_intents_forgotten,
    "nothing-swept": _nothing_swept,
}
