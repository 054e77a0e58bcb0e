"""Whether an upload whose answer was lost was charged, by what the gateway shows later.

An upload without an answer keeps its bound until it is known that it cost nothing
(``core/ledger.py``). The rule:

1. The gateway's assets don't show it, and its ledger was read without a gap from before it was sent
   until its patience was over.
2. This ledger shows charges of uploads: that of each upload that was answered with a price in the
   time of these readings, and there is at least one. The charge has the asset's id, or no id at all
   and the upload's amount and time; the contract promises entries of jobs only.
3. Every entry without a job that was first seen after the lost upload was sent is explained: it is
   about a job or an asset of ours, a rebate, or the charge of an upload with an answer.

Only the order of readings and uploads counts for the third, since a clock may have been set. An
upload since which the clock was set back stays held, and explains nothing: it isn't known when it
was sent. So does one that another process has begun, and that had no answer when this one continued
its log or merged it: that process may only be frozen, and sends it when it wakes up. Entries may be
listed late, at the place of their time: so the last reading has to have an entry that was seen
before the upload was sent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from crucible_batch.core.audit_claims import JobClaim, UploadClaim, UploadState, clock_samples
from crucible_batch.core.events import Event, Intended
from crucible_batch.core.gateway_types import AssetSnapshot, LedgerEntry
from crucible_batch.core.ledger_statement import (
    Clocks,
    EntryKind,
    Statement,
    entry_amount,
    entry_kind,
    ids_in_texts,
    may_be_upload,
)

LOST_UPLOAD_PATIENCE_S = 30.0
"""How long an upload's entry may be missing after its last event: as long as for an answer."""


def patience_ends(claim: UploadClaim) -> float:
    """Return when the patience of an upload of unknown charge is over, since the epoch."""
    last = max(claim.begun_at, claim.answered_at or 0.0, claim.deleted_at or 0.0)
    return last + LOST_UPLOAD_PATIENCE_S


class SetBacks:
    """Uploads since which the clock was set back: it isn't known when they were sent.

    ``nonces`` are theirs: nothing is shown by time. Less than ``Clocks.TICK_S`` does not count:
    events of one moment may be in any order.
    """

    def __init__(self) -> None:
        self.nonces: set[str] = set()
        self._begun: dict[str, float] = {}
        self._latest = -math.inf

    def watch(self, events: Iterable[tuple[str, Event]]) -> Iterator[tuple[str, Event]]:
        """Yield events in the order in which they were journalled."""
        for subject, event in events:
            self.note(event.at)
            if isinstance(event, Intended):
                self._begun[event.nonce] = event.at
                self._latest = max(self._latest, event.at)
            yield subject, event

    def note(self, now: float) -> None:
        """Note a time of the clock after the events so far."""
        if now < self._latest - Clocks.TICK_S:
            self.nonces |= {nonce for nonce, at in self._begun.items() if now < at - Clocks.TICK_S}
            self._begun = {
                nonce: at for nonce, at in self._begun.items() if nonce not in self.nonces
            }
            self._latest = max(self._begun.values(), default=-math.inf)

    def note_runs(self, starts: Sequence[float]) -> None:
        """Note the runs that began at an earlier time than one before them.

        They may have no events.
        """
        for latest, start in zip(accumulate(starts, max), starts, strict=True):
            if start < latest:
                self.note(start)


class LostUploadStates(NamedTuple):
    """The lost uploads that were surely not charged, and those of which this may be shown soon."""

    not_charged: Sequence[UploadClaim] = ()
    undecided: Sequence[UploadClaim] = ()


