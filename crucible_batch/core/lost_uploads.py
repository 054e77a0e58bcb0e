"""Whether an upload whose answer was lost was charged, by what the gateway shows later.

An upload without an answer keeps its bound until it is known that it cost nothing
(``core/ledger.py``). That is known if the gateway's assets and its ledger were read after the
upload's patience, and neither shows it:

    assets           readings of the ledger              charge seen first after it  decision
    show its nonce   -                                   -                           stays held
    have shown it    -                                   -                           stays held
    -                begun before its patience was over  -                           stays held
    -                with a gap since it was sent        -                           stays held
    -                without a gap                       one that is not explained   stays held
    -                without a gap                       not one that must be there  stays held
    -                without a gap                       none                        not charged

One since which the clock was set back stays held, and its charge explains nothing: it isn't known
when it was sent. A clock that was behind and is put right keeps the order of readings and uploads.

The charge of an upload with an answer must be there, if readings lasted from then until it was
listed: a ledger without it may not list uploads. A charge is explained if it names an asset or a
job of ours, or if it is that of an upload with an answer. The contract names no kinds of entries:
as long as no charge of an upload of ours was recognised, any entry that isn't about a job of ours
may be one. Entries may be listed late, at the place of their time: so the last reading has to have
an entry that was seen before the upload was sent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from crucible_batch.core.audit_claims import JobClaim, UploadClaim, UploadState, clock_samples
from crucible_batch.core.credits import Credits
from crucible_batch.core.events import Event, Intended
from crucible_batch.core.gateway_types import AssetSnapshot, LedgerEntry
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.core.ledger_statement import (
    Clocks,
    EntryKind,
    Statement,
    entry_amount,
    entry_kind,
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


def uncharged_uploads(
    uploads: Sequence[UploadClaim],
    jobs: Sequence[JobClaim],
    entries: Iterable[LedgerEntry],
    assets: Iterable[AssetSnapshot],
    *,
    covers: Callable[[float], bool],
    coverages: Sequence[LedgerCoverage],
    first_seen: Mapping[str, float],
    is_over: Callable[[UploadClaim], bool],
) -> tuple[UploadClaim, ...]:
    """Return the lost uploads that were certainly not charged, by the table of this file.

    ``covers`` returns whether readings of the ledger without a gap include all entries since a time
    of our clock, also those that were listed late. ``coverages`` are the times of all readings, and
    ``first_seen`` is when the first reading with an entry was answered, by the entry's key.
    ``is_over`` returns whether the last reading and the list of assets were asked for after the
    patience of an upload.
    """
    listed = {text for asset in assets for text in (asset.nonce, asset.asset_id) if text}
    open_claims = [
        claim
        for claim in uploads
        if claim.state is UploadState.LOST
        and covers(claim.begun_at)
        and is_over(claim)
        and not {claim.nonce, claim.asset_id} & listed
    ]
    if not open_claims:
        return ()
    others, clocks = _beside_jobs(Statement(entries), jobs)
    unnamed = [
        claim
        for claim in uploads
        if claim.state is UploadState.KNOWN
        and claim.charge
        and not named(claim, others)
        and is_over(claim)
        and (covers(claim.begun_at) or _was_read_before(claim, coverages))
    ]
    seen_at = {entry.key: first_seen.get(entry.key, math.inf) for entry in others.entries}
    possible = _possible_charges(uploads, others, is_any_known=bool(unnamed))
    if not _are_shown(unnamed, possible, clocks, seen_at):
        return ()
    return tuple(
        claim
        for claim in open_claims
        if not named(claim, others) and not _may_be_charged(claim, possible, unnamed, seen_at)
    )


def named(claim: UploadClaim, statement: Statement) -> list[LedgerEntry]:
    """Return the entries with the id of an upload's asset."""
    if claim.asset_id is None:
        return []
    return [entry for entry in statement.about(claim.asset_id) if entry.job_id is None]


