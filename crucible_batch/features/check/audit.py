"""The audit: the journal's claims compared with the gateway's ledger and assets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from crucible_batch.core.audit_claims import (
    CreditStatus,
    Figures,
    Finding,
    JobClaim,
    LedgerDifference,
    UploadClaim,
    UploadState,
    Verdict,
    clock_samples,
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
    is_booked_refund,
)
from crucible_batch.features.check.upload_audit import UploadSums, audit_uploads

_WORDS = {EntryKind.RESERVE: "reserved", EntryKind.CONSUME: "charged", EntryKind.REFUND: "refunded"}
_ENDS = {CreditStatus.CHARGED: EntryKind.CONSUME, CreditStatus.REFUNDED: EntryKind.REFUND}


def audit_job(
    claim: JobClaim,
    entries: Sequence[LedgerEntry],
    *,
    surely_shown: bool,
    end_shown: bool,
    asked_at: float,
    is_shared: bool,
) -> Finding:
    """Compare a job's claim with the entries that name it.

    ``surely_shown``: a reservation would be among the entries, ``end_shown``: its end would.
    ``asked_at`` is when the ledger was read, by our clock: later events don't count as differences.
    ``is_shared``: another claim has the same job.
    """
    by_kind: dict[EntryKind, list[LedgerEntry]] = {kind: [] for kind in EntryKind}
    for entry in entries:
        by_kind[_kind_of(entry)].append(entry)
    moving = _is_moving(claim, asked_at)
    differences: list[LedgerDifference] = []
    if entries:
        differences += _differences(
            claim, by_kind, surely_shown=surely_shown, end_shown=end_shown, moving=moving
        )
        is_end_known = claim.status is not CreditStatus.ASSUMED
        if moving:
            verdict = Verdict.MOVING
        elif is_end_known and not end_shown and not _ends_in(by_kind):
            verdict = Verdict.UNSEEN
        else:
            verdict = Verdict.AGREES
    elif claim.price == ZERO:
        verdict = Verdict.AGREES
    elif claim.accepted_at >= asked_at:
        verdict = Verdict.MOVING
    elif surely_shown:
        verdict = Verdict.DIFFERS
        differences.append(LedgerDifference("no entry in the ledger", claim.accepted_at))
    else:
        verdict = Verdict.UNSEEN
    differences += _other_prices(claim)
    if is_shared:
        differences.append(LedgerDifference("the gateway returned the same job for another key"))
    if differences:
        verdict = Verdict.DIFFERS
    return Finding(
        name=claim.name,
        attempt=claim.attempt,
        gateway_id=claim.job_id,
        books=_claimed_figures(claim),
        ledger=_ledger_figures(by_kind),
        verdict=verdict,
        reasons=tuple(each.reason for each in differences),
        assumed=claim.status is CreditStatus.ASSUMED,
        is_recent=may_be_listed_later(differences, asked_at),
    )


def _kind_of(entry: LedgerEntry) -> EntryKind:
    """The kind of an entry about a job; that of a refund only if it has taken effect.

    A run holds a job's credits while its refund is only requested, pending or refused.
    """
    kind = entry_kind(entry, of_job=True)
    if kind is EntryKind.REFUND and not is_booked_refund(entry):
        return EntryKind.OTHER
    return kind


def _is_moving(claim: JobClaim, asked_at: float) -> bool:
    if claim.status is CreditStatus.HELD:
        return True
    if claim.ended_at is not None:
        return claim.ended_at >= asked_at
    return claim.accepted_at >= asked_at


def _differences(
    claim: JobClaim,
    by_kind: Mapping[EntryKind, Sequence[LedgerEntry]],
    *,
    surely_shown: bool,
    end_shown: bool,
    moving: bool,
) -> Iterator[LedgerDifference]:
    for kind, word in _WORDS.items():
        if len(by_kind[kind]) > 1:
            yield LedgerDifference(f"{word} {len(by_kind[kind])} times")
        for size in sorted({entry_amount(entry) for entry in by_kind[kind]} - {claim.price}):
            yield LedgerDifference(
                f"{word} at {format_credits(size)}, not {format_credits(claim.price)}"
            )
    unbooked, unknown = _not_understood(by_kind[EntryKind.OTHER])
    for entry_type in unknown:
        yield LedgerDifference(f"an entry of an unknown type: {entry_type}")
    if surely_shown and not by_kind[EntryKind.RESERVE]:
        yield LedgerDifference("never reserved", claim.accepted_at)
    ends = _ends_in(by_kind)
    if len(ends) > 1:
        yield LedgerDifference("both charged and refunded")
    expected = _ENDS.get(claim.status)
    if moving or expected is None:
        return
    for words in unbooked:
        yield LedgerDifference(f"a refund that has not taken effect: {words}", claim.ended_at)
    if expected in ends:
        return
    if ends:
        yield LedgerDifference(f"not {_WORDS[expected]} but {_WORDS[ends[0]]}")
    elif end_shown:
        yield LedgerDifference(f"not {_WORDS[expected]}", claim.ended_at)


def _not_understood(entries: Sequence[LedgerEntry]) -> tuple[list[str], list[str]]:
    """Return refunds that have not taken effect, by type and status, and types that are unknown."""
    unbooked, unknown = set[str](), set[str]()
    for entry in entries:
        if entry_kind(entry, of_job=True) is EntryKind.REFUND:
            unbooked.add(", ".join(filter(None, (entry.entry_type, entry.status))))
        else:
            unknown.add(entry.entry_type)
    return sorted(unbooked), sorted(unknown)


def _ends_in(by_kind: Mapping[EntryKind, Sequence[LedgerEntry]]) -> list[EntryKind]:
    return [kind for kind in (EntryKind.CONSUME, EntryKind.REFUND) if by_kind[kind]]


def _other_prices(claim: JobClaim) -> Iterator[LedgerDifference]:
    if claim.answered is not None and claim.recorded is not None:
        answered, recorded = format_credits(claim.answered), format_credits(claim.recorded)
        yield LedgerDifference(
            f"its price is {answered} in the answer to its submit, {recorded} in its record"
        )


def _claimed_figures(claim: JobClaim) -> Figures:
    match claim.status:
        case CreditStatus.HELD:
            return Figures(held=claim.price)
        case CreditStatus.REFUNDED:
            return Figures(returned=claim.refunded, held=claim.price - claim.refunded)
        case CreditStatus.CHARGED | CreditStatus.ASSUMED:
            return Figures(charged=claim.price)


def _ledger_figures(by_kind: Mapping[EntryKind, Sequence[LedgerEntry]]) -> Figures:
    reserved, charged, refunded = (_sum(by_kind[kind]) for kind in _WORDS)
    return Figures(charged, refunded, max(ZERO, reserved - charged - refunded))


def _sum(entries: Sequence[LedgerEntry]) -> Credits:
    return sum((entry_amount(entry) for entry in entries), ZERO)


@dataclass(frozen=True, slots=True)
class JournalClaims:
    """All claims of the journal.

    ``runs`` are the start and end of each run, the end None if it hasn't ended. ``unanswered``
    counts submits that were never answered. ``upload_price`` stands for the charge of an upload
    whose answer was lost.
    """

    jobs: Sequence[JobClaim]
    uploads: Sequence[UploadClaim]
    runs: Sequence[tuple[float, float | None]] = ()
    unanswered: int = 0
    upload_price: Credits = ZERO

    def priced_uploads(self) -> list[UploadClaim]:
        """Return the uploads, with the ledger's assumed charge for each whose answer was lost."""
        return [self._priced(claim) for claim in self.uploads]

    def _priced(self, claim: UploadClaim) -> UploadClaim:
        if claim.state is not UploadState.ASSUMED:
            return claim
        return replace(claim, charge=max(self.upload_price, claim.rebate or ZERO))


