"""Whether a job of ours and the ledger agree.

    in our books          in the ledger, each once and at the job's price
    held                  reserve, and perhaps consume or refund: the next look by a run finds it ended
    charged               reserve, consume
    refunded              reserve, refund
    assumed (vanished)    reserve, and perhaps consume or refund: what we only assume can't differ

A reservation may be missing where it may lie before the oldest entry. Anything else is a difference, and so is a job's
own record that names another price than the answer to its submit, whichever of the two the ledger has, and a job id
that the gateway gave for several keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from crucible_batch.core.answers import LedgerEntry
from crucible_batch.core.claims import JobClaim, Standing
from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.finding import Figures, Finding, Verdict
from crucible_batch.core.statement import Kind, kind_of, size_of

_WORDS = {Kind.RESERVE: "reserved", Kind.CONSUME: "charged", Kind.REFUND: "refunded"}
_ENDS = {Standing.CHARGED: Kind.CONSUME, Standing.REFUNDED: Kind.REFUND}


def audit_job(
    claim: JobClaim,
    entries: Sequence[LedgerEntry],
    *,
    surely_shown: bool,
    asked_at: float,
    is_shared: bool = False,
) -> Finding:
    """Hold a job's claim against the entries that name it.

    ``surely_shown``: had it been reserved, the ledger would show that. ``asked_at`` is when the ledger was asked, by
    our clock: what our books learned later says nothing against it. ``is_shared``: another claim has the same job.
    """
    by_kind: dict[Kind, list[LedgerEntry]] = {kind: [] for kind in Kind}
    for entry in entries:
        by_kind[kind_of(entry, of_job=True)].append(entry)
    moving = _is_moving(claim, asked_at)
    reasons: tuple[str, ...] = ()
    if entries:
        reasons = tuple(_problems(claim, by_kind, surely_shown=surely_shown, moving=moving))
        agreed = Verdict.MOVING if moving else Verdict.AGREES
    elif claim.price == ZERO:
        agreed = Verdict.AGREES
    elif claim.accepted_at >= asked_at:
        agreed = Verdict.MOVING
    elif surely_shown:
        agreed, reasons = Verdict.DIFFERS, ("no entry in the ledger",)
    else:
        agreed = Verdict.UNSEEN
    reasons = (*reasons, *_other_prices(claim))
    if is_shared:
        reasons = (*reasons, "the gateway answered another key with the same job")
    return Finding(
        name=claim.name,
        attempt=claim.attempt,
        gateway_id=claim.job_id,
        books=_claimed(claim),
        ledger=_shown(by_kind),
        verdict=Verdict.DIFFERS if reasons else agreed,
        reasons=reasons,
        assumed=claim.standing is Standing.ASSUMED,
    )


def _is_moving(claim: JobClaim, asked_at: float) -> bool:
    learned_at = claim.accepted_at if claim.ended_at is None else claim.ended_at
    return claim.standing is Standing.HELD or learned_at >= asked_at


def _problems(
    claim: JobClaim, by_kind: Mapping[Kind, Sequence[LedgerEntry]], *, surely_shown: bool, moving: bool
) -> Iterator[str]:
    for kind, word in _WORDS.items():
        if len(by_kind[kind]) > 1:
            yield f"{word} {len(by_kind[kind])} times"
        for size in sorted({size_of(entry) for entry in by_kind[kind]} - {claim.price}):
            yield f"{word} at {format_credits(size)}, not {format_credits(claim.price)}"
    for entry_type in sorted({entry.entry_type for entry in by_kind[Kind.OTHER]}):
        yield f"an entry of an unknown type: {entry_type}"
    if surely_shown and not by_kind[Kind.RESERVE]:
        yield "never reserved"
    ends = [kind for kind in (Kind.CONSUME, Kind.REFUND) if by_kind[kind]]
    if len(ends) > 1:
        yield "charged and refunded as well"
    expected = _ENDS.get(claim.standing)
    if expected is not None and not moving and expected not in ends:
        yield f"not {_WORDS[expected]}" + (f" but {_WORDS[ends[0]]}" if ends else "")


def _other_prices(claim: JobClaim) -> Iterator[str]:
    if claim.answered is not None and claim.recorded is not None:
        answered, recorded = format_credits(claim.answered), format_credits(claim.recorded)
        yield f"the answer to its submit named {answered}, the job's own record {recorded}"


def _claimed(claim: JobClaim) -> Figures:
    match claim.standing:
        case Standing.HELD:
            return Figures(held=claim.price)
        case Standing.REFUNDED:
            return Figures(returned=claim.price)
        case Standing.CHARGED | Standing.ASSUMED:
            return Figures(charged=claim.price)


def _shown(by_kind: Mapping[Kind, Sequence[LedgerEntry]]) -> Figures:
    reserved, charged, refunded = (_sum(by_kind[kind]) for kind in _WORDS)
    return Figures(charged, refunded, max(ZERO, reserved - charged - refunded))


def _sum(entries: Sequence[LedgerEntry]) -> Credits:
    return sum((size_of(entry) for entry in entries), ZERO)
