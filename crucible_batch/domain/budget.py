"""Admission: may this job's credits be held now? Decided at one point in time, without waiting for anything.

A price is known only when a submit is answered, so what is at stake is the submits that are not answered yet. Each
holds its *bound*, the most that it may cost (``domain/prices.py``), until the answer settles the hold to its figure:

    spent + held <= budget        before each hold

A job is held together with the images that it has to upload. Where the bound of all of it fits, the job is admitted.
Where no bound is known, or what is left is less than the bound, one job goes out *alone* among unanswered submits,
holding all that is left, and only if the price that is expected fits: a budget can be spent to its last credit, and
exceeded by one price at most. A declared ceiling is never replaced by an expected price: it is not exceeded at all.

The answer alone doesn't settle the first job of each shape, nor any once an answer has been too low: it counts as
unanswered, and at its bound, until its own record was read too, or until it is over.

How many may be unanswered at once follows a slow start: one at first, then twice as many as were answered as expected
since the last answer above what was expected.

The account is another matter. What it shows as available is old when it is read and shared with others, and a replay
under a known key is free. So it limits how many go out at once, not whether one may: where the account looks too small,
one job without uploads may still go out, and the gateway's own 402 is the answer.

    of the budget                                 others       decision
    expected price above the ceiling              -            Block PRICE_ABOVE_CEILING
    as many unanswered as the slow start allows   -            Wait
    one that is alone is unanswered               -            Wait
    uploads, and of two nobody knows the cost     -            Block BUDGET_EXHAUSTED
    bound fits                                    -            ask the account, hold the bound
    expected doesn't fit                          at work      Wait (a hold may come back)
    expected doesn't fit                          none         Block BUDGET_EXHAUSTED
    expected fits, bound doesn't or is unknown    unanswered   Wait
      one alone was never answered, is in doubt   at work      Wait
      one alone was never answered, is in doubt   none         Block BUDGET_EXHAUSTED
      else                                        -            ask the account, hold all that is left, alone

    of the account                                others       decision
    fits, or unknown                              -            Admit
    too small, no uploads                         none         Admit
    too small                                     at work      Wait
    too small, with uploads; or a 402 came        none         Block INSUFFICIENT_CREDITS

The module decides nothing else about money: what each event does to the books is ``domain/ledger.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from crucible_batch.domain.credits import ZERO, Credits, format_credits
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.prices import SURGE, UPLOAD, PriceBook, Shape

BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
INSUFFICIENT_CREDITS = "INSUFFICIENT_CREDITS"
PRICE_ABOVE_CEILING = "PRICE_ABOVE_CEILING"
PRICE_ROSE = "PRICE_ROSE"
_MOST_UNCOUNTED = 2
"""An image is bought once more after a lost answer. What more of them cost would be added up by nobody."""
_IF_GONE = " (a job that was changed or removed meanwhile has to be in the manifest again)"
"""A submit in doubt is sent again only for a job that is still wanted."""
BLOCKING_CODES = frozenset({BUDGET_EXHAUSTED, INSUFFICIENT_CREDITS, PRICE_ABOVE_CEILING, PRICE_ROSE})
"""Reasons for which a job is blocked: nothing is wrong with it but the credits."""


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """What a job asks to have held: itself and ``uploads`` images that nobody has uploaded or is uploading.

    ``held`` is what is held for it already: a submit in doubt that is to be sent again.
    """

    shape: Shape
    uploads: int = 0
    held: Credits = ZERO


@dataclass(frozen=True, slots=True)
class SlowStart:
    """How many submits may be unanswered at once. ``answered`` counts those as expected since the last surprise."""

    answered: int = 0

    @property
    def limit(self) -> int:
        return max(1, 2 * self.answered)

    def after(self, expected: Credits | None, charged: Credits) -> SlowStart:
        """Return the limit after an answer; ``expected`` is what was known of the price, None where nothing was."""
        surprise = expected is not None and charged > expected
        return SlowStart() if surprise else SlowStart(self.answered + 1)


@dataclass(frozen=True, slots=True)
class AdmissionState:
    """What else there is at the moment of the decision.

    ``unanswered`` counts the submits of this run without an answer, uploads before them included, ``limit`` is what
    ``SlowStart`` allows, ``is_one_alone`` whether one of them was admitted alone. ``alone_in_doubt``: one that an
    earlier run, or this one, admitted alone was never answered and is not on its way now. ``unread`` is what accepted
    jobs were held at beyond their answers, as long as the record that may name more isn't read. ``account_left`` is
    what the account had available when last read, less what was spent since; None if unknown. ``account_closed`` is
    true after a 402, until a refund: then nothing is asked for.
    """

    others_at_work: bool
    unanswered: int = 0
    limit: int = 1
    is_one_alone: bool = False
    alone_in_doubt: bool = False
    unread: Credits = ZERO
    account_left: Credits | None = None
    account_closed: bool = False


@dataclass(frozen=True, slots=True)
class Admit:
    """Hold ``credits``. ``alone``: no other submit may be sent until this one is answered."""

    credits: Credits
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again when something has changed."""


