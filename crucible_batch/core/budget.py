"""Admission: whether a job's credits may be held now. A pure decision, made without waiting.

A price is known only when a submit is answered, so the risk is in the unanswered submits. Each
holds its *bound*, the most that it may cost (``core/prices.py``), until the answer settles the hold
to the price that it names:

    spent + held <= budget        before each hold

A job is held together with the images that it has to upload. If the bound of all of it fits, the
job is admitted. If no bound is known, or the rest of the budget is less than the bound, one job is
submitted *alone* among unanswered submits, holding all of the rest, and only if the expected price
fits: a budget can be spent to its last credit, and exceeded by one price at most. A declared
ceiling is never replaced by an expected price: it is never exceeded.

The answer alone doesn't settle the first job of each shape, nor any job once an answer has been too
low: such a job counts as unanswered, at its bound, until its record was read too or it has ended.

The number of unanswered submits follows a slow start: one at first, then twice as many as were
answered as expected since the last answer above the expected price.

A failed job's credits stay held until its refund is seen (``core/refunds.py``), and a purchase that
doesn't fit beside them waits for the refund. After the loss of a journal, failed jobs are found
again whose refunds may be older than the gateway's list. They don't block the submits that follow,
which find earlier purchases at no cost: as long as nothing new was bought, one submit at a time may
be sent without counting them.

The account's available credits are shared with others and out of date when read, and a replay under
a known key is free. So they limit how many jobs are submitted together, not whether one is: if the
account looks too small, one job without uploads may still be submitted, and the gateway's 402
decides.

    of the budget                                 others       decision
    expected price above the ceiling              -            Block PRICE_ABOVE_CEILING
    as many unanswered as the slow start allows   -            Wait
    one that is alone is unanswered               -            Wait
    uploads, and two of unknown cost              -            Block BUDGET_EXHAUSTED
    bound fits                                    -            ask the account, hold the bound
    expected doesn't fit
      it would without what is uncounted          answered     ask the account, hold the rest, alone
      else                                        active       Wait (a hold may be released)
      it would with what is awaited               none         Wait
      it would with all refunds                   none         Block REFUND_MISSING
      else                                        none         Block BUDGET_EXHAUSTED
    expected fits, bound doesn't or is unknown    unanswered   Wait
      one alone was never answered, is in doubt   active       Wait
      one alone was never answered, is in doubt   none         Block BUDGET_EXHAUSTED
      else                                        -            ask the account, hold the rest, alone

    of the account                                others       decision
    fits, or unknown                              -            Admit
    too small, no uploads                         none         Admit
    too small                                     active       Wait
    too small, with uploads; or after a 402       none         Block INSUFFICIENT_CREDITS

How each event changes the ledger is in ``core/ledger.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crucible_batch.core.account_shortage import (
    INSUFFICIENT_CREDITS,
    account_exhausted,
    purchase_refused,
)
from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import SURGE, UPLOAD, PriceBook, Shape, with_uploads
from crucible_batch.core.refunds import REFUND_MISSING

BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
PRICE_ABOVE_CEILING = "PRICE_ABOVE_CEILING"
PRICE_ROSE = "PRICE_ROSE"
_MOST_UNCOUNTED = 2
"""An image is bought once more after a lost answer.

The costs of further ones would never be counted.
"""
_IF_GONE = " (if a job was changed or removed since then, restore it in the manifest first)"
"""A submit in doubt is sent again only for a job that is still in the plan."""
BLOCKING_CODES = frozenset(
    {BUDGET_EXHAUSTED, INSUFFICIENT_CREDITS, PRICE_ABOVE_CEILING, PRICE_ROSE, REFUND_MISSING}
)
"""The codes of a job that isn't started only because credits are missing."""


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A request to hold the credits of a job and of its ``uploads``.

    These are the images that are neither uploaded nor being uploaded. ``held`` are the credits held
    already for a submit in doubt that is sent again.
    """

    shape: Shape
    uploads: int = 0
    held: Credits = ZERO

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes whose prices the request depends on."""
        if not self.uploads:
            return (self.shape,)
        return self.shape, UPLOAD


