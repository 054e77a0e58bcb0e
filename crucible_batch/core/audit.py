"""The audit: what our books claim, joined with the gateway's own ledger and its assets. Data in, an ``Audit`` out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from crucible_batch.core.answers import LedgerEntry
from crucible_batch.core.claims import JobClaim, UploadClaim, UploadState
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.finding import Figures, Finding, Verdict
from crucible_batch.core.job_audit import audit_job
from crucible_batch.core.statement import Clocks, Kind, Statement, kind_of, size_of
from crucible_batch.core.upload_audit import audit_uploads


@dataclass(frozen=True, slots=True)
class BooksRead:
    """All that the journal claims.

    ``runs`` are the times between which we were buying; None is a run without an end so far. ``unanswered`` counts
    submits whose fate isn't known. ``upload_price`` stands for the charge of an upload whose answer was lost.
    """

    jobs: Sequence[JobClaim]
    uploads: Sequence[UploadClaim]
    runs: Sequence[tuple[float, float | None]] = ()
    unanswered: int = 0
    upload_price: Credits = ZERO

    def priced_uploads(self) -> list[UploadClaim]:
        """The uploads, each with what the books count for it where its answer was lost."""
        return [
            replace(claim, charge=max(self.upload_price, claim.rebate or ZERO))
            if claim.state is UploadState.ASSUMED
            else claim
            for claim in self.uploads
        ]


@dataclass(frozen=True, slots=True)
class Audit:
    """Books and ledger, side by side.

    ``strangers`` are the entries that are nothing of ours; ``at_our_time`` those of them that fell into our runs and
    equal a price of ours. What we would have bought twice without knowing it would stand there: it can't be told from
    somebody else's purchase on the same account.
    """

    jobs: tuple[Finding, ...]
    uploads: tuple[Finding, ...]
    strangers: tuple[LedgerEntry, ...]
    at_our_time: tuple[LedgerEntry, ...]
    oldest: float | None
    unanswered: int
    never_charged: tuple[UploadClaim, ...]
    perhaps_charged: tuple[UploadClaim, ...]
    perhaps_rebated: tuple[UploadClaim, ...]
    upload_price: Credits

    @property
    def differences(self) -> tuple[Finding, ...]:
        return tuple(each for each in (*self.jobs, *self.uploads) if each.verdict is Verdict.DIFFERS)

    def count(self, verdict: Verdict) -> int:
        """How many jobs and uploads there are of this verdict."""
        return sum(each.verdict is verdict for each in (*self.jobs, *self.uploads))


def audit(books: BooksRead, entries: Sequence[LedgerEntry], present: Collection[str], *, asked_at: float) -> Audit:
    """Join books and ledger. ``present`` are the asset ids that the gateway lists.

    ``asked_at`` is when the gateway was asked, by our clock; the books may be read later, and what they learned since
    then is no difference.
    """
    statement = Statement(entries)
    named = [statement.about(claim.job_id) for claim in books.jobs]
    clocks = Clocks(_seen(books.jobs, named))
    owners = Counter(claim.job_id.lower() for claim in books.jobs)
    jobs = tuple(
        audit_job(
            claim,
            found,
            surely_shown=claim.bought_here and clocks.surely_shown(statement, claim.held_at),
            is_shared=owners[claim.job_id.lower()] > 1,
            asked_at=asked_at,
        )
        for claim, found in zip(books.jobs, named, strict=True)
    )
    uploads = audit_uploads(books.priced_uploads(), statement, clocks, present=present, asked_at=asked_at)
    ours = {id(entry) for found in (*named, uploads.ours) for entry in found}
    strangers = tuple(entry for entry in statement.entries if id(entry) not in ours)
    return Audit(
        jobs=jobs,
        uploads=uploads.findings,
        strangers=strangers,
        at_our_time=_at_our_time(strangers, books, clocks, asked_at),
        oldest=statement.oldest,
        unanswered=books.unanswered,
        never_charged=uploads.never_charged,
        perhaps_charged=uploads.perhaps_charged,
        perhaps_rebated=uploads.perhaps_rebated,
        upload_price=books.upload_price,
    )


def total(findings: Sequence[Finding]) -> tuple[Figures, Figures]:
    """What the books and what the ledger say of all of them together."""
    return (
        sum((each.books for each in findings), Figures()),
        sum((each.ledger for each in findings), Figures()),
    )


def _seen(claims: Sequence[JobClaim], named: Sequence[Sequence[LedgerEntry]]) -> list[tuple[float, float, float]]:
    return [
        (claim.held_at, entry.at, claim.accepted_at)
        for claim, entries in zip(claims, named, strict=True)
        if claim.bought_here
        for entry in entries
        if entry.at is not None and kind_of(entry, of_job=True) is Kind.RESERVE
    ]


def _at_our_time(
    strangers: Sequence[LedgerEntry], books: BooksRead, clocks: Clocks, asked_at: float
) -> tuple[LedgerEntry, ...]:
    prices = {claim.price for claim in books.jobs} | {claim.charge for claim in books.uploads} | {books.upload_price}
    runs = [(began, asked_at if ended is None else ended) for began, ended in books.runs]
    return tuple(
        entry
        for entry in strangers
        if size_of(entry) in prices - {ZERO}
        and kind_of(entry, of_job=entry.job_id is not None) is not Kind.OTHER
        and any(clocks.may_lie_between(entry.at, began, ended) for began, ended in runs)
    )
