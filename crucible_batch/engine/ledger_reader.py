"""Reads the gateway's ledger while a run is active: for the account's credits, for refunds, and for
audits.

Each reading is journalled with the entries that are new. How often it is read:

    after a failure             immediately, but half a second after another: one serves all
                                failures of a moment
    while refunds are awaited   after a second, then less often, but while two readings still
                                overlap; after a gap more often, and less is bought between them
    otherwise                   every 5 s if something was bought or has ended since, and at the end
                                of the run
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Protocol

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import (
    Accepted,
    Created,
    Event,
    Failed,
    Held,
    JobLost,
    RefundForgotten,
    Succeeded,
)
from crucible_batch.core.gateway_types import Account, ErrorInfo, LedgerEntry
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.core.ledger_order import with_places
from crucible_batch.core.ledger_statement import Statement, names_several
from crucible_batch.core.ports import Gateway
from crucible_batch.core.refunds import FailedAttempt, is_unclear, missing_refunds, refund_events
from crucible_batch.engine.clock import Clock, wait_for_change
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.errors import GatewayError, KeyRefusedError

_EVERY_S = 5.0
_MOMENT_S = 0.5
_FIRST_WAIT_S = 1.0
_LEAST_WAIT_S = 0.25


class LedgerStore(Protocol):
    """Where readings of the gateway's ledger are kept."""

    def ledger_coverages(self) -> Sequence[LedgerCoverage]:
        """Return over which times any run in this directory has read the ledger without a gap,
        oldest first."""

    def ledger_entries(self) -> Sequence[LedgerEntry]:
        """Return all entries that readings have had."""

    def ledger_entries_seen(self) -> Mapping[str, float]:
        """Return when the first reading that had an entry was answered, by our clock and by the
        entry's key."""

    def ledger_places(self, keys: Iterable[str]) -> Mapping[str, int]:
        """Return the places of entries, by their keys, for those that have one."""

    def last_ledger_place(self) -> int:
        """Return the highest place of an entry; 0 without any."""

    async def keep_reading(
        self, entries: Sequence[LedgerEntry], coverage: LedgerCoverage, answered_at: float
    ) -> None:
        """Store a reading, and return once it is durable. Raises ``JournalError``."""


