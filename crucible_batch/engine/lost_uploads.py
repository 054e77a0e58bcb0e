"""Settles uploads whose answer was lost, by what the gateway's assets and ledger show (``domain/lost_uploads.py``)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from crucible_batch.domain.asset import ASSET_PREFIX
from crucible_batch.domain.audit_claims import JobClaim, UploadClaim, job_claims, upload_claims
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.events import Created, Event, Lost, NotCharged
from crucible_batch.domain.gateway_types import LedgerEntry
from crucible_batch.domain.lost_uploads import LOST_UPLOAD_PATIENCE_S, patience_ends, uncharged_uploads
from crucible_batch.domain.ports import Gateway
from crucible_batch.domain.retry_rule import ONCE
from crucible_batch.engine.clock import Clock, wait_for_change
from crucible_batch.engine.history import History
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import GatewayError

_AGAIN_S: Final = 1.0
"""The least time between two readings, if the first was not answered."""


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

    def first_seen(self) -> Mapping[str, float]:
        """Return when each entry was first seen, by its key: the start of that reading, in seconds since the epoch."""
        ...

    def covers(self, moment: float) -> bool:
        """Whether all entries since ``moment`` were read, without a gap. ``moment`` is by our clock."""
        ...


class LostUploads:
    """The uploads of unknown charge of all runs in this directory."""

    def __init__(
        self,
        gateway: Gateway,
        accounting: JournaledLedger,
        history: History,
        clock: Clock,
        stop: Shutdown,
        *,
        readings: LedgerReadings,
    ) -> None:
        self._gateway = gateway
        self._accounting = accounting
        self._history = history
        self._clock = clock
        self._stop = stop
        self._readings = readings
        self.on_settled: list[Callable[[], None]] = []
        """Called after each settlement, whether or not it has released anything."""
        self._changed = asyncio.Event()
        self._awaited: tuple[UploadClaim, ...] = ()
        """The uploads that nothing shows to be charged, and whose patience is not over."""
        stop.on_change.append(self._changed.set)
        accounting.on_entry(self._on_event)

    @property
    def are_open(self) -> bool:
        """Whether credits are held or counted for an upload without knowing whether it was charged."""
        return self._accounting.ledger.unpriced_uploads > 0

    @property
    def awaited(self) -> Credits:
        """The credits that are released soon, unless the gateway shows a charge until then."""
        ledger = self._accounting.ledger
        places = (ledger.place_of_unpriced(claim.nonce) for claim in self._awaited)
        return sum((ledger.unpriced_costs[place] for place in places if place is not None), ZERO)

    async def settle(self) -> None:
        """Release what is held for uploads that were not charged, by the readings so far.

        None is released if the assets can't be read. Raises ``JournalError``.
        """
        if not self.are_open:
            self._awaited = ()
            return
        read_at = self._readings.read_at
        found = await self._uncharged(self._readings, read_at=math.inf)
        for claim in found:
            if patience_ends(claim) <= read_at:
                event = NotCharged(at=self._clock.now(), nonce=claim.nonce)
                await self._accounting.record(ASSET_PREFIX + claim.sha256, event)
        self._awaited = tuple(claim for claim in found if read_at < patience_ends(claim) <= self._latest_end())
        self._changed.set()  # the next end may be another one
        for callback in self.on_settled:
            callback()

    async def keep(self) -> None:
        """Settle when an upload is lost and when the patience of one is over, until cancelled. Raises as ``settle``."""
        while True:
            await wait_for_change(self._changed, self._clock, self._next_end())
            if self.are_open:
                await self._read_and_settle()

    async def settle_at_end(self) -> None:
        """Settle as ``settle`` does, and wait for the patience of all uploads if that is what is missing.

        It is waited for at most ``LOST_UPLOAD_PATIENCE_S``, and not in a run that is stopped.
        """
        if self.are_open:
            await self._read_and_settle()
        ends_at = self._clock.monotonic() + LOST_UPLOAD_PATIENCE_S + _AGAIN_S
        while self._awaited and not self._stop.no_more and self._clock.monotonic() < ends_at:
            await wait_for_change(self._changed, self._clock, self._next_end())
            if not self._stop.no_more:
                await self._read_and_settle()

    def _latest_end(self) -> float:
        """Return the latest end of a patience that is waited for: the clock of an earlier run may have been ahead."""
        return self._clock.now() + LOST_UPLOAD_PATIENCE_S

    def _next_end(self) -> float:
        """Return when the next patience is over, by the monotonic clock; infinity if none is waited for."""
        ends = [patience_ends(claim) - self._clock.now() for claim in self._awaited]
        return self._clock.monotonic() + max(_AGAIN_S, min(ends)) if ends else math.inf

    async def _read_and_settle(self) -> None:
        await self._readings.read()
        await self.settle()

    def _on_event(self, _subject: str, event: Event) -> None:
        if isinstance(event, Lost) or (isinstance(event, Created) and event.assumed):
            self._changed.set()

    async def _uncharged(self, readings: LedgerReadings, *, read_at: float) -> Sequence[UploadClaim]:
        try:
            assets = await self._gateway.assets()
        except GatewayError:
            return ()  # they stay held: the ending of a run is that of its jobs
        uploads = await self._claims()
        return uncharged_uploads(
            uploads,
            self._jobs(),
            readings.entries(),
            assets,
            covers=readings.covers,
            first_seen=readings.first_seen(),
            read_at=read_at,
        )

    async def _claims(self) -> list[UploadClaim]:
        await self._history.drain()  # what follows reads the journal
        return upload_claims(self._history.events(), {})

    def _jobs(self) -> list[JobClaim]:
        known = (*self._history.started_jobs(ONCE), *self._history.retired())
        return [claim for planned, job in known for claim in job_claims(planned.name, job)]