@dataclass(frozen=True, slots=True)
class SlowStart:
    """The limit of unanswered submits.

    ``answered`` counts the answers since the last one above the expected price.
    """

    answered: int = 0

    @property
    def limit(self) -> int:
        return max(1, 2 * self.answered)

    def after(self, expected: Credits | None, charged: Credits) -> SlowStart:
        """Return the limit after an answer.

        ``expected`` is the highest price seen before, None if none was.
        """
        if expected is not None and charged > expected:
            return SlowStart()
        return SlowStart(self.answered + 1)


@dataclass(frozen=True, slots=True)
class AdmissionState:
    """The state of the run and the account at the moment of the decision.

    ``unanswered`` counts this run's submits without an answer, uploads before them included,
    ``limit`` is that of ``SlowStart``, ``is_one_alone``: one of them was admitted alone.
    ``alone_in_doubt``: a submit admitted alone, in this run or an earlier one, was never answered
    and isn't being sent now. ``unread`` is the difference between the bounds and the answers of
    accepted jobs whose record isn't read yet. ``account_left`` is the account's available credits
    when last read, less those spent since; None if unknown. ``account_closed`` is true from a 402
    until a refund: no job is submitted, and ``refusal`` is the gateway's message in it. ``awaited``
    are the credits held for refunds that are still waited for, and for uploads that were probably
    not charged. ``uncounted`` are those held for refunds that don't count, as long as the run only
    finds what was bought before.
    """

    others_active: bool
    unanswered: int = 0
    limit: int = 1
    is_one_alone: bool = False
    alone_in_doubt: bool = False
    unread: Credits = ZERO
    account_left: Credits | None = None
    account_closed: bool = False
    refusal: str = ""
    awaited: Credits = ZERO
    uncounted: Credits = ZERO


@dataclass(frozen=True, slots=True)
class Admit:
    """Hold ``credits``. ``alone``: no other submit may be sent until this one is answered."""

    credits: Credits
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after a change."""


@dataclass(frozen=True, slots=True)
class Block:
    """Don't start this job in this run."""

    error: ErrorInfo


Decision = Admit | Wait | Block


def decide_admission(
    request: HoldRequest, ledger: Ledger, budget: Credits | None, state: AdmissionState
) -> Decision:
    """Decide on one request by the tables at the head of this file.

    ``budget`` is None if there is no cap.
    """
    need = Need.of(request, ledger.prices)
    error = price_above_ceiling(request, ledger.prices)
    if error is not None:
        return Block(error)
    if state.unanswered >= state.limit or state.is_one_alone:
        return Wait()
    if budget is None:
        return _ask_account(request, need, Admit(need.expected), state)
    if request.uploads and uploads_are_uncounted(ledger):
        return Block(_uploads_uncounted(ledger))
    left = budget - ledger.committed - state.unread + request.held
    if need.bound is not None and need.bound <= left:
        return _ask_account(request, need, Admit(need.bound), state)
    if not need.fits(left):
        return _beside_refunds(request, ledger, budget, state)
    if state.unanswered:
        return Wait()
    if state.alone_in_doubt and state.others_active:
        return Wait()
    if state.alone_in_doubt:
        return Block(_price_in_doubt(request))
    return _ask_account(request, need, Admit(left, alone=True), state)


def _beside_refunds(
    request: HoldRequest, ledger: Ledger, budget: Credits, state: AdmissionState
) -> Decision:
    """Decide on a request whose expected price doesn't fit into the rest of the budget."""
    need = Need.of(request, ledger.prices)
    left = budget - ledger.committed - state.unread + request.held
    may_be_free = not (request.uploads or state.unanswered or state.alone_in_doubt)
    if state.uncounted and may_be_free and need.fits(left + state.uncounted):
        return _ask_account(request, need, Admit(left + state.uncounted, alone=True), state)
    if state.others_active:
        return Wait()
    if state.awaited and need.fits(left + state.awaited):
        return Wait()
    if ledger.held_for_refunds and need.fits(left + ledger.held_for_refunds):
        return Block(ErrorInfo(REFUND_MISSING, "the refunds of failed jobs are missing"))
    return Block(_budget_exhausted(request, ledger, budget, need))


