"""Whether an upload whose answer was lost was charged, by what the gateway shows later.

An upload without an answer keeps its bound until it is known that it cost nothing
(``core/ledger.py``). That is known if the gateway's assets and its ledger were read after the
upload's patience, and neither shows it:

    assets           readings of the ledger              charge in its time         decision
    show its nonce   -                                   -                          stays held
    have shown it    -                                   -                          stays held
    -                begun before its patience was over  -                          stays held
    -                with a gap since it was sent        -                          stays held
    -                without a gap                       one that is not explained  stays held
    -                without a gap                       not one that must be there stays held
    -                without a gap                       none                       not charged

One since which the clock was set back stays held, and its charge explains nothing: it isn't known
when it was sent.

The charge of an upload with an answer must be there, if readings lasted from then until it was
listed: a ledger without it may not list uploads. A charge is explained if it names an asset or a
job of ours, or if it is that of an upload with an answer. The contract names no kinds of entries:
as long as no charge of an upload of ours was recognised, any entry that isn't about a job of ours
may be one. Entries may be listed late, at the place of their time: so the last reading has to have
an entry that was seen before the upload was sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from crucible_batch.core.audit_claims import JobClaim, UploadClaim, UploadState, clock_samples
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
"""How long after the last event of an upload its entry may still be missing: as long as an answer
is waited for.
"""


def patience_ends(claim: UploadClaim) -> float:
    """Return when the patience of an upload of unknown charge is over, in seconds since the epoch."""
    last = max(claim.begun_at, claim.answered_at or 0.0, claim.deleted_at or 0.0)
    return last + LOST_UPLOAD_PATIENCE_S


class SetBacks:
    """Uploads since which the clock was set back: it isn't known when they were sent, so nothing is
    shown by time.

    ``nonces`` are theirs. Less than ``Clocks.TICK_S`` does not count: events of one moment may be
    in any order.
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
    read_at: float,
) -> tuple[UploadClaim, ...]:
    """Return the lost uploads that were certainly not charged, by the table at the head of this
    file.

    ``covers`` returns whether readings of the ledger without a gap include all entries since a time
    of our clock, also those that were listed late. ``coverages`` are the times of all readings, and
    ``first_seen`` is when the first reading with an entry was answered, by the entry's key.
    ``read_at`` is when the last of them and the list of assets were asked for, whichever was
    earlier.
    """
    listed = {text for asset in assets for text in (asset.nonce, asset.asset_id) if text}
    open_claims = [
        claim
        for claim in uploads
        if claim.state is UploadState.LOST
        and covers(claim.begun_at)
        and patience_ends(claim) <= read_at
        and not {claim.nonce, claim.asset_id} & listed
    ]
    if not open_claims:
        return ()
    statement = Statement(entries)
    about_jobs = [statement.about(job.job_id) for job in jobs]
    samples = list(clock_samples(jobs, about_jobs))
    clocks = Clocks(samples)
    ours = {id(entry) for found in about_jobs for entry in found}
    others = Statement(entry for entry in statement.entries if id(entry) not in ours)
    answered = [claim for claim in uploads if claim.state is UploadState.KNOWN]
    read_since = [
        claim for claim in answered if covers(claim.begun_at) and patience_ends(claim) <= read_at
    ]
    must_be_there = {*read_since, *_read_before(answered, coverages)}
    known = [claim for claim in uploads if claim in must_be_there or named(claim, others)]
    explained = _explained(known, others, clocks)
    charged = [claim for claim in known if claim.state is UploadState.KNOWN and claim.charge]
    if len(explained) < len(charged):
        return ()
    unexplained = _unexplained(known, others, explained)

    def may_be_charged(claim: UploadClaim) -> bool:
        """Whether an entry that was not seen before the upload was sent may be its charge."""
        # Without an entry of a job of ours the gateway's clock is unknown, and no time shows
        # anything.
        begun = claim.begun_at if samples else -math.inf
        ended = read_at if samples else math.inf
        return any(
            first_seen.get(entry.key, read_at) > claim.begun_at
            for entry in unexplained
            if clocks.may_lie_between(entry.at, begun, ended)
        )

    return tuple(
        claim for claim in open_claims if not named(claim, others) and not may_be_charged(claim)
    )


def named(claim: UploadClaim, statement: Statement) -> list[LedgerEntry]:
    """Return the entries with the id of an upload's asset."""
    if claim.asset_id is None:
        return []
    return [entry for entry in statement.about(claim.asset_id) if entry.job_id is None]


def _read_before(
    claims: Sequence[UploadClaim], coverages: Sequence[LedgerCoverage]
) -> list[UploadClaim]:
    """Return the uploads of which earlier readings would have the charge, if the gateway's ledger
    lists uploads."""
    return [
        claim
        for claim in claims
        if any(each.has_lasted(claim.begun_at, patience_ends(claim)) for each in coverages)
    ]


def _explained(
    known: Sequence[UploadClaim], others: Statement, clocks: Clocks
) -> dict[str, LedgerEntry]:
    """Return the entries that are the charges of ``known`` uploads, by their keys."""
    explained = {entry.key: entry for claim in known for entry in named(claim, others)}
    unnamed = [
        claim
        for claim in known
        if claim.state is UploadState.KNOWN and claim.charge and not named(claim, others)
    ]
    free = [
        entry for entry in others.entries if entry.key not in explained and entry.job_id is None
    ]
    for amount in {claim.charge for claim in unnamed}:
        entries = [each for each in free if entry_amount(each) == amount and _is_upload(each)]
        claims = [claim for claim in unnamed if claim.charge == amount]
        explained |= {entry.key: entry for entry in _match(claims, entries, clocks)}
    return explained


def _unexplained(
    known: Sequence[UploadClaim], others: Statement, explained: Mapping[str, LedgerEntry]
) -> list[LedgerEntry]:
    """Return the other entries that may be charges of uploads.

    As long as none is recognised, any entry may be one.
    """
    left = [entry for entry in others.entries if entry.key not in explained]
    if not any(map(_is_upload, explained.values())):
        return left
    charges = {claim.charge for claim in known if claim.state is UploadState.KNOWN}
    return [entry for entry in left if entry.job_id is None and may_be_upload(entry, charges)]


def _match(
    claims: Sequence[UploadClaim], entries: Sequence[LedgerEntry], clocks: Clocks
) -> Iterator[LedgerEntry]:
    """Yield the entries that are the charges of uploads of the same amount: as many as possible.

    In order of time, each entry for the upload whose time ends first, which is optimal for
    intervals.
    """
    open_claims = sorted(claims, key=lambda claim: claim.answered_at or claim.begun_at)
    for entry in sorted(entries, key=lambda entry: math.inf if entry.at is None else entry.at):
        for claim in open_claims:
            if clocks.may_lie_between(
                entry.at, claim.begun_at, claim.answered_at or claim.begun_at
            ):
                open_claims.remove(claim)
                yield entry
                break


def _is_upload(entry: LedgerEntry) -> bool:
    return entry.job_id is None and entry_kind(entry, of_job=False) is EntryKind.UPLOAD
