"""Planted bugs, each of which takes one safety away: a judge that doesn't find them is no judge."""

from __future__ import annotations

import secrets
import sqlite3
import sys
from typing import Any

from crucible_batch.core.asset import Asset
from crucible_batch.core.events import Lost
from crucible_batch.engine.uploads import AssetUploader
from crucible_batch.gateway import HttpGateway, client
from crucible_batch.gateway.transport import KeyChannel
from crucible_batch.journal import Journal
from crucible_batch.outputs import OutputStore
from crucible_batch.outputs.safe_fs import Folder
from crucible_batch.outputs.temp_file import TempFile
from crucible_batch.runs.parts import Parts


def _fresh_keys() -> None:
    submit = HttpGateway.submit

    async def under_a_fresh_key(
        self: HttpGateway, workflow_id: str, params: Any, *, key: str, **how: Any
    ) -> Any:
        return await submit(self, workflow_id, params, key=key[:100] + secrets.token_hex(8), **how)

    HttpGateway.submit = under_a_fresh_key  # type: ignore[method-assign]


def _lost_intents_forgotten() -> None:
    async def forget(_self: AssetUploader, asset: Asset) -> Lost:
        return Lost(at=0.0, nonce=asset.nonce or "")

    AssetUploader._find_lost = forget  # type: ignore[method-assign]


def _nothing_swept() -> None:
    save = OutputStore.save

    async def save_under_a_fresh_name(
        self: OutputStore, pattern: str, index: int, token: str, *rest: Any, **how: Any
    ) -> Any:
        return await save(self, pattern, index, token + secrets.token_hex(4), *rest, **how)

    OutputStore.save = save_under_a_fresh_name  # type: ignore[method-assign]
    OutputStore.sweep = lambda _self: 0  # type: ignore[method-assign]


def _outputs_unsynced() -> None:
    Folder.sync = lambda _self: None  # type: ignore[method-assign]
    Folder.sync_file = lambda _self, _name: None  # type: ignore[method-assign]
    TempFile.sync = lambda _self: None  # type: ignore[method-assign]


def _journal_unsynced() -> None:
    connect = Journal._connect

    def carelessly(self: Journal) -> sqlite3.Connection:
        connection = connect(self)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    Journal._connect = carelessly  # type: ignore[method-assign]


def _no_keys() -> None:
    write = client.canonical

    def keyless(wanted: Any) -> str:
        return write({name: value for name, value in wanted.items() if name != "idempotency_key"})

    client.canonical = keyless


def _key_in_the_log() -> None:
    add_key = KeyChannel.send

    async def talkative(self: KeyChannel, method: str, url: str, *rest: Any) -> Any:
        print(f"asking {url} as {self._key.reveal()}", file=sys.stderr)
        return await add_key(self, method, url, *rest)

    KeyChannel.send = talkative  # type: ignore[method-assign]


def _refusals_ignored() -> None:
    Parts.check = lambda _self, _run: None  # type: ignore[method-assign]


PLANTS = {
    "no-keys": _no_keys,
    "key-in-the-log": _key_in_the_log,
    "nothing": lambda: None,
    "outputs-unsynced": _outputs_unsynced,
    "journal-unsynced": _journal_unsynced,
    "fresh-keys": _fresh_keys,
    "lost-intents-forgotten": _lost_intents_forgotten,
    "nothing-swept": _nothing_swept,
    "refusals-ignored": _refusals_ignored,
}

SHOWN_BY = {
    "fresh-keys": ("--kind", "killed=6", "--only", "answer POST /api/v1/generate"),
    "lost-intents-forgotten": ("--kind", "killed=6", "--only", "answer POST /api/v1/assets"),
    "nothing-swept": ("--kind", "killed=6", "--only", "link before"),
    "no-keys": ("--kind", "undisturbed=1"),
    "refusals-ignored": ("--kind", "part_failed", "--only", "refused last check"),
    "key-in-the-log": ("--kind", "undisturbed=1"),
    "outputs-unsynced": ("--scene", "six", "--kind", "unplugged=16"),
    "journal-unsynced": ("--scene", "six", "--kind", "unplugged=16"),
}
"""The trials that each plant has to show in."""
