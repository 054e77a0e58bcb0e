"""Admission: may this job's credits be held now? Decided at one point in time, without waiting for anything.

The rule of the house: nothing is started that could exceed the budget at the highest price known,

    spent + held + next <= budget        before each hold

and ``next`` of a class whose price this run hasn't seen is not guessed but found: one job alone (a canary) holds the
manifest's ceiling or else all that is left, and the others of its class wait for its answer. Where an earlier run saw a
price, the canary goes out as long as that one fits: what a budget was made for can be finished with it.

The account is another matter. What it shows as available is old when we read it and shared with others, and asking
under a key that the gateway knows is free. So it limits how many go out at once, not whether one may: where the account
looks too small, one job without uploads may still go out alone, and the gateway's own 402 is the answer.

    budget                     account                    others at work    decision
    fits                       fits, or unknown           -                 Admit
    fits                       too small, no uploads      no                Admit (one alone)
    fits                       too small                  yes               Wait
    fits                       too small, with uploads    no                Block INSUFFICIENT_CREDITS
    doesn't fit                -                          yes               Wait (a hold may come back)
    doesn't fit                -                          no                Block BUDGET_EXHAUSTED
    price above the ceiling    -                          -                 Block PRICE_ABOVE_CEILING
    class has its canary out   -                          -                 Wait
    fits, no price, one out    -                          yes               Wait
    fits, no price, one out    -                          no                Block BUDGET_EXHAUSTED

The last two are of a class whose price nobody knows, while a submit of it, of this run or an earlier one, was never
answered: that one may have cost more than is held for it. A refund that came in between is not for a second such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from crucible_batch.core.answers import ErrorInfo
from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import UPLOAD_CLASS, PriceBook

BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
INSUFFICIENT_CREDITS = "INSUFFICIENT_CREDITS"
PRICE_ABOVE_CEILING = "PRICE_ABOVE_CEILING"
PRICE_ROSE = "PRICE_ROSE"
BLOCKING_CODES = frozenset({BUDGET_EXHAUSTED, INSUFFICIENT_CREDITS, PRICE_ABOVE_CEILING})
"""Reasons for which a job is blocked: nothing is wrong with it but the credits."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a job asks to have held: itself and ``uploads`` images that nobody has uploaded or is uploading."""

    price_class: str
    uploads: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """What is going on: whether other jobs are at work, which classes have a canary out, what the account has left.

    ``account_left`` is what the account had available when last read, less what has been held since; None if unknown.
    ``account_closed`` is true after a 402, until a refund: then nothing is asked for.
    """

    others_at_work: bool
    canaries: frozenset[str] = frozenset()
    account_left: Credits | None = None
    account_closed: bool = False


@dataclass(frozen=True, slots=True)
class Admit:
    """Hold ``credits``. ``canary_for`` are the classes whose price this job finds out."""

    credits: Credits
    canary_for: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again when something has changed."""


@dataclass(frozen=True, slots=True)
class Block:
    """This job can't be started in this run."""

    error: ErrorInfo


Decision: TypeAlias = Admit | Wait | Block


def decide(request: Request, ledger: Ledger, budget: Credits | None, situation: Situation) -> Decision:
    """Decide on one request by the table at the head of this file. ``budget`` None means no cap of ours."""
    need = _Need.of(request, ledger)
    ceiling = ledger.prices.ceiling
    if ceiling is not None and need.job_at_least > ceiling:
        return Block(_above_ceiling(request, need.job_at_least, ceiling))
    if need.unknown & situation.canaries:
        return Wait()
    left = None if budget is None else budget - ledger.committed
    if left is not None and not need.fits(left):
        return Wait() if situation.others_at_work else Block(_budget_exhausted(ledger, budget, need))
    if left is not None and need.is_unpriced and ledger.holds_for(request.price_class):
        return Wait() if situation.others_at_work else Block(_price_in_doubt(request))
    return _ask_account(request, need, left, situation)


def _ask_account(request: Request, need: _Need, left: Credits | None, situation: Situation) -> Decision:
    account = situation.account_left
    short = situation.account_closed or (account is not None and not need.fits(account))
    if not short:
        return Admit(need.hold(left, account), need.unknown)
    if situation.others_at_work:
        return Wait()
    if situation.account_closed or request.uploads:
        return Block(_account_exhausted(account, need))
    return Admit(need.hold(left, None), need.unknown)


def job_need(ledger: Ledger, price_class: str, bundle: Credits) -> Credits | None:
    """What of ``bundle`` stays held for the job alone once its images are paid; None if it is no longer enough."""
    need = _Need.of(Request(price_class), ledger)
    return need.hold(bundle, None) if need.fits(bundle) else None