@dataclass(frozen=True, slots=True)
class Block:
    """This job can't be started in this run."""

    error: ErrorInfo


Decision: TypeAlias = Admit | Wait | Block


def decide_admission(
    request: HoldRequest, ledger: Ledger, budget: Credits | None, situation: AdmissionState
) -> Decision:
    """Decide on one request by the tables at the head of this file. ``budget`` None means no cap of ours."""
    need = Need.of(request, ledger.prices)
    for shape in (request.shape, UPLOAD)[: 2 if request.uploads else 1]:
        if (error := _ceiling_exceeded(shape, ledger.prices)) is not None:
            return Block(error)
    if situation.unanswered >= situation.limit or situation.is_one_alone:
        return Wait()
    if budget is None:
        return _ask_account(request, need, Admit(need.expected), situation)
    if request.uploads and uploads_are_uncounted(ledger):
        return Block(_uploads_uncounted(ledger))
    left = budget - ledger.committed - situation.unread + request.held
    if need.bound is not None and need.bound <= left:
        return _ask_account(request, need, Admit(need.bound), situation)
    if not need.fits(left):
        return Wait() if situation.others_at_work else Block(_budget_exhausted(request, ledger, budget, need))
    if situation.unanswered:
        return Wait()
    if situation.alone_in_doubt:
        return Wait() if situation.others_at_work else Block(_price_in_doubt(request))
    return _ask_account(request, need, Admit(left, alone=True), situation)


def _ask_account(request: HoldRequest, need: Need, admit: Admit, situation: AdmissionState) -> Decision:
    account = situation.account_left
    if not situation.account_closed and (account is None or need.fits_account(account)):
        return admit
    if situation.others_at_work:
        return Wait()
    if situation.account_closed or request.uploads:
        return Block(_account_exhausted(account, need))
    return admit


def uploads_are_uncounted(ledger: Ledger) -> bool:
    """Whether too many uploads went unanswered before any answer had named a price: their costs nobody can count."""
    return ledger.uncounted_uploads >= _MOST_UNCOUNTED


def budget_for(ledger: Ledger, jobs: Mapping[Shape, int], uploads: int) -> Credits | None:
    """Return the budget that has room for so many jobs and uploads beside what is spent and held.

    Each counts with its declared ceiling, else with the highest price seen. None where one has neither.
    """
    total = ledger.committed
    for shape, count in {**jobs, **({UPLOAD: uploads} if uploads else {})}.items():
        part = _Part.of(ledger.prices, shape)
        if part.is_open:
            return None
        total += part.least * count
    return total


def hold_for_submit(prices: PriceBook, shape: Shape, bundle: Credits, *, alone: bool) -> Credits | None:
    """Return what of ``bundle`` stays held for the job alone once its images are paid.

    None where the bundle no longer covers the bound, or, for one that is alone, the expected price: the images cost
    more than was known, and the job has to ask again.
    """
    need = Need.of(HoldRequest(shape), prices)
    if need.bound is not None and need.bound <= bundle:
        return need.bound
    return bundle if alone and need.fits(bundle) else None


