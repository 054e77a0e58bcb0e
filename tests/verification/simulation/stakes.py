"""The stakes: how much may be gone at most, by the bound that is promised and by nothing else.

What is promised
    A submit, or an upload, that is not answered may cost its *bound*: the ceiling where one is
    declared, else SURGE times the highest price that answers have named for its shape, else for its
    workflow. A price of 0 bounds nothing.
    While each price is within its bound, what is gone never exceeds the budget. Beyond it, it is
    exceeded at most by what the unanswered ones cost beyond their bounds, together.
    One that has no bound is alone among those on their way, and of those that were never answered
    none is without a bound beside it. So is one whose bound no longer fits into what is left: it is
    sent only if the price that is expected, the last that was heard for its shape (0 is one), else
    for its workflow, fits. It may exceed the budget by its own price less what was left. A submit
    in doubt is not on its way.
    Of the jobs on their way there are at most twice as many as purchases were answered since the
    process began; those that an earlier process held are sent at once.
    What a failed job cost is gone until a refund has been seen in the list of the ledger, and then
    less that refund.
    A figure that is not what the ledger takes is believed until the job's record names a higher
    one; what the ledger takes beyond both nobody can know.

How it is read
    From what leaves and what comes back at the port, and from the rows of the world's ledger: no
    sum of our own books is looked at. An answer is *heard* when it is durable; until then it is as
    good as none, since a crash would lose it. What may be gone is decided by the last new submit:
    those unanswered then (*exposed*), each with its bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

ZERO = Decimal(0)
SURGE = 16
UPLOAD = "upload"
"""The workflow, and the shape, of uploads."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Something to buy: its idempotency key (an upload's nonce), its workflow, and its parameters
    in short.
    """

    key: str
    workflow: str
    shape: str


@dataclass(slots=True)
class _Purchase:
    """``hold`` is what it may cost, ``told`` what was heard of its price; None as long as nothing
    was.

    ``fits``: whether what was left when it was sent covered its bound.
    """

    wish: Wish
    hold: Decimal
    bounded: bool
    fits: bool = True
    told: Decimal | None = None
    returned: Decimal = ZERO
    unanswered: bool = True
    on_its_way: bool = False
    was_sent: bool = False
    charge: Decimal = ZERO
    """What the ledger took for it, less what came back."""


@dataclass
class Stakes:
    """Follows one run directory.

    ``complain`` is told of each row that takes more than may be gone.
    """

    ceiling: Decimal | None
    upload_ceiling: Decimal | None
    complain: Callable[[str], None]
    budget: Decimal | None = None
    _cap: Decimal | None = None
    _lives: int = 0
    _answered: int = 0
    """Purchases of which this process has heard a price."""
    _gone: Decimal = ZERO
    _inherited: Decimal = ZERO
    _purchases: dict[str, _Purchase] = field(default_factory=dict)
    _charges: dict[str, Decimal] = field(default_factory=dict)
    _highest: dict[str, Decimal] = field(default_factory=dict)
    _latest: dict[str, Decimal] = field(default_factory=dict)
    _exposed: dict[str, Decimal] = field(default_factory=dict)
    """What the purchases may cost that may cost more than was known at the last new submit."""
    _before: dict[str, _Purchase] = field(default_factory=dict)
    _exposed_before: dict[str, Decimal] = field(default_factory=dict)
    _lost: dict[str, Decimal] = field(default_factory=dict)
    """What a lost directory's purchases had cost by then. What they cost later nobody can know."""

    # -- processes

    def born(self, budget: Decimal | None) -> None:
        """A process begins.

        A budget that was lowered doesn't unmake what was bought under the old one.
        """
        self._lives += 1
        self.budget = budget
        if self._lives == 1:
            self._cap = budget
        else:
            self._cap = None if self._cap is None or budget is None else max(self._cap, budget)

    def past_is_lost(self) -> None:
        """The run directory is gone, or an old copy came back: what is gone is beyond what anybody
        can know.
        """
        self._inherited = self._gone
        self._lost |= {
            key: self._charges.get(key, ZERO) for key in (*self._charges, *self._purchases)
        }
        self._exposed.clear()
        self._purchases.clear()

    def forget(self) -> None:
        """A process begins with what is durable: it is told all of it again, by ``held`` and the
        others, in order.
        """
        self._highest.clear()
        self._latest.clear()
        for purchase in self._purchases.values():
            purchase.told, purchase.unanswered, purchase.on_its_way = None, True, False
            purchase.returned = ZERO
        self._before, self._purchases = self._purchases, {}
        self._exposed_before = self._exposed.copy()

    def told_all(self) -> None:
        """What is not durable was never sent, as far as the process can know."""
        self._answered = 0
        self._exposed |= {
            key: most for key, most in self._exposed_before.items() if key in self._purchases
        }
        self._exposed = {key: most for key, most in self._exposed.items() if key in self._purchases}

    # -- what leaves and what comes back

    def sent(self, wish: Wish) -> bool:
        """A submit leaves; returns whether its key is a new one.

        Under a key that left before it keeps its bound: the first may have been charged. One that a
        dead process only held, together with its images, holds what those have left, as one under a
        new key does.
        """
        before = self._purchases.get(wish.key)
        if before is not None and before.was_sent:
            self._exposed.setdefault(wish.key, before.hold)
            before.unanswered = before.unanswered or before.told is None
            before.on_its_way = before.unanswered
            return False
        self._purchases.pop(wish.key, None)
        beside = [p for p in self._purchases.values() if p.unanswered]
        on_their_way = [p for p in beside if p.on_its_way]
        purchase = self._held(
            wish, alone=not on_their_way and all(p.bounded and p.fits for p in beside)
        )
        is_beside = bool(on_their_way) and not all(p.bounded for p in (*on_their_way, purchase))
        if self.budget is not None and (
            is_beside or not (purchase.bounded or all(p.bounded for p in beside))
        ):
            names = ", ".join(p.wish.workflow for p in beside)
            self.complain(
                f"{wish.workflow} was sent beside {names}, unanswered, and one of them has no bound"
            )
        jobs_beside = sum(p.wish.workflow != UPLOAD for p in on_their_way)
        is_new = before is None and wish.workflow != UPLOAD
        if is_new and self.budget is not None and jobs_beside >= max(1, 2 * self._answered):
            self.complain(
                f"{wish.workflow} was sent beside {jobs_beside} others, "
                f"after {self._answered} answers"
            )
        purchase.on_its_way = purchase.was_sent = True
        self._purchases[wish.key] = purchase
        self._exposed = {
            key: p.hold if p.told is None else p.told for key, p in self._purchases.items()
        }
        return before is None

    def held(self, wish: Wish) -> None:
        """Credits were held for it by an earlier process: it may have been sent, and keeps the
        bound that it had.
        """
        if wish.key not in self._purchases:
            self._purchases[wish.key] = self._before.get(wish.key) or self._held(wish, alone=True)

    def answered(self, key: str) -> None:
        """A definite answer has come. It isn't heard yet."""
        if key in self._purchases:
            self._purchases[key].unanswered = self._purchases[key].on_its_way = False

    def came_to_nothing(self, key: str) -> None:
        """Our books know that no answer came: it keeps its bound, and is no longer on its way."""
        if key in self._purchases:
            self._purchases[key].on_its_way = False

    def heard(self, key: str, price: Decimal) -> None:
        """A price is known to our books, by an answer or a record: the highest counts."""
        if (purchase := self._purchases.get(key)) is None:
            return
        purchase.unanswered = purchase.on_its_way = False
        if purchase.told is None:
            self._answered += 1
        highest = max(price, (purchase.told or ZERO) + purchase.returned)
        purchase.told = highest - purchase.returned
        for name in (purchase.wish.shape, purchase.wish.workflow):
            self._highest[name] = max(price, self._highest.get(name, ZERO))
            self._latest[name] = highest

    def returned(self, key: str, credits: Decimal | None = None) -> None:
        """Our books know that credits came back; None: all of them."""
        purchase = self._purchases.get(key)
        if purchase is not None and purchase.told is not None:
            purchase.told -= purchase.told if credits is None else credits

    def returned_in_all(self, key: str, credits: Decimal) -> None:
        """Our books know that so much of a failed job's price has come back since it failed: at
        most all of it.
        """
        purchase = self._purchases.get(key)
        if purchase is not None and purchase.told is not None:
            price = purchase.told + purchase.returned
            purchase.returned = min(credits, price)
            purchase.told = price - purchase.returned

    def refused(self, key: str) -> None:
        """Our books know that nothing was bought."""
        self._purchases.pop(key, None)
        self._exposed.pop(key, None)

    def given_up(self, key: str) -> None:
        """Our books know that the price of an upload will never be heard: without a bound it can't
        be counted.
        """
        if (purchase := self._purchases.get(key)) is not None:
            purchase.unanswered = False
            purchase.hold = purchase.hold if purchase.bounded else ZERO
            self._exposed[key] = purchase.hold

    # -- the ledger

    def charged(self, key: str, amount: Decimal, row: str) -> None:
        """The ledger took an amount, or gave it back where it is below 0."""
        self._charges[key] = self._charges.get(key, ZERO) + amount
        self._gone += amount
        if self._cap is None or amount < 0:
            return
        most = self._cap + self._inherited + self.allowance
        if self._gone > most:
            self.complain(
                f"{self._gone} were gone after {row} of {amount};"
                f" the budget is {self._cap}, the allowance {self._inherited} + {self.allowance}"
            )

    @property
    def allowance(self) -> Decimal:
        """By how much the budget may be exceeded: what was exposed at the last new submit has cost
        so much more.
        """
        late = (
            self._charges.get(key, ZERO) - gone
            for key, gone in self._lost.items()
            if key not in self._exposed
        )
        return self._beyond(self._exposed) + sum((more for more in late if more > 0), ZERO)

    @property
    def unheard(self) -> Decimal:
        """What nobody could know by now of what is gone.

        Of one whose answer has come and isn't heard yet, the books may hold the bound or the figure
        that it named.
        """
        return self._beyond(
            {
                key: (p.hold if p.unanswered else ZERO) if p.told is None else p.told
                for key, p in self._purchases.items()
            }
        )

    def _beyond(self, known: dict[str, Decimal]) -> Decimal:
        return sum(
            (max(ZERO, self._charges.get(key, ZERO) - most) for key, most in known.items()), ZERO
        )

    def went_alone(self, key: str | None, uploads: Iterable[str] = ()) -> bool:
        """Whether its price was never heard, and what was left didn't cover its bound when it was
        sent.

        Or that of one of its ``uploads``, by their nonces: then it went with all that was left,
        together with them.
        """
        purchase = self._purchases.get(key or "")
        together = (self._purchases.get(nonce) for nonce in uploads)
        fits = all(each is None or each.fits for each in (purchase, *together))
        return purchase is not None and purchase.told is None and not fits

    # -- bounds

    def _held(self, wish: Wish, *, alone: bool) -> _Purchase:
        """What a new submit may cost: its bound; where that doesn't fit, or there is none, all that
        is left.
        """
        bound = self.bound(wish)
        expected = self._latest.get(wish.shape, self._latest.get(wish.workflow, ZERO))
        if (
            self.budget is None
        ):  # then nothing needs to be held, so nothing is expected of the books
            return _Purchase(wish, ZERO, bound is not None)
        left = max(ZERO, self.budget - sum(self._committed(), ZERO))
        fits = bound is not None and bound <= left
        if bound is not None and (fits or not alone or self._ceiling(wish) is not None):
            return _Purchase(wish, bound, bounded=True, fits=fits)
        return _Purchase(wish, max(left, expected), bound is not None, fits)

    def _committed(self) -> Iterable[Decimal]:
        return (p.hold if p.told is None else p.told for p in self._purchases.values())

    def _ceiling(self, wish: Wish) -> Decimal | None:
        return self.upload_ceiling if wish.workflow == UPLOAD else self.ceiling

    def bound(self, wish: Wish) -> Decimal | None:
        """The most that one more may cost; None where nothing bounds it."""
        if (ceiling := self._ceiling(wish)) is not None:
            return ceiling
        return _of(self._highest, wish) * SURGE or None


def _of(prices: dict[str, Decimal], wish: Wish) -> Decimal:
    """The price of a shape, else of its workflow; 0 where there is none."""
    return prices.get(wish.shape) or prices.get(wish.workflow) or ZERO