@dataclass(frozen=True, slots=True)
class Audit:
    """The result: a finding for each job, the sums of the uploads, and the entries without a claim.

    ``oldest`` is the time of the oldest entry that the gateway shows now; ``is_recorded``: entries
    that runs saw before were used as well. ``unmatched`` are the entries that match no claim;
    ``at_our_time`` those of them that were made during our runs at a price of ours. An unnoticed
    second purchase would be among these: it can't be distinguished from another buyer's purchase on
    the same account.
    """

    jobs: tuple[Finding, ...]
    uploads: UploadSums | None
    unmatched: tuple[LedgerEntry, ...]
    at_our_time: tuple[LedgerEntry, ...]
    oldest: float | None
    unanswered: int
    is_recorded: bool = False

    @property
    def differences(self) -> tuple[Finding | UploadSums, ...]:
        return tuple(each for each in self._all() if each.verdict is Verdict.DIFFERS)

    @property
    def checks(self) -> int:
        """How many comparisons there are: one for each job, and one for the uploads."""
        return len(self._all())

    def count(self, verdict: Verdict) -> int:
        return sum(each.verdict is verdict for each in self._all())

    def _all(self) -> tuple[Finding | UploadSums, ...]:
        if self.uploads is None:
            return self.jobs
        return (*self.jobs, self.uploads)