def _beside_jobs(statement: Statement, jobs: Sequence[JobClaim]) -> tuple[Statement, Clocks]:
    """Return the entries that aren't about jobs of ours, and the clocks by those that are."""
    about_jobs = [statement.about(job.job_id) for job in jobs]
    ours = {entry.key for found in about_jobs for entry in found}
    others = Statement(entry for entry in statement.entries if entry.key not in ours)
    return others, Clocks(clock_samples(jobs, about_jobs))


def _possible_charges(
    uploads: Sequence[UploadClaim], others: Statement, *, is_any_known: bool
) -> list[LedgerEntry]:
    """Return the entries without an asset's id that may be charges of uploads.

    As long as no charge of an upload of ours is recognised, any entry may be one.
    """
    explained = {entry.key: entry for claim in uploads for entry in named(claim, others)}
    left = [entry for entry in others.entries if entry.key not in explained]
    if not is_any_known and not any(map(_is_upload, explained.values())):
        return left
    charges = {claim.charge for claim in uploads if claim.state is UploadState.KNOWN}
    return [entry for entry in left if entry.job_id is None and may_be_upload(entry, charges)]


def _was_read_before(claim: UploadClaim, coverages: Sequence[LedgerCoverage]) -> bool:
    """Whether earlier readings would have an upload's charge, if the ledger lists uploads."""
    return any(each.has_lasted(claim.begun_at, patience_ends(claim)) for each in coverages)


def _are_shown(
    claims: Sequence[UploadClaim],
    entries: Sequence[LedgerEntry],
    clocks: Clocks,
    seen_at: Mapping[str, float],
) -> bool:
    """Whether each upload has an entry of its amount and time that was not seen before it was sent.

    In order of time, each entry is taken for the upload whose time ends first, which finds as many
    as possible.
    """
    missing = sorted(claims, key=lambda claim: claim.answered_at or claim.begun_at)
    for entry in sorted(entries, key=lambda entry: math.inf if entry.at is None else entry.at):
        for claim in missing:
            ended = claim.answered_at or claim.begun_at
            if (
                _may_explain(entry, claim.charge)
                and seen_at[entry.key] > claim.begun_at
                and clocks.may_lie_between(entry.at, claim.begun_at, ended)
            ):
                missing.remove(claim)
                break
    return not missing


def _may_be_charged(
    lost: UploadClaim,
    possible: Sequence[LedgerEntry],
    answered: Sequence[UploadClaim],
    seen_at: Mapping[str, float],
) -> bool:
    """Whether an entry that was first seen after an upload was sent may be its charge.

    Only the order of readings and uploads counts. The entry's time by the gateway's clock doesn't:
    ours may have been set since the clocks were compared. ``answered`` explain as many of these
    entries as they must: those whose own charges can't be among the entries that were seen before.
    """
    later = [entry for entry in possible if seen_at[entry.key] > lost.begun_at]
    for amount, count in Counter(map(entry_amount, later)).items():
        sent = [claim.begun_at for claim in answered if claim.charge == amount]
        seen = [
            seen_at[entry.key]
            for entry in possible
            if entry not in later and _may_explain(entry, amount)
        ]
        if count > len(sent) - _most_seen(sent, seen):
            return True
    return False


def _most_seen(sent: Iterable[float], seen: Iterable[float]) -> int:
    """Return how many uploads can each have an entry of its own that was first seen after it."""
    free = sorted(seen)
    count = 0
    for begun_at in sorted(sent, reverse=True):
        if free and free[-1] > begun_at:
            free.pop()
            count += 1
    return count


def _may_explain(entry: LedgerEntry, charge: Credits) -> bool:
    return _is_upload(entry) and entry_amount(entry) == charge


def _is_upload(entry: LedgerEntry) -> bool:
    return entry.job_id is None and entry_kind(entry, of_job=False) is EntryKind.UPLOAD