def _ask_account(request: HoldRequest, need: Need, admit: Admit, state: AdmissionState) -> Decision:
    account = state.account_left
    is_too_small = account is not None and not need.fits_account(account)
    if not state.account_closed and not is_too_small:
        return admit
    if state.others_active:
        return Wait()
    if not state.account_closed and not request.uploads:
        return admit
    if account is None or is_too_small:
        return Block(account_exhausted(account, need.expected, is_open=need.is_open))
    return Block(purchase_refused(account, state.refusal))


def uploads_are_uncounted(ledger: Ledger) -> bool:
    """Whether too many uploads were never answered before any answer had named a price."""
    return ledger.uncounted_uploads >= _MOST_UNCOUNTED


def budget_for(
    ledger: Ledger, jobs: Mapping[Shape, int], uploads: int, *, guess: Credits | None = None
) -> Credits | None:
    """Return the budget that suffices for these jobs and uploads beside the credits spent and held.

    Each counts at its declared ceiling, else at the highest price seen, else at ``guess``. Returns
    None if ``guess`` is None and one has neither.
    """
    total = ledger.committed
    for shape, count in with_uploads(jobs, uploads).items():
        need = Need.of_one(shape, ledger.prices)
        if not need.is_open:
            total += need.least * count
        elif guess is not None:
            total += guess * count
        else:
            return None
    return total


def raised_budget(
    ledger: Ledger, jobs: Mapping[Shape, int], uploads: int, budget: Credits
) -> Credits | None:
    """Return a budget with which these jobs and uploads, or at least the next job, can be bought.

    It is that of ``budget_for`` if all prices are known. Otherwise it is an estimate above
    ``budget``: what has no price counts at the highest price seen of anything; the next job is
    admitted alone, and its answer has the price. Returns None if no budget is enough, since the
    answers to uploads were lost before any named a price.
    """
    if uploads and uploads_are_uncounted(ledger):
        return None
    enough = budget_for(ledger, jobs, uploads)
    if enough is not None:
        return enough
    guess = ledger.prices.highest or max(budget, Credits(1))
    return max(budget_for(ledger, jobs, uploads, guess=guess) or ZERO, budget + guess)


def hold_for_submit(
    prices: PriceBook, shape: Shape, bundle: Credits, *, alone: bool
) -> Credits | None:
    """Return the part of ``bundle`` that stays held for the job alone once its images are paid.

    Returns None if the bundle no longer covers the bound or, for a job admitted alone, the expected
    price: the images cost more than expected, and the job has to be admitted again.
    """
    need = Need.of_one(shape, prices)
    if need.bound is not None and need.bound <= bundle:
        return need.bound
    if alone and need.fits(bundle):
        return bundle
    return None


def hold_is_too_small(
    ledger: Ledger,
    budget: Credits,
    shape: Shape,
    hold: Credits,
    *,
    alone: bool,
    uncounted: Credits = ZERO,
) -> bool:
    """Whether a submit may no longer be sent on the hold taken for it.

    Since then a price was seen that the hold doesn't cover, or charges above their holds have used
    up the budget. ``uncounted`` as in ``AdmissionState``.
    """
    if ledger.committed - uncounted > budget:
        return True
    return not Need.of_one(shape, ledger.prices).is_covered(hold, alone=alone)


def may_resend(
    ledger: Ledger,
    budget: Credits,
    shape: Shape,
    hold: Credits,
    *,
    alone: bool,
    uncounted: Credits = ZERO,
) -> bool:
    """Whether a submit in doubt may still be sent on the hold that ``decide_admission`` granted it.

    It is true right after that decision, even if charges above their holds have used up the budget:
    the hold is at least what the earlier try may have cost, so it may be larger than the request
    needs now.
    """
    left = budget - ledger.committed + uncounted + hold
    return Need.of_one(shape, ledger.prices).is_covered(min(hold, left), alone=alone)