def audit(
    claims: JournalClaims, statement: Statement, present: Collection[str], *, asked_at: float
) -> Audit:
    """Match the claims with the entries. ``present`` are the asset ids that the gateway lists.

    ``asked_at`` is when the gateway was asked, by our clock. The journal may be read later: events
    since then don't count as differences.
    """
    named = [statement.about(claim.job_id) for claim in claims.jobs]
    clocks = Clocks(clock_samples(claims.jobs, named))
    owners = Counter(claim.job_id.lower() for claim in claims.jobs)
    jobs = tuple(
        audit_job(
            claim,
            found,
            surely_shown=claim.bought_here and clocks.surely_shown(statement, claim.held_at),
            # It ended at any time after it was accepted: a run that was killed learned of it much
            # later.
            end_shown=claim.ended_at is None
            or clocks.surely_shown(statement, claim.accepted_at, claim.ended_at),
            is_shared=owners[claim.job_id.lower()] > 1,
            asked_at=asked_at,
        )
        for claim, found in zip(claims.jobs, named, strict=True)
    )
    uploads = audit_uploads(
        claims.priced_uploads(), statement, clocks, present=present, asked_at=asked_at
    )
    ours = {id(entry) for found in named for entry in found}
    if uploads is not None:
        ours.update(map(id, uploads.entries))
    unmatched = tuple(entry for entry in statement.entries if id(entry) not in ours)
    return Audit(
        jobs=jobs,
        uploads=uploads,
        unmatched=unmatched,
        at_our_time=_at_our_time(unmatched, claims, clocks, asked_at),
        oldest=statement.oldest,
        is_recorded=bool(statement.coverages),
        unanswered=claims.unanswered,
    )


def total(findings: Sequence[Finding]) -> tuple[Figures, Figures]:
    """Return the sums of the claimed figures and of the ledger's."""
    return (
        sum((each.books for each in findings), Figures()),
        sum((each.ledger for each in findings), Figures()),
    )


def _at_our_time(
    unmatched: Sequence[LedgerEntry], claims: JournalClaims, clocks: Clocks, asked_at: float
) -> tuple[LedgerEntry, ...]:
    prices = (
        {claim.price for claim in claims.jobs}
        | {claim.charge for claim in claims.uploads}
        | {claims.upload_price}
    )
    runs = [(began, asked_at if ended is None else ended) for began, ended in claims.runs]

    def may_be_ours(entry: LedgerEntry) -> bool:
        if entry_amount(entry) not in prices - {ZERO}:
            return False
        if entry_kind(entry, of_job=entry.job_id is not None) is EntryKind.OTHER:
            return False
        return any(clocks.may_lie_between(entry.at, began, ended) for began, ended in runs)

    return tuple(entry for entry in unmatched if may_be_ours(entry))
