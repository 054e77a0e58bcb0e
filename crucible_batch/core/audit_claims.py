"""The journal's claims (each attempt that became a gateway job, each upload), and an audit's
finding on a claim."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from crucible_batch.core.asset import ASSET_PREFIX
from crucible_batch.core.attempt import Attempt, AttemptStatus
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import (
    Created,
    Deleted,
    Event,
    Found,
    Intended,
    Lost,
    NotCharged,
    NotCreated,
)
from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.ledger_statement import LISTED_AFTER_S, EntryKind, entry_kind


class Verdict(enum.StrEnum):
    """Whether a claim and the gateway's ledger agree.

    ``MOVING``: in flight, or changed during the audit. ``UNSEEN``: an entry of it may have passed
    without being seen.
    """

    AGREES = "agrees"
    MOVING = "moving"
    UNSEEN = "unseen"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Figures:
    """The amounts of a job, or of all uploads.

    ``returned`` are refunds of jobs, or rebates of uploads.
    """

    charged: Credits = ZERO
    returned: Credits = ZERO
    held: Credits = ZERO

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.charged + other.charged, self.returned + other.returned, self.held + other.held
        )


@dataclass(frozen=True, slots=True)
class LedgerDifference:
    """One difference.

    ``missing_at``: when an entry that is missing was made, by our clock; None if none is missing.
    """

    reason: str
    missing_at: float | None = None


def may_be_listed_later(differences: Sequence[LedgerDifference], asked_at: float) -> bool:
    """Whether all differences are entries that are missing, and none of them for longer than
    ``LISTED_AFTER_S``."""
    since = asked_at - LISTED_AFTER_S
    return bool(differences) and all(
        each.missing_at is not None and each.missing_at > since for each in differences
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """One attempt at a job. ``gateway_id`` is the gateway's id of the job.

    ``reasons`` describe the differences. ``is_recent``: they are entries that are missing and may
    not be listed yet, since they were made within ``LISTED_AFTER_S``. ``assumed``: the claim is an
    estimate, so another figure in the ledger doesn't count as a difference.
    """

    name: str
    attempt: int
    gateway_id: str
    books: Figures
    ledger: Figures
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    assumed: bool = False
    is_recent: bool = False


class CreditStatus(enum.StrEnum):
    """The state of a job's credits.

    ``ASSUMED``: the gateway lost the job, and it counts as charged.
    """

    HELD = "held"
    CHARGED = "charged"
    REFUNDED = "refunded"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True)
class JobClaim:
    """One attempt that became a gateway job. Times are our clock's.

    ``bought_here`` is false if the job was found by its key: then it may have been bought before
    ``held_at``. ``answered`` and ``recorded`` are the prices in the submit's answer and in the
    job's record, if they differ. ``refunded`` is what the ledger has shown as refunded of a job
    that failed.
    """

    name: str
    attempt: int
    job_id: str
    price: Credits
    status: CreditStatus
    held_at: float
    accepted_at: float
    ended_at: float | None = None
    bought_here: bool = True
    answered: Credits | None = None
    recorded: Credits | None = None
    refunded: Credits = ZERO


class UploadState(enum.StrEnum):
    """What is known of an upload's charge.

    ``OPEN``: not answered yet. ``KNOWN``: from the answer. ``ASSUMED``: the answer was lost, the
    asset exists. ``LOST``: it isn't known whether the asset exists. ``FOUND``: used, but not bought
    by us.
    """

    OPEN = "open"
    KNOWN = "known"
    ASSUMED = "assumed"
    LOST = "lost"
    FOUND = "found"


@dataclass(frozen=True, slots=True)
class UploadClaim:
    """One upload intent, or an asset that was found.

    ``rebate`` is None unless it was deleted; 0 stands for a lost answer too.
    """

    name: str
    sha256: str
    state: UploadState
    begun_at: float
    answered_at: float | None = None
    nonce: str = ""
    asset_id: str | None = None
    charge: Credits = ZERO
    rebate: Credits | None = None
    deleted_at: float | None = None


_CREDIT_STATUS = {
    AttemptStatus.ACCEPTED: CreditStatus.HELD,
    AttemptStatus.SUCCEEDED: CreditStatus.CHARGED,
    AttemptStatus.FAILED: CreditStatus.REFUNDED,
    AttemptStatus.VANISHED: CreditStatus.ASSUMED,
}


def job_claims(name: str, job: Job) -> Iterator[JobClaim]:
    """Yield a claim for each attempt that became a gateway job."""
    for attempt in job.attempts:
        status = _CREDIT_STATUS.get(attempt.status)
        if attempt.status is AttemptStatus.FAILED and attempt.consumed and not attempt.refunded:
            status = CreditStatus.CHARGED
        if status is not None and attempt.job_id is not None:
            yield _job_claim(name, attempt, attempt.job_id, status)


def _job_claim(name: str, attempt: Attempt, job_id: str, status: CreditStatus) -> JobClaim:
    return JobClaim(
        name=name,
        attempt=attempt.number,
        job_id=job_id,
        price=attempt.credits,
        status=status,
        held_at=attempt.held_at,
        accepted_at=attempt.held_at if attempt.accepted_at is None else attempt.accepted_at,
        ended_at=None if status is CreditStatus.HELD else attempt.ended_at,
        bought_here=not attempt.reused,
        answered=attempt.answered,
        recorded=attempt.recorded,
        refunded=attempt.refunded,
    )


def has_unanswered_submit(job: Job) -> bool:
    """Whether an unanswered submit may have bought this job."""
    is_unknown = any(attempt.status is AttemptStatus.UNKNOWN for attempt in job.attempts)
    return is_unknown or job.phase is Phase.UNREADABLE


def upload_claims(events: Iterable[tuple[str, Event]], names: dict[str, str]) -> list[UploadClaim]:
    """Return a claim for each upload, in the order of their intents.

    ``names`` are file names by digest.
    """
    claims: list[UploadClaim] = []
    newest: dict[str, int] = {}
    free: set[str] = set()
    for subject, event in events:
        if isinstance(event, NotCharged):
            free.add(event.nonce)
        if not subject.startswith(ASSET_PREFIX):
            continue
        sha256 = subject.removeprefix(ASSET_PREFIX)
        begun = _new_claim(names.get(sha256, sha256[:12]), sha256, event)
        place = newest.get(sha256)
        if begun is None:
            if place is not None:
                claims[place] = _updated_claim(claims[place], event)
        elif (
            place is None
            or claims[place].asset_id is None
            or claims[place].asset_id != begun.asset_id
        ):
            newest[sha256] = len(claims)
            claims.append(begun)
    claims = [claim for claim in claims if not claim.nonce or claim.nonce not in free]
    return [
        claim
        for claim in claims
        if claim.answered_at is None or claim.asset_id or claim.state is UploadState.LOST
    ]


def _new_claim(name: str, sha256: str, event: Event) -> UploadClaim | None:
    match event:
        case Intended(at=at, nonce=nonce, credits=credits):
            return UploadClaim(name, sha256, UploadState.OPEN, at, nonce=nonce, charge=credits)
        case Found(at=at, asset_id=asset_id):
            return UploadClaim(
                name, sha256, UploadState.FOUND, at, answered_at=at, asset_id=asset_id
            )
        case _:
            return None


def _updated_claim(claim: UploadClaim, event: Event) -> UploadClaim:
    match event:
        case Created(at=at, asset_id=asset_id, credits=credits, assumed=assumed):
            state = UploadState.ASSUMED if assumed else UploadState.KNOWN
            return replace(claim, state=state, asset_id=asset_id, charge=credits, answered_at=at)
        case NotCreated(at=at) if claim.state is UploadState.OPEN:
            # Answered without an asset: dropped at the end. An upload that failed before its intent
            # has no claim.
            return replace(claim, answered_at=at)
        case Lost(at=at):
            return replace(claim, state=UploadState.LOST, charge=ZERO, answered_at=at)
        case Deleted(at=at, rebate=rebate):
            return replace(claim, rebate=rebate, deleted_at=at)
        case _:
            return claim


def clock_samples(
    claims: Sequence[JobClaim], named: Sequence[Sequence[LedgerEntry]]
) -> list[tuple[float, float, float]]:
    """Return what ``Clocks`` is made of, by the entries that name each claim's job."""
    return [
        (claim.held_at, entry.at, claim.accepted_at)
        for claim, entries in zip(claims, named, strict=True)
        if claim.bought_here
        for entry in entries
        if entry.at is not None and entry_kind(entry, of_job=True) is EntryKind.RESERVE
    ]