def outgrown(ledger: Ledger, price_class: str, hold: Credits) -> Credits | None:
    """Return the price that this run has seen since a hold was taken, where it is above the hold; else None."""
    known = ledger.prices.known(price_class)
    return known if known is not None and known > hold else None


@dataclass(frozen=True, slots=True)
class _Need:
    """What a request needs: at least ``at_least``, and more than that where ``strict``.

    ``at_most`` is what can be charged at the most as far as anybody knows, None where nobody does. It is above
    ``at_least`` where an earlier run's price is all that was seen and a ceiling bounds how far it may have risen: so
    much is held if there is so much, but a budget that holds out at the price seen is not refused for it.
    ``unknown`` are the classes whose price this run hasn't seen. ``is_unpriced``: of the job itself nobody knows any.
    """

    at_least: Credits
    at_most: Credits | None
    job_at_least: Credits
    unknown: frozenset[str]
    strict: bool
    is_unpriced: bool

    @classmethod
    def of(cls, request: Request, ledger: Ledger) -> _Need:
        prices = ledger.prices
        job_low, job_high = _bounds(prices, request.price_class)
        upload_low, upload_high = _bounds(prices, UPLOAD_CLASS) if request.uploads else (ZERO, ZERO)
        classes = [request.price_class] + ([UPLOAD_CLASS] if request.uploads else [])
        return cls(
            at_least=(job_low or ZERO) + (upload_low or ZERO) * request.uploads,
            at_most=None if job_high is None or upload_high is None else job_high + upload_high * request.uploads,
            job_at_least=prices.lower_bound(request.price_class) or ZERO,
            unknown=frozenset(name for name in classes if prices.known(name) is None),
            strict=job_low is None or upload_low is None,
            is_unpriced=job_low is None,
        )

    def fits(self, left: Credits) -> bool:
        return left > self.at_least if self.strict else left >= self.at_least

    def hold(self, left: Credits | None, account: Credits | None) -> Credits:
        """What to hold: the most that can be charged, or all that is left of the budget if that is less.

        What the account has limits it only where nothing else does: a job in doubt may be charged when it has more.
        """
        limits = [limit for limit in (left, self.at_most) if limit is not None] or [account or ZERO]
        return max(self.at_least, min(limits))


def _bounds(prices: PriceBook, price_class: str) -> tuple[Credits | None, Credits | None]:
    """The least and the most that one of a class will cost; None where nobody knows.

    this run    earlier runs    ceiling    least      most
    p           -               -          p          p
    -           p               c >= p     p          c
    -           p               c < p      p          p        (blocked: above the ceiling)
    -           p               -          p          ?
    -           -               c          c          c
    -           -               -          ?          ?
    """
    known, seen, ceiling = prices.known(price_class), prices.lower_bound(price_class), prices.ceiling_of(price_class)
    if known is not None:
        return known, known
    if ceiling is None:
        return seen, None
    return (ceiling, ceiling) if seen is None else (seen, max(seen, ceiling))


def _above_ceiling(request: Request, price: Credits, ceiling: Credits) -> ErrorInfo:
    workflow = request.price_class.partition(":")[2]
    return ErrorInfo(
        PRICE_ABOVE_CEILING,
        f"a job on {workflow} costs {format_credits(price)} credits,"
        f" above max_credits_per_job {format_credits(ceiling)}",
        hint="raise budget.max_credits_per_job if that is what you want to pay, and run the same command again",
    )


def _budget_exhausted(ledger: Ledger, budget: Credits | None, need: _Need) -> ErrorInfo:
    cap = format_credits(budget or ZERO)
    more = "more than " if need.strict else ""
    return ErrorInfo(
        BUDGET_EXHAUSTED,
        f"the next job needs {more}{format_credits(need.at_least)} credits; of the budget of {cap},"
        f" {format_credits(ledger.spent)} are spent and {format_credits(ledger.held)} held",
        hint="raise the budget and run the same command again: what is done is not paid again"
        if not ledger.held
        else "what is held is for answers that never came: run the same command again, or raise the budget",
    )


def _price_in_doubt(request: Request) -> ErrorInfo:
    workflow = request.price_class.partition(":")[2]
    return ErrorInfo(
        BUDGET_EXHAUSTED,
        f"nobody knows what a job on {workflow} costs, and one that was sent is still without an answer",
        hint="run the same command again, if need be with --resubmit-unknown; or bound the price with"
        " budget.max_credits_per_job",
    )


def _account_exhausted(account: Credits | None, need: _Need) -> ErrorInfo:
    available = "no more" if account is None else format_credits(max(account, ZERO))
    return ErrorInfo(
        INSUFFICIENT_CREDITS,
        f"the account has {available} credits available and the next job needs {format_credits(need.at_least)}",
        hint="top the account up and run the same command again: what is done is not paid again",
    )