@dataclass(frozen=True, slots=True)
class Need:
    """The credits that a request needs of the budget and of the account.

    ``bound``: the most that it may cost, None if nothing bounds it. ``least``: required of the
    budget, the declared ceiling, else the expected price. ``expected``: required of the account.
    ``is_open``: the price of a part of it is unknown, so it needs more than ``least``.
    """

    bound: Credits | None
    least: Credits
    expected: Credits
    is_open: bool

    @classmethod
    def of(cls, request: HoldRequest, prices: PriceBook) -> Need:
        """Add up the job and its uploads."""
        job = cls.of_one(request.shape, prices)
        if not request.uploads:
            return job
        upload, count = cls.of_one(UPLOAD, prices), request.uploads
        bound = None
        if job.bound is not None and upload.bound is not None:
            bound = job.bound + upload.bound * count
        return cls(
            bound,
            least=job.least + upload.least * count,
            expected=job.expected + upload.expected * count,
            is_open=job.is_open or upload.is_open,
        )

    @classmethod
    def of_one(cls, shape: Shape, prices: PriceBook) -> Need:
        """Return the need of one job without its uploads, or of one upload."""
        ceiling, seen = prices.ceiling_of(shape), prices.expected(shape)
        least, expected = ceiling, seen
        if least is None:
            least = seen
        if expected is None:
            expected = ceiling
        return cls(prices.bound(shape), least or ZERO, expected or ZERO, is_open=least is None)

    def fits(self, left: Credits) -> bool:
        """Whether the rest of the budget covers the ceiling, or else the expected price."""
        return left > self.least or (left == self.least and not self.is_open)

    def fits_account(self, available: Credits) -> bool:
        return available > self.expected or (available == self.expected and not self.is_open)

    def is_covered(self, hold: Credits, *, alone: bool) -> bool:
        """Whether a submit may be sent on a hold of this size."""
        if alone:
            return self.fits(hold)
        return self.bound is not None and self.bound <= hold


def ceiling_error(shape: Shape, charged: Credits, ceiling: Credits) -> ErrorInfo:
    """Return the error for a price above the declared ceiling."""
    key = _ceiling_key(shape)
    what = f"a job on {shape.name}"
    if shape == UPLOAD:
        what = "an upload"
    return ErrorInfo(
        PRICE_ABOVE_CEILING,
        f"{what} costs {format_credits(charged)} credits, above {key} ({format_credits(ceiling)})",
        hint=f"raise budget.{key} if the price is acceptable, and run the same command again",
    )


def repricing_error(
    shape: Shape,
    answered: Credits,
    recorded: Credits,
    prices: PriceBook,
    *,
    seen_before: Credits | None = None,
) -> ErrorInfo | None:
    """Return the error that ends all buying if the price in a job's record exceeds its bound.

    The bound is the declared ceiling, else ``SURGE`` times the highest price seen. ``seen_before``
    is the price that bounded the submit: for a new shape that of its workflow, until an answer
    names one for the shape.
    """
    ceiling = prices.ceiling_of(shape)
    if ceiling is not None and recorded > ceiling:
        return ceiling_error(shape, recorded, ceiling)
    known = max(answered, prices.expected(shape) or ZERO, seen_before or ZERO)
    if ceiling is not None or not known or recorded <= SURGE * known:
        return None
    return ErrorInfo(
        PRICE_ROSE,
        f"a job on {shape.name} costs {format_credits(recorded)} credits by its record, but cost"
        f" {format_credits(answered)} by the answer to its submit",
        hint="compare both with the gateway's ledger (crucible-batch check), "
        "and set budget.max_credits_per_job",
    )


