"""Compares the sums of our uploads with those of the gateway's ledger.

Only the sums, since by the contract an entry has no asset id.

the ledger has      meaning
less than ours      a difference, if all entries of our uploads would have been seen
more than ours      other runs or users of the account, or an upload that was charged twice
more, and it names  a difference: the entries that name an asset of ours are ours,
our assets          and only these count then
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from crucible_batch.core.audit_claims import (
    Figures,
    LedgerDifference,
    UploadClaim,
    UploadState,
    Verdict,
    may_be_listed_later,
)
from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger_statement import (
    Clocks,
    EntryKind,
    Statement,
    entry_amount,
    entry_kind,
)


@dataclass(frozen=True, slots=True)
class UploadSums:
    """The uploads of a run directory: their sums in the journal (``books``) and in the ledger.

    ``count`` is the number of uploads, ``present`` that of images which the gateway lists, ``gone``
    that of images which it should list and doesn't, ``lost`` that of uploads without an answer.
    ``entries`` are those in ``ledger``. ``is_recent``: the differences are entries that may not be
    listed yet.
    """

    count: int
    books: Figures
    ledger: Figures
    verdict: Verdict
    reasons: tuple[str, ...]
    is_recent: bool
    present: int
    gone: int
    lost: int
    entries: tuple[LedgerEntry, ...]

    @property
    def surplus(self) -> Credits:
        """The credits that the ledger charges beyond ours."""
        return max(ZERO, self.ledger.charged - self.books.charged)


def audit_uploads(
    claims: Sequence[UploadClaim],
    statement: Statement,
    clocks: Clocks,
    *,
    present: Collection[str],
    asked_at: float,
) -> UploadSums | None:
    """Compare the sums of all uploads; return None if there are no uploads.

    ``present`` are the assets that the gateway lists. ``asked_at`` is when the ledger was read, by
    our clock.
    """
    if not claims:
        return None
    asset_ids = [claim.asset_id for claim in claims if claim.asset_id is not None]
    named = {
        entry.key: entry
        for asset_id in asset_ids
        for entry in statement.about(asset_id)
        if entry.job_id is None
    }
    entries = tuple(named.values()) or _entries_of_our_time(claims, statement, clocks)
    ledger = Figures(_sum(entries, EntryKind.UPLOAD), _sum(entries, EntryKind.REBATE))
    books = Figures(
        sum((claim.charge for claim in claims if claim.state is not UploadState.OPEN), ZERO),
        sum((claim.rebate or ZERO for claim in claims), ZERO),
        sum((claim.charge for claim in claims if claim.state is UploadState.OPEN), ZERO),
    )
    settled = [
        claim for claim in claims if _last(claim) < asked_at and claim.state is not UploadState.OPEN
    ]
    shown = [claim for claim in settled if clocks.surely_shown(statement, claim.begun_at)]
    listed = [claim for claim in settled if claim.asset_id in present]
    differences = list(_differences(shown, ledger, books, listed=listed, is_named=bool(named)))
    if differences:
        verdict = Verdict.DIFFERS
    elif len(settled) < len(claims):
        verdict = Verdict.MOVING
    elif all(claim in shown for claim in settled) or not list(_missing(settled, ledger)):
        verdict = Verdict.AGREES
    else:
        verdict = Verdict.UNSEEN
    return UploadSums(
        count=len(claims),
        books=books,
        ledger=ledger,
        verdict=verdict,
        reasons=tuple(each.reason for each in differences),
        is_recent=may_be_listed_later(differences, asked_at),
        present=sum(claim.asset_id in present for claim in claims),
        gone=sum(_is_gone(claim, present) for claim in settled),
        lost=sum(claim.state is UploadState.LOST for claim in claims),
        entries=entries,
    )


def _is_gone(claim: UploadClaim, present: Collection[str]) -> bool:
    if not claim.asset_id or claim.rebate is not None:
        return False
    return claim.asset_id not in present


def _entries_of_our_time(
    claims: Sequence[UploadClaim], statement: Statement, clocks: Clocks
) -> tuple[LedgerEntry, ...]:
    """Return the charges and rebates of uploads that may be ours, by their time."""
    begun, ended = min(claim.begun_at for claim in claims), max(map(_last, claims))
    return tuple(
        entry
        for entry in statement.entries
        if entry.job_id is None
        and entry_kind(entry, of_job=False) in {EntryKind.UPLOAD, EntryKind.REBATE}
        and clocks.may_lie_between(entry.at, begun, ended)
    )


def _differences(
    shown: Sequence[UploadClaim],
    ledger: Figures,
    books: Figures,
    *,
    listed: Sequence[UploadClaim],
    is_named: bool,
) -> Iterator[LedgerDifference]:
    """Yield what differs.

    ``shown`` are uploads whose entries would have been seen, ``listed`` those at the gateway. A
    rebate of 0 is an assumption: the answer to the deletion was lost, or the asset was gone
    already.
    """
    yield from _missing(shown, ledger)
    if is_named and ledger.charged > books.charged + books.held:
        named = format_credits(ledger.charged)
        yield LedgerDifference(
            f"charged {format_credits(books.charged)} in the journal, {named} in the ledger"
        )
    still = sum(bool(claim.rebate) for claim in listed)
    if still:
        yield LedgerDifference(f"{still} deleted, but still listed by the gateway")


def _missing(claims: Sequence[UploadClaim], ledger: Figures) -> Iterator[LedgerDifference]:
    """Yield the differences of a ledger that charged or rebated less than these uploads were."""
    known = [claim for claim in claims if claim.state is UploadState.KNOWN]
    deleted = [claim for claim in claims if claim.rebate]
    charged = sum((claim.charge for claim in known), ZERO)
    rebated = sum((claim.rebate or ZERO for claim in deleted), ZERO)
    for word, ours, theirs, of in (
        ("charged", charged, ledger.charged, known),
        ("rebated", rebated, ledger.returned, deleted),
    ):
        if theirs < ours:
            reason = (
                f"{word} {format_credits(ours)} in the journal,"
                f" {format_credits(theirs)} in the ledger"
            )
            yield LedgerDifference(reason, max(map(_last, of)))


def _last(claim: UploadClaim) -> float:
    """Return when the last event of an upload came, by our clock."""
    return max(claim.begun_at, claim.answered_at or 0.0, claim.deleted_at or 0.0)


def _sum(entries: Sequence[LedgerEntry], kind: EntryKind) -> Credits:
    return sum(
        (entry_amount(entry) for entry in entries if entry_kind(entry, of_job=False) is kind), ZERO
    )