class LedgerReader:
    """The readings of one run. Everything here is called from the event loop.

    ``patience_s`` is how long a refund is waited for after its attempt has failed. ``name_of``
    returns the name of a job by its identity. ``on_reading`` callbacks run after each reading,
    whether or not the gateway answered.
    """

    def __init__(
        self,
        gateway: Gateway,
        accounting: JournaledLedger,
        store: LedgerStore,
        clock: Clock,
        *,
        patience_s: float,
        name_of: Callable[[str], str],
    ) -> None:
        self.on_reading: list[Callable[[], None]] = []
        self._gateway = gateway
        self._accounting = accounting
        self._store = store
        self._clock = clock
        self._patience_s = patience_s
        self._name_of = name_of
        self._coverage: LedgerCoverage | None = None
        self._last: dict[str, LedgerEntry] = {}
        """The entries of the last reading."""
        self._last_place: int | None = None
        """The highest place of an entry; None until the first reading."""
        self._about: dict[str, dict[str, LedgerEntry]] = {}
        """The entries about each job that is in flight or failed, by the job's id in lower case."""
        self._shown: Set[str] = frozenset()
        """Such jobs that the newest reading has an entry about: it has their later entries too,
        also late ones.
        """
        self._ambiguous: set[str] = set()
        """Such jobs that an entry names beside other ids: it may be about any of them."""
        self._began = clock.monotonic()
        self._failed_at: dict[str, float] = {}
        """When the newest failed attempt of each job failed in this run, by the monotonic clock."""
        self._read_at = -math.inf
        """When the last reading was begun, answered or not, by the monotonic clock."""
        self._asked_at = 0.0
        """When the last reading that was answered was begun, by our wall clock."""
        self._expired: Credits = ZERO
        """What is held for refunds that are not waited for any more."""
        self._invisible_of_found: Credits = ZERO
        self._reading = asyncio.Lock()
        self._begun = self._answered = 0
        """The numbers of the readings that were begun and that have ended; one that was cancelled
        has not ended."""
        self._changed = asyncio.Event()
        self._wait_s = _FIRST_WAIT_S
        self._most_bought: int | None = None
        """How many jobs may be bought between readings while refunds are awaited; None: as many as
        are wanted.
        """
        self._bought = self._ended = 0
        """How many jobs and images were bought, and how many jobs have ended, since the last
        reading that was answered was begun."""
        self._is_wanted = False
        """Whether a job has failed since the last reading was begun."""
        self._has_found = False
        """Whether entries about a job that was accepted since the last reading may be older than
        the last reading."""
        self._answered_at_hold: dict[str, int] = {}
        """How many readings had ended when the credits of each job without an answer were held."""
        self._account: Account | None = None
        accounting.on_entry(self._on_event)

    # -- figures

    @property
    def awaited(self) -> Credits:
        """The credits held for refunds that may still come, by the patience of this run."""
        return max(ZERO, self._accounting.ledger.held_for_refunds - self._expired)

    @property
    def invisible_of_found(self) -> Credits:
        """The part held for attempts that were found by their keys, and whose refund may be older
        than the list."""
        return min(self._invisible_of_found, self._accounting.ledger.held_for_refunds)

    @property
    def read_at(self) -> float:
        """When the newest reading of this run was begun, in seconds since the epoch.

        0 before the first, and after one whose time is still to come, since the clock was set back.
        """
        if self._asked_at > self._clock.now():
            return 0.0
        return self._asked_at

    def reaches_back_to(self, moment: float) -> bool:
        """Whether all entries since ``moment`` were read, also if they were listed late at the
        place of their time.

        The newest reading then has an entry that was seen before.
        """
        if self._coverage is None or not self._coverage.covers(moment):
            return False
        seen = self._store.ledger_entries_seen()
        return any(seen.get(key, math.inf) <= moment for key in self._coverage.keys)

    def missing(self) -> ErrorInfo:
        """Return the error for a purchase that doesn't fit beside what is held for refunds."""
        attempts = [(attempt, self._would_be_seen(attempt)) for attempt in self._open()]
        return missing_refunds(attempts, self._name_of)

    def _open(self) -> Iterator[FailedAttempt]:
        return (attempt for attempt in self._accounting.ledger.failed_attempts() if attempt.held)

    def _would_be_seen(self, attempt: FailedAttempt) -> bool:
        """Whether an entry for the attempt's refund would have been seen, if there were one, and
        understood."""
        job_id = attempt.job_id.lower()
        about = tuple(self._about.get(job_id, {}).values())
        return job_id in self._shown and job_id not in self._ambiguous and not is_unclear(about)

    # -- readings

    async def begin(self, *, forget_by: str | None = None) -> None:
        """Continue the readings of earlier runs, once the journal is replayed.

        ``forget_by`` is the person who releases what is held for refunds that are not visible; None
        if nobody does. Without an answer of the gateway nothing is released.
        """
        self._coverage = next(reversed(self._store.ledger_coverages()), None)
        if any(True for _ in self._accounting.ledger.job_ids()):
            self._note(self._store.ledger_entries())
        if self._accounting.ledger.awaits_refunds or self._accounting.ledger.unpriced_uploads:
            await self.read()
        if forget_by is None or not self._asked_at:
            return
        for attempt in [each for each in self._open() if not self._would_be_seen(each)]:
            released = RefundForgotten(
                at=self._clock.now(), attempt=attempt.number, credits=attempt.held, by=forget_by
            )
            await self._accounting.record(attempt.subject, released)

    async def read(self) -> Account | None:
        """Return the account by a reading that begins after this call; None if the gateway doesn't
        answer.

        Callers share a reading. Raises ``KeyRefusedError`` and ``JournalError``.
        """
        wanted = self._begun + 1
        async with self._reading:
            if self._answered < wanted:
                self._begun += 1
                self._account = await self._read()
                self._answered = self._begun
            return self._account

    async def before_purchase(self) -> None:
        """Read the ledger first, if more bought before the next reading might let a refund pass
        unseen."""
        most = self._most_bought
        if self.awaited and most is not None and self._bought >= most:
            await self.read()

    async def keep(self) -> None:
        """Read when it is due, until cancelled."""
        while True:
            due_at = self._due_at()
            if self._clock.monotonic() >= due_at:
                await self.read()
            else:
                await wait_for_change(self._changed, self._clock, due_at)

    async def end(self) -> None:
        """Read once more at the end of a run, if something happened since the last reading."""
        if self._bought or self._ended or self._accounting.ledger.awaits_refunds:
            await self.read()

    def _due_at(self) -> float:
        """Return when the next reading is due, by the monotonic clock; infinity if nothing has
        happened.

        The cases are those of the table at the head of this file.
        """
        if self._is_wanted:
            return self._read_at + _MOMENT_S
        if self.awaited:
            if self._may_miss_entries():
                return self._read_at + self._short_wait_s()
            return self._read_at + self._wait_s
        if self._bought or self._ended or self._accounting.ledger.held_for_refunds:
            return self._read_at + _EVERY_S
        return math.inf

    def _may_miss_entries(self) -> bool:
        """Whether half of the entries of the next reading may be new.

        If all of them are, it doesn't overlap the last one, and entries in between may be missed.
        The refunds of all failed attempts may come at the same time.
        """
        may_be_new = self._bought + self._ended + sum(1 for _ in self._open())
        return 0 < len(self._last) <= 2 * may_be_new

    def _short_wait_s(self) -> float:
        """Return a short wait that grows while nothing fails:

        0.25 s in the first minute, 1 s after four.
        """
        newest = max(self._failed_at.values(), default=-math.inf)
        return min(_EVERY_S, max(_LEAST_WAIT_S, (self._clock.monotonic() - newest) / 240))

    async def _read(self) -> Account | None:
        bought, ended = self._bought, self._ended
        self._is_wanted = False
        asked_at, self._read_at = self._clock.now(), self._clock.monotonic()
        account: Account | None = None
        try:
            account = await self._gateway.account()
        except KeyRefusedError:
            raise
        except GatewayError:
            pass  # the credits and the entries are those of the reading before
        else:
            await self._take(account.entries, asked_at, bought)
            # Subtracted only now: after a reading without an answer, or one that was cancelled,
            # they still count.
            self._bought -= bought
            self._ended -= ended
        self._weigh()
        self._changed.set()  # it may have taken a refund back: the next reading is due earlier
        for callback in self.on_reading:
            callback()
        return account

    async def _take(self, entries: Sequence[LedgerEntry], asked_at: float, bought: int) -> None:
        shown = self._in_place({entry.key: entry for entry in entries})
        entries = tuple(shown.values())
        before, reading = self._coverage, LedgerCoverage.of(entries, asked_at)
        coverage = reading
        if before is not None:
            coverage = before.after(reading)
        fresh = [entry for key, entry in shown.items() if self._last.get(key) != entry]
        await self._store.keep_reading(fresh, coverage, self._clock.now())
        if before is not None:
            # Reading more often shows no more of a ledger that stays empty.
            is_gap = bool(before.keys or shown) and not before.overlaps(reading)
            self._adapt(is_gap=is_gap, bought=bought, shown=len(shown))
        # The reading before may have entries about jobs whose ids were not known then.
        self._note(tuple(self._last.values()))
        if self._has_found:
            self._has_found = False
            self._note(self._store.ledger_entries())
        self._shown = named = self._note(entries)
        self._coverage, self._last, self._asked_at = coverage, shown, asked_at
        for attempt in list(self._accounting.ledger.failed_attempts()):
            job_id = attempt.job_id.lower()
            if not attempt.held and job_id not in named:
                continue
            about = tuple(self._about.get(job_id, {}).values())
            for event in refund_events(attempt, about, now=self._clock.now()):
                await self._accounting.record(attempt.subject, event)

    def _in_place(self, shown: Mapping[str, LedgerEntry]) -> dict[str, LedgerEntry]:
        """Return the entries of a reading with their places in the order of all that were read."""
        if self._last_place is None:
            self._last_place = self._store.last_ledger_place()
        known = {key: entry.place for key, entry in self._last.items()}
        known |= self._store.ledger_places(shown.keys() - known.keys())
        placed = with_places(tuple(shown.values()), known, self._last_place)
        self._last_place = max([self._last_place, *(entry.place or 0 for entry in placed)])
        return {entry.key: entry for entry in placed}

    def _adapt(self, *, is_gap: bool, bought: int, shown: int) -> None:
        """Read more often and buy less between two readings after a gap; the reverse while they
        overlap."""
        if is_gap:
            self._most_bought = max(1, bought // 2)
            self._wait_s = max(_LEAST_WAIT_S, self._wait_s / 2)
            return
        self._wait_s = min(_EVERY_S, self._wait_s * 1.5)
        if self._most_bought is not None:
            self._most_bought *= 2
            if self._most_bought >= shown:
                self._most_bought = None

    def _note(self, entries: Sequence[LedgerEntry]) -> Set[str]:
        """Keep the entries about jobs that are in flight or failed; return the ids of those that
        have one."""
        open_jobs = {job_id.lower() for job_id in self._accounting.ledger.job_ids()}
        for closed in self._about.keys() - open_jobs:
            del self._about[closed]
        self._ambiguous &= open_jobs
        statement = Statement(entries)
        about = {job_id: statement.about(job_id) for job_id in open_jobs}
        about = {job_id: found for job_id, found in about.items() if found}
        named = Counter(entry.key for found in about.values() for entry in found)
        for job_id, found in about.items():
            clear = [entry for entry in found if named[entry.key] == 1 and not names_several(entry)]
            self._about.setdefault(job_id, {}).update((entry.key, entry) for entry in clear)
            if len(clear) < len(found):
                self._ambiguous.add(job_id)
        return about.keys()

    def _weigh(self) -> None:
        """Sum up what is held for refunds that are not waited for any more, and for those of jobs
        that were found."""
        self._expired = self._invisible_of_found = ZERO
        for attempt in self._open():
            if self._waited_s(attempt) >= self._patience_s:
                self._expired += attempt.held
            # Nothing is known of it as long as there was no reading, or only empty ones.
            if self._last and attempt.found and not self._would_be_seen(attempt):
                self._invisible_of_found += attempt.held
        if not self._accounting.ledger.held_for_refunds:
            self._wait_s = _FIRST_WAIT_S

    def _waited_s(self, attempt: FailedAttempt) -> float:
        """Return for how long a refund has been waited for, in earlier runs too.

        The clock of an earlier run may have been ahead, so it is at least the time since this run
        began.
        """
        failed_at = self._failed_at.get(attempt.subject)
        if failed_at is None:
            return max(self._clock.now() - attempt.failed_at, self._clock.monotonic() - self._began)
        return self._clock.monotonic() - failed_at

    def _on_event(self, subject: str, event: Event) -> None:
        match event:
            case Held():
                self._answered_at_hold[subject] = self._answered
                return
            case Accepted(reused=reused, earlier=earlier):
                self._bought += 1
                readings = self._answered - self._answered_at_hold.pop(subject, self._answered)
                self._has_found = self._has_found or reused or earlier or readings > 1
            case Created():
                self._bought += 1
            case Failed():
                self._ended += 1
                self._failed_at[subject] = self._clock.monotonic()
                self._is_wanted = True
            case Succeeded() | JobLost():
                self._ended += 1
            case _:
                return
        self._changed.set()
