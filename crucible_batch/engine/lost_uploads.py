"""Settles uploads whose answer was lost, by what the gateway's assets and ledger show (``domain/lost_uploads.py``)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Protocol

from crucible_batch.domain.asset import ASSET_PREFIX
from crucible_batch.domain.audit_claims import JobClaim, UploadClaim, job_claims, upload_claims
from crucible_batch.domain.events import NotCharged
from crucible_batch.domain.gateway_types import LedgerEntry
from crucible_batch.domain.lost_uploads import patience_ends, uncharged_uploads
from crucible_batch.domain.ports import Gateway
from crucible_batch.domain.retry_rule import ONCE
from crucible_batch.engine.clock import Clock, wait_for_change
from crucible_batch.engine.history import History
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import GatewayError


class LedgerReadings(Protocol):
    """Readings of the gateway's ledger, those of earlier runs in the directory included."""

    @property
    def read_at(self) -> float:
        """When the newest reading began, in seconds since the epoch."""
        ...

    async def read(self) -> object:
        """Read the ledger once more."""
        ...

    def entries(self) -> Sequence[LedgerEntry]:
        """Return all entries that were read."""
        ...

    def covers(self, moment: float) -> bool:
        """Whether all entries since ``moment`` were read, without a gap. ``moment`` is by our clock."""
        ...


class LostUploads:
    """The uploads of unknown charge of all runs in this directory. Without ``readings``, none is settled."""

    def __init__(
        self,
        gateway: Gateway,
        accounting: JournaledLedger,
        history: History,
        clock: Clock,
        stop: Shutdown,
        *,
        readings: LedgerReadings | None,
    ) -> None:
        self._gateway = gateway
        self._accounting = accounting
        self._history = history
        self._clock = clock
        self._stop = stop
        self._readings = readings
        self._changed = asyncio.Event()
        stop.on_change.append(self._changed.set)

    @property
    def are_open(self) -> bool:
        """Whether credits are held or counted for an upload without knowing whether it was charged."""
        return self._accounting.ledger.unpriced_uploads > 0

    async def settle(self) -> None:
        """Release what is held for uploads that were not charged, by the readings so far.

        None is released if the assets can't be read. Raises ``JournalError``.
        """
        readings = self._readings
        if readings is not None and self.are_open:
            for claim in await self._uncharged(readings, read_at=readings.read_at):
                event = NotCharged(at=self._clock.now(), nonce=claim.nonce)
                await self._accounting.record(ASSET_PREFIX + claim.sha256, event)

    async def settle_at_end(self) -> None:
        """Settle as ``settle`` does, with a reading after the patience of all uploads if that is what is missing.

        It is waited for at most ``LOST_UPLOAD_PATIENCE_S``, and not in a run that is stopped.
        """
        await self.settle()
        readings = self._readings
        if readings is None or not self.are_open or self._stop.no_more:
            return
        if not await self._uncharged(readings, read_at=math.inf):
            return
        wait_s = max(map(patience_ends, await self._claims())) - self._clock.now()
        await wait_for_change(self._changed, self._clock, self._clock.monotonic() + wait_s)
        if not self._stop.no_more:
            await readings.read()
            await self.settle()

    async def _uncharged(self, readings: LedgerReadings, *, read_at: float) -> Sequence[UploadClaim]:
        try:
            assets = await self._gateway.assets()
        except GatewayError:
            return ()  # they stay held: the ending of a run is that of its jobs
        uploads = await self._claims()
        entries, covers = readings.entries(), readings.covers
        return uncharged_uploads(uploads, self._jobs(), entries, assets, covers=covers, read_at=read_at)

    async def _claims(self) -> list[UploadClaim]:
        await self._history.drain()  # what follows reads the journal
        return upload_claims(self._history.events(), {})

    def _jobs(self) -> list[JobClaim]:
        known = (*self._history.started_jobs(ONCE), *self._history.retired())
        return [claim for planned, job in known for claim in job_claims(planned.name, job)]