def lost_upload_states(
    uploads: Sequence[UploadClaim],
    jobs: Sequence[JobClaim],
    entries: Iterable[LedgerEntry],
    assets: Iterable[AssetSnapshot],
    *,
    covers: Callable[[float], bool],
    first_seen: Mapping[str, float],
    is_over: Callable[[UploadClaim], bool],
) -> LostUploadStates:
    """Return what is known of lost uploads, by the rule of this file.

    ``covers`` returns whether readings of the ledger without a gap include all entries since a time
    of our clock, also those that were listed late. ``first_seen`` is when the first reading with an
    entry was answered, by the entry's key. ``is_over`` returns whether the last reading and the
    list of assets were asked for after the patience of an upload. None is undecided once that of
    all uploads is over.
    """
    listed = {asset.nonce for asset in assets}
    covered = [claim for claim in uploads if covers(claim.begun_at)]
    lost = [c for c in covered if c.state is UploadState.LOST and c.nonce not in listed]
    if not lost:
        return LostUploadStates()
    answered = [c for c in covered if c.state is UploadState.KNOWN and c.charge]
    ledger = Statement(entries)
    about_jobs = [ledger.about(job.job_id) for job in jobs]
    ours = _keys(about_jobs) | _keys(_about(claim, ledger) for claim in uploads)
    since = min(claim.begun_at for claim in (*lost, *answered))
    seen = [(entry, first_seen.get(entry.key, math.inf)) for entry in ledger.entries]
    possible = [
        (entry, seen_at)
        for entry, seen_at in seen
        if seen_at > since and entry.key not in ours and may_be_upload(entry)
    ]
    unnamed = [claim for claim in answered if not _is_named(claim, ledger)]
    due = [claim for claim in unnamed if is_over(claim)]
    if not _are_shown(due, possible, clock_samples(jobs, about_jobs)):
        return LostUploadStates()
    lists_uploads = bool(due) or len(unnamed) < len(answered)
    not_charged = [
        claim
        for claim in lost
        if lists_uploads and is_over(claim) and _is_explained(claim, possible, due)
    ]
    if all(map(is_over, uploads)):
        return LostUploadStates(not_charged)
    undecided = [
        claim
        for claim in lost
        if claim not in not_charged and _is_explained(claim, possible, unnamed)
    ]
    return LostUploadStates(not_charged, undecided)


def _keys(found: Iterable[Iterable[LedgerEntry]]) -> set[str]:
    return {entry.key for entries in found for entry in entries}


def _about(claim: UploadClaim, ledger: Statement) -> Sequence[LedgerEntry]:
    """Return the entries with the id of an upload's asset."""
    if claim.asset_id is None:
        return ()
    return [entry for entry in ledger.about(claim.asset_id) if entry.job_id is None]


def _is_named(claim: UploadClaim, ledger: Statement) -> bool:
    return any(_has_charge_of(claim, entry) for entry in _about(claim, ledger))


def _has_charge_of(claim: UploadClaim, entry: LedgerEntry) -> bool:
    is_upload = entry_kind(entry, of_job=False) is EntryKind.UPLOAD
    return is_upload and entry_amount(entry) == claim.charge


def _are_shown(
    answered: Iterable[UploadClaim],
    possible: Iterable[tuple[LedgerEntry, float]],
    samples: Sequence[tuple[float, float, float]],
) -> bool:
    """Whether each upload has an entry of its own without an id, of its amount and time.

    Without ``samples`` of the clocks, the ledger may have jobs of ours that it doesn't name.
    """
    free = [pair for pair in possible if samples and not ids_in_texts(pair[0])]
    clocks = Clocks(samples)
    # The upload whose time ends first takes the oldest of its entries, which finds the most.
    for claim in sorted(answered, key=_ended):
        own = [
            (entry, seen_at)
            for entry, seen_at in free
            if _has_charge_of(claim, entry)
            and seen_at > claim.begun_at
            and clocks.may_lie_between(entry.at, claim.begun_at, _ended(claim))
        ]
        if not own:
            return False
        free.remove(own[0])
    return True


def _ended(claim: UploadClaim) -> float:
    return claim.answered_at or claim.begun_at


def _is_explained(
    lost: UploadClaim,
    possible: Iterable[tuple[LedgerEntry, float]],
    answered: Iterable[UploadClaim],
) -> bool:
    """Whether uploads with an answer explain all entries that were seen after a lost one was sent.

    By their number, for each amount. Those sent before it may have the entries that were seen
    before it, whatever the times of the entries: a clock may have been set.
    """
    earlier = Counter(entry_amount(entry) for entry, at in possible if at <= lost.begun_at)
    later = Counter(entry_amount(entry) for entry, at in possible if at > lost.begun_at)
    sent = Counter(claim.charge for claim in answered)
    sent_before = Counter(claim.charge for claim in answered if claim.begun_at < lost.begun_at)
    return later <= sent - (sent_before & earlier)