def hold_is_too_small(ledger: Ledger, budget: Credits, shape: Shape, hold: Credits, *, alone: bool) -> bool:
    """Whether a submit may no longer be sent on the hold that was taken for it.

    Since then a price has been seen at which the hold is not enough, or figures above their holds have used up the
    budget.
    """
    need = Need.of(HoldRequest(shape), ledger.prices)
    enough = need.fits(hold) if alone else need.bound is not None and need.bound <= hold
    return not enough or ledger.committed > budget


@dataclass(frozen=True, slots=True)
class Need:
    """What a request needs of the budget and of the account.

    ``bound``: the most that it may cost, None where nothing bounds it. ``least``: what the budget has to have left,
    which is the ceiling where one is declared, else the expected price. ``expected``: what the account has to have.
    ``is_open``: of a part of it nothing is known at all, so it needs more than ``least``.
    """

    bound: Credits | None
    least: Credits
    expected: Credits
    is_open: bool

    @classmethod
    def of(cls, request: HoldRequest, prices: PriceBook) -> Need:
        """Add up the job and its uploads."""
        job = _Part.of(prices, request.shape)
        if not request.uploads:
            return cls(job.bound, job.least, job.expected, job.is_open)
        upload, count = _Part.of(prices, UPLOAD), request.uploads
        return cls(
            bound=None if job.bound is None or upload.bound is None else job.bound + upload.bound * count,
            least=job.least + upload.least * count,
            expected=job.expected + upload.expected * count,
            is_open=job.is_open or upload.is_open,
        )

    def fits(self, left: Credits) -> bool:
        """Whether the budget has enough left, as far as is expected."""
        return _covers(left, self.least, is_open=self.is_open)

    def fits_account(self, available: Credits) -> bool:
        return _covers(available, self.expected, is_open=self.is_open)


@dataclass(frozen=True, slots=True)
class _Part:
    """``Need`` of one job without its uploads, or of one upload."""

    bound: Credits | None
    least: Credits
    expected: Credits
    is_open: bool

    @classmethod
    def of(cls, prices: PriceBook, shape: Shape) -> _Part:
        ceiling, seen = prices.ceiling_of(shape), prices.expected(shape)
        least = ceiling if ceiling is not None else seen
        expected = seen if seen is not None else ceiling
        return cls(prices.bound(shape), least or ZERO, expected or ZERO, is_open=least is None)


def _covers(available: Credits, amount: Credits, *, is_open: bool) -> bool:
    return available > amount if is_open else available >= amount


def ceiling_error(shape: Shape, charged: Credits, ceiling: Credits) -> ErrorInfo:
    """Return the error for a price above the declared ceiling."""
    what, key = "an upload" if shape == UPLOAD else "a job", _ceiling_key(shape)
    where = "" if shape == UPLOAD else f" on {shape.name}"
    return ErrorInfo(
        PRICE_ABOVE_CEILING,
        f"{what}{where} costs {format_credits(charged)} credits, above {key} {format_credits(ceiling)}",
        hint=f"raise budget.{key} if that is what you want to pay, and run the same command again",
    )


def repricing_error(
    shape: Shape, answered: Credits, recorded: Credits, prices: PriceBook, *, seen_before: Credits | None = None
) -> ErrorInfo | None:
    """Return why nothing more may be bought where a job's record names more than was answered; None where it may.

    The difference has to stay within what bounds a price: the declared ceiling, else ``SURGE`` times the highest seen.
    ``seen_before`` is the price that bounded the submit: for a new shape that of its workflow, until the answer names
    one for the shape.
    """
    ceiling = prices.ceiling_of(shape)
    if ceiling is not None:
        return ceiling_error(shape, recorded, ceiling) if recorded > ceiling else None
    known = max(answered, prices.expected(shape) or ZERO, seen_before or ZERO)
    if not known or recorded <= SURGE * known:
        return None
    return ErrorInfo(
        PRICE_ROSE,
        f"the record of a job on {shape.name} names {format_credits(recorded)} credits, the answer to its submit named"
        f" {format_credits(answered)}",
        hint="compare with the gateway's ledger (crucible-batch audit), and declare budget.max_credits_per_job",
    )


