"""Whether an upload whose answer was lost was charged, by what the gateway shows later.

An upload without an answer keeps its bound until it is known that it cost nothing (``domain/ledger.py``). That is known
if the gateway's assets and its ledger were read after the upload's patience, and neither shows it:

    assets           readings of the ledger              charge in its time         decision
    show its nonce   -                                   -                          stays held
    -                begun before its patience was over  -                          stays held
    -                with a gap since it was sent        -                          stays held
    -                without a gap                       one that is not explained  stays held
    -                without a gap                       none                       not charged

A charge is explained if it names an asset or a job of ours, or if it is that of an upload with an answer. The contract
names no kinds of entries: as long as no charge of an upload of ours was recognised, any entry that isn't about a job of
ours may be one. Entries may be listed late, at the place of their time: so the last reading has to have an entry that
was seen before the upload was sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from crucible_batch.domain.audit import clock_samples
from crucible_batch.domain.audit_claims import JobClaim, UploadClaim, UploadState
from crucible_batch.domain.gateway_types import AssetSnapshot, LedgerEntry
from crucible_batch.domain.ledger_statement import Clocks, Statement
from crucible_batch.domain.upload_audit import UploadMatching, named

LOST_UPLOAD_PATIENCE_S: Final = 30.0
"""How long after the last event of an upload its entry may still be missing: as long as an answer is waited for."""
_UNKNOWN_CHARGE: Final = frozenset({UploadState.LOST, UploadState.ASSUMED})


def patience_ends(claim: UploadClaim) -> float:
    """Return when the patience of an upload of unknown charge is over, in seconds since the epoch."""
    last = max(claim.begun_at, claim.answered_at or 0.0, claim.deleted_at or 0.0)
    return last + LOST_UPLOAD_PATIENCE_S


def uncharged_uploads(
    uploads: Sequence[UploadClaim],
    jobs: Sequence[JobClaim],
    entries: Iterable[LedgerEntry],
    assets: Iterable[AssetSnapshot],
    *,
    covers: Callable[[float], bool],
    first_seen: Mapping[str, float],
    read_at: float,
) -> tuple[UploadClaim, ...]:
    """Return the uploads of unknown charge that were certainly not charged, by the table at the head of this file.

    ``covers`` returns whether readings of the ledger without a gap include all entries since a time of our clock, also
    those that were listed late, and
    ``first_seen`` is when the first reading with an entry was answered, by the entry's key.
    ``read_at`` is when the last of them and the list of assets were asked for, whichever was earlier.
    """
    listed = {text for asset in assets for text in (asset.nonce, asset.asset_id) if text}
    open_claims = [
        claim
        for claim in uploads
        if claim.state in _UNKNOWN_CHARGE
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
    matched = [claim for claim in uploads if named(claim, others) or _is_shown(claim, covers, read_at)]
    matching = UploadMatching(matched, others, clocks, asked_at=read_at)
    unexplained = matching.charges_between if matching.has_charges else matching.entries_between

    def may_be_charged(claim: UploadClaim) -> bool:
        """Whether an entry that was not seen before the upload was sent may be its charge."""
        # Without an entry of a job of ours the gateway's clock is unknown, and no time shows anything.
        found = unexplained(claim.begun_at, read_at) if samples else unexplained(-math.inf, math.inf)
        return any(first_seen.get(entry.key, read_at) > claim.begun_at for entry in found)

    return tuple(claim for claim in open_claims if not named(claim, others) and not may_be_charged(claim))


def _is_shown(claim: UploadClaim, covers: Callable[[float], bool], read_at: float) -> bool:
    """Whether the readings have the charge of an answered upload. If not, another's charge would be taken for it."""
    return claim.state is UploadState.KNOWN and covers(claim.begun_at) and patience_ends(claim) <= read_at