def price_above_ceiling(request: HoldRequest, prices: PriceBook) -> ErrorInfo | None:
    """Return the error if the highest price seen of the job or an upload exceeds its ceiling."""
    for shape in request.shapes:
        ceiling, expected = prices.ceiling_of(shape), prices.expected(shape)
        if ceiling is not None and expected is not None and expected > ceiling:
            return ceiling_error(shape, expected, ceiling)
    return None


def _budget_exhausted(
    request: HoldRequest, ledger: Ledger, budget: Credits, need: Need
) -> ErrorInfo:
    used = f"{format_credits(ledger.committed)} of {format_credits(budget)} credits used"
    if ledger.held:
        used += f" ({format_credits(ledger.held)} of them held)"
    message = f"{used}; the next job {_needed(request, ledger.prices, need)}"
    return ErrorInfo(BUDGET_EXHAUSTED, message, hint=_hint(request, ledger, budget, need))


def _needed(request: HoldRequest, prices: PriceBook, need: Need) -> str:
    least = format_credits(need.least)
    if need.bound == need.least and _ceilings_above_prices(request, prices):
        if not request.uploads:
            return f"may cost up to {least}, its declared ceiling"
        uploads = "upload"
        if request.uploads > 1:
            uploads = "uploads"
        return f"may cost up to {least} with its {uploads}, by the declared ceilings"
    if need.is_open:
        return f"needs more than {least}"
    return f"needs {least}"


def _hint(request: HoldRequest, ledger: Ledger, budget: Credits, need: Need) -> str:
    ceilings = _ceilings_above_prices(request, ledger.prices)
    left = budget - ledger.committed + request.held
    can_lower = bool(ceilings) and Need.of(request, ledger.prices.without_ceilings()).fits(left)
    ways = "or raise the budget"
    if can_lower:
        ways = f"raise the budget, or lower {' or '.join(ceilings)}"
    if ledger.held and need.fits(budget - ledger.spent):
        return f"{_held_for(ledger)}: run the same command again{_IF_GONE}, {ways}{_bound(ledger)}"
    if can_lower:
        return f"{ways}, and run the same command again"
    return "raise the budget and run the same command again; completed jobs are not paid for again"


def _held_for(ledger: Ledger) -> str:
    if ledger.held_for_refunds:
        return "credits are held for unanswered requests and refunds that were not seen"
    return "credits are held for unanswered requests"


def _bound(ledger: Ledger) -> str:
    """Return how to lower what is held for uploads, if that is possible."""
    if not ledger.held_for_uploads or ledger.prices.upload_ceiling is not None:
        return ""
    uploads = format_credits(ledger.held_for_uploads)
    return (
        f"; {uploads} are held for uploads: "
        "set budget.max_credits_per_upload to count each at that price"
    )


def _ceilings_above_prices(request: HoldRequest, prices: PriceBook) -> list[str]:
    """Return the keys of the declared ceilings that decide: those above every price seen."""
    quoted = ((shape, prices.ceiling_of(shape), prices.expected(shape)) for shape in request.shapes)
    return [
        f"budget.{_ceiling_key(shape)}"
        for shape, ceiling, seen in quoted
        if ceiling is not None and (seen is None or seen < ceiling)
    ]


def _ceiling_key(shape: Shape) -> str:
    if shape == UPLOAD:
        return "max_credits_per_upload"
    return "max_credits_per_job"


def _uploads_uncounted(ledger: Ledger) -> ErrorInfo:
    return ErrorInfo(
        BUDGET_EXHAUSTED,
        f"the answers to {ledger.uncounted_uploads} uploads were lost before the price of an "
        "upload was known, so their cost is unknown",
        hint="set budget.max_credits_per_upload, so that each counts at that price, "
        "and run the same command again",
    )


def _price_in_doubt(request: HoldRequest) -> ErrorInfo:
    return ErrorInfo(
        BUDGET_EXHAUSTED,
        f"the price of a job on {request.shape.name} has no upper limit within the budget, "
        "and an earlier submit is still unanswered",
        hint=f"run the same command again{_IF_GONE}, with --resubmit-unknown if it suggests that; "
        "or set budget.max_credits_per_job",
    )
