"""Settles uploads whose answer was lost, by what the gateway's assets and ledger show
(``core/lost_uploads.py``)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from crucible_batch.core.asset import ASSET_PREFIX
from crucible_batch.core.audit_claims import (
    JobClaim,
    UploadClaim,
    UploadState,
    job_claims,
    upload_claims,
)
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import Created, Deleted, Event, Intended, Lost, NotCharged
from crucible_batch.core.gateway_types import AssetSnapshot
from crucible_batch.core.lost_uploads import (
    LOST_UPLOAD_PATIENCE_S,
    SetBacks,
    lost_upload_states,
)
from crucible_batch.core.ports import Gateway
from crucible_batch.core.retry_rule import ONCE
from crucible_batch.engine.clock import Clock, wait_for_change
from crucible_batch.engine.history import History
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.ledger_reader import LedgerReader
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import GatewayError

_UNANSWERED = (UploadState.OPEN, UploadState.LOST)
_AGAIN_S = 5.0
"""After how long the gateway is asked again if it has not answered."""


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
        readings: LedgerReader,
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
        """Those of which it may soon be shown that they were not charged."""
        self._awaited_until = -math.inf
        """When the patience of all uploads is over, by the monotonic clock."""
        self._due_at = math.inf
        """When the gateway is asked next, by the monotonic clock."""
        self._began = clock.monotonic()
        self._last: dict[str, float] = {}
        """When each asset had its last event of an upload in this run, by the monotonic clock."""
        self._undated: set[str] = set()
        """The nonces of uploads since which the clock was set back."""
        stop.on_change.append(self._changed.set)
        accounting.on_entry(self._on_event)

    @property
    def are_open(self) -> bool:
        """Whether credits are held for an upload that may not have been charged; one that was found
        was made."""
        return self._accounting.ledger.lost_uploads > 0

    @property
    def awaited(self) -> Credits:
        """The credits that are released soon, unless the gateway shows a charge until then, or
        doesn't answer."""
        if self._clock.monotonic() > self._awaited_until + 2 * _AGAIN_S:
            return ZERO
        awaited = {claim.nonce for claim in self._awaited}
        return sum(
            (cost for nonce, cost in self._accounting.ledger.unpriced() if nonce in awaited), ZERO
        )

    async def settle(self) -> None:
        """Release what is held for uploads that were not charged, by the readings so far.

        None is released if the assets can't be read. Raises ``JournalError``.
        """
        self._due_at = math.inf
        if not self.are_open:
            self._awaited = ()
            return
        # By the monotonic clock. No earlier than that if the clock was put forward since.
        read_at = self._clock.monotonic() - max(0.0, self._clock.now() - self._readings.read_at)
        assets = await self._assets()
        if assets is None:
            self._awaited = ()
        else:
            uploads = await self._claims()
            states = lost_upload_states(
                uploads,
                self._jobs(),
                self._history.ledger_entries(),
                assets,
                covers=self._readings.reaches_back_to,
                first_seen=self._history.ledger_entries_seen(),
                is_over=lambda claim: self._patience_ends(claim) <= read_at,
            )
            for claim in states.not_charged:
                event = NotCharged(at=self._clock.now(), nonce=claim.nonce)
                await self._accounting.record(ASSET_PREFIX + claim.sha256, event)
            self._wait_for(states.undecided, uploads)
        for callback in self.on_settled:
            callback()

    def _wait_for(self, awaited: Sequence[UploadClaim], uploads: Sequence[UploadClaim]) -> None:
        """Note what is awaited, until the patience of all uploads is over. Wakes ``keep``."""
        self._awaited = tuple(awaited)
        self._awaited_until = max(map(self._patience_ends, uploads), default=-math.inf)
        if awaited:
            now = self._clock.monotonic()
            is_later = self._awaited_until > now
            self._ask_at(self._awaited_until if is_later else now + _AGAIN_S)

    def _ask_at(self, moment: float) -> None:
        self._due_at = min(self._due_at, moment)
        self._changed.set()

    async def keep(self) -> None:
        """Settle when an upload is lost and when the patience of others is over, until cancelled.

        Raises as ``settle``.
        """
        while True:
            due_at = self._due_at if self.are_open else math.inf
            if self._clock.monotonic() >= due_at:
                await self._read_and_settle()
            else:
                await wait_for_change(self._changed, self._clock, due_at)

    async def settle_at_end(self) -> None:
        """Settle as ``settle`` does, and wait for the patience of all uploads if that is what is
        missing.

        It is waited for at most ``LOST_UPLOAD_PATIENCE_S``, and not in a run that is stopped.
        """
        if self.are_open:
            await self._read_and_settle()
        while self.awaited and not self._stop.no_more:
            await wait_for_change(self._changed, self._clock, self._due_at)
            if not self._stop.no_more:
                await self._read_and_settle()

    async def _read_and_settle(self) -> None:
        await self._readings.read()
        await self.settle()

    def _patience_ends(self, claim: UploadClaim) -> float:
        """Return when the patience of an upload is over, by the monotonic clock.

        That of an earlier run's begins with this run: the clock may have been put right since.
        """
        last = self._last.get(ASSET_PREFIX + claim.sha256, self._began)
        return last + LOST_UPLOAD_PATIENCE_S

    def _on_event(self, subject: str, event: Event) -> None:
        now = self._clock.monotonic()
        if isinstance(event, Intended | Created | Lost | Deleted):
            self._last[subject] = now
        if isinstance(event, Lost):
            self._ask_at(now)
        if isinstance(event, Created):
            # Its charge may show that the ledger has those of uploads.
            self._ask_at(now + LOST_UPLOAD_PATIENCE_S)

    async def _assets(self) -> Sequence[AssetSnapshot] | None:
        try:
            return await self._gateway.assets()
        except GatewayError:
            return None  # the uploads stay held: the ending of a run is that of its jobs

    async def _claims(self) -> list[UploadClaim]:
        await self._history.drain()  # what follows reads the journal
        clock = SetBacks()
        claims = upload_claims(clock.watch(self._history.events()), {})
        clock.note_runs(self._history.run_starts())
        clock.note(self._clock.now())
        self._undated |= clock.nonces
        elsewhere = self._history.sent_elsewhere()
        return [
            claim
            for claim in claims
            if claim.nonce not in self._undated
            and not (claim.nonce in elsewhere and claim.state in _UNANSWERED)
        ]

    def _jobs(self) -> list[JobClaim]:
        known = (*self._history.started_jobs(ONCE), *self._history.retired())
        return [claim for planned, job in known for claim in job_claims(planned.name, job)]