def _ceiling_exceeded(shape: Shape, prices: PriceBook) -> ErrorInfo | None:
    ceiling, expected = prices.ceiling_of(shape), prices.expected(shape)
    if ceiling is None or expected is None or expected <= ceiling:
        return None
    return ceiling_error(shape, expected, ceiling)


def _budget_exhausted(request: HoldRequest, ledger: Ledger, budget: Credits, need: Need) -> ErrorInfo:
    used, cap, least = (format_credits(amount) for amount in (ledger.committed, budget, need.least))
    held = f" ({format_credits(ledger.held)} of them held)" if ledger.held else ""
    ceilings = _ceilings_above_prices(request, ledger.prices)
    needs = f"needs {'more than ' if need.is_open else ''}{least}"
    if ceilings and need.bound == need.least:
        with_uploads = f" with its upload{'s' if request.uploads > 1 else ''}, by the declared ceilings"
        needs = f"may cost up to {least}{with_uploads if request.uploads else ', its declared ceiling'}"
    left = budget - ledger.committed + request.held
    lower = f"lower {' or '.join(ceilings)}"
    can_lower = bool(ceilings) and Need.of(request, ledger.prices.without_ceilings()).fits(left)
    if ledger.held and need.fits(budget - ledger.spent):
        ways = f", raise the budget, or {lower}" if can_lower else ", or raise the budget"
        hint = f"what is held is for answers that never came: run the same command again{_IF_GONE}{ways}"
        if ledger.held_for_uploads and ledger.prices.upload_ceiling is None:
            uploads = format_credits(ledger.held_for_uploads)
            hint += f"; {uploads} are held for uploads: declare budget.max_credits_per_upload to count each at that"
    elif can_lower:
        hint = f"raise the budget, or {lower}, and run the same command again"
    else:
        hint = "raise the budget and run the same command again: what is done is not paid again"
    return ErrorInfo(BUDGET_EXHAUSTED, f"{used} of {cap} credits used{held}; the next job {needs}", hint=hint)


def _ceilings_above_prices(request: HoldRequest, prices: PriceBook) -> list[str]:
    """Return the keys of the declared ceilings that the request is counted at: no price that high was seen."""
    shapes = (request.shape, UPLOAD) if request.uploads else (request.shape,)
    quoted = ((shape, prices.ceiling_of(shape), prices.expected(shape)) for shape in shapes)
    return [
        f"budget.{_ceiling_key(shape)}"
        for shape, ceiling, seen in quoted
        if ceiling is not None and (seen is None or seen < ceiling)
    ]


def _ceiling_key(shape: Shape) -> str:
    return "max_credits_per_upload" if shape == UPLOAD else "max_credits_per_job"


def _uploads_uncounted(ledger: Ledger) -> ErrorInfo:
    return ErrorInfo(
        BUDGET_EXHAUSTED,
        f"the answers to {ledger.uncounted_uploads} uploads were lost before any had named a price: nobody knows what"
        " they cost",
        hint="declare budget.max_credits_per_upload, at which they are counted then, and run the same command again",
    )


def _price_in_doubt(request: HoldRequest) -> ErrorInfo:
    return ErrorInfo(
        BUDGET_EXHAUSTED,
        f"the price of a job on {request.shape.name} has no bound that fits the budget, and one that was sent is still"
        " unanswered",
        hint=f"run the same command again{_IF_GONE}, if need be with --resubmit-unknown; or declare"
        " budget.max_credits_per_job",
    )


def _account_exhausted(account: Credits | None, need: Need) -> ErrorInfo:
    available = "no more" if account is None else format_credits(max(account, ZERO))
    return ErrorInfo(
        INSUFFICIENT_CREDITS,
        f"the account has {available} credits available and the next job needs {format_credits(need.expected)}",
        hint="top the account up and run the same command again: what is done is not paid again",
    )
