"""What a gateway charges, and how it behaves: a world is its prices, its pace and its faults."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from tests.verification.pricing.book import UPLOADS


@dataclass(frozen=True)
class Ask:
    """One request for something that costs, as a price function sees it."""

    workflow: str
    shape: str
    params: dict[str, object]
    accepted: int  # of its kind (jobs or uploads), before this one
    attempt: int  # how often this key has arrived, from 1
    seconds: float  # since the first request
    random: Random
    bound: Decimal | None  # the least bound that a program may know for it by now; none: no price known, or zero

    @property
    def upload(self) -> bool:
        return self.workflow == UPLOADS


@dataclass(frozen=True)
class Quote:
    """The three figures of one purchase."""

    answer: Decimal
    record: Decimal
    ledger: Decimal


def same(figure: str | float | Decimal) -> Quote:
    """An honest price: all three figures alike."""
    price = Decimal(str(figure))
    return Quote(price, price, price)


def lying(answer: str | int, record: str | int, ledger: str | int) -> Quote:
    return Quote(Decimal(str(answer)), Decimal(str(record)), Decimal(str(ledger)))


Price = Callable[[Ask], Quote]


def fixed(job: str | float, upload: str | float = 0) -> Price:
    return lambda ask: same(upload if ask.upload else job)


def stepped(*steps: tuple[int, str | float]) -> Price:
    """Jobs cost the last price whose count of accepted jobs is reached: (0, 2), (10, 20). Uploads are free."""

    def price(ask: Ask) -> Quote:
        return same(0 if ask.upload else [figure for count, figure in steps if ask.accepted >= count][-1])

    return price


def never(_ask: Ask) -> None:
    return None


@dataclass
class World:
    """A gateway's manners. Faults: 429, 503, cut-before (no effect) and cut-after (charged, and no answer)."""

    price: Price
    rtt: tuple[float, float] = (0.05, 0.1)  # from the arrival of a submit to its answer, seconds
    service: float = 0.2
    runners: int | None = None  # jobs at work at once; none: any number
    fault: Callable[[Ask], str | None] = never
    fails: Callable[[Ask], bool] = lambda _ask: False
    ledger_lag: float = 0.0  # the ledger shows a charge so many seconds after the arrival
    rebate: Decimal = Decimal(0)  # the share of an upload's price that its deletion gives back
    balance: Decimal = Decimal(1_000_000)
    workflows: tuple[str, ...] = ("flat",)
    seed: int = 1
    random: Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
