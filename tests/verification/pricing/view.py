"""What a program can know: the answers that it has received, and what the rule of the cap makes of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from tests.verification.pricing.book import UPLOADS, Answer, Arrival, Event, Listed, Record, Returned

SURGE = 16

# How old the knowledge may be on which a submit was decided: seconds between the program's decision and the arrival
# here. In between it syncs its journal and crosses a machine that others use too. It is an uncertainty of time alone:
# whatever of it is used, the whole rule has to hold for what was known at that one moment.
LAG = 2.0

# Refusals before the gateway has looked at the key: a submit that was in doubt is so still.
NOT_HEARD = (429, 500, 502, 503, 504)


@dataclass
class Prices:
    """The highest figures seen, by shape and by workflow."""

    shapes: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    workflows: dict[str, Decimal] = field(default_factory=dict)

    def see(self, workflow: str, shape: str, figure: Decimal) -> None:
        self.shapes[workflow, shape] = max(figure, self.shapes.get((workflow, shape), figure))
        self.workflows[workflow] = max(figure, self.workflows.get(workflow, figure))

    def expected(self, workflow: str, shape: str) -> Decimal | None:
        return self.shapes.get((workflow, shape), self.workflows.get(workflow))

    def bound(self, workflow: str, shape: str) -> Decimal | None:
        """SURGE times the highest seen; unknown, or nothing but zeros so far: none."""
        expected = self.expected(workflow, shape)
        return SURGE * expected if expected else None

    def copy(self) -> "Prices":
        return Prices(dict(self.shapes), dict(self.workflows))


@dataclass
class View:
    """The state of the books of a program that was sent these answers and no later ones."""

    prices: Prices = field(default_factory=Prices)
    figures: dict[str, Decimal] = field(default_factory=dict)  # by unit: what an answered one is booked at
    answers: dict[str, Decimal] = field(default_factory=dict)  # by unit: what its first answer said
    resolved: set[int] = field(default_factory=set)  # arrivals that were answered, refusals included
    refused: dict[str, int] = field(default_factory=dict)  # by unit: no arrival up to this number was charged
    listed: set[str] = field(default_factory=set)  # uploads that a list has shown
    calm: int = 0  # answered as expected since the last surprise
    stop: str | None = None  # why nothing new may be bought

    def copy(self) -> "View":
        return View(
            self.prices.copy(),
            dict(self.figures),
            dict(self.answers),
            set(self.resolved),
            dict(self.refused),
            set(self.listed),
            self.calm,
            self.stop,
        )

    def digest(self) -> tuple[object, ...]:
        """The same for two views that know the same."""
        known = frozenset(self.figures.items()), frozenset(self.prices.shapes.items()), frozenset(self.resolved)
        return *known, frozenset(self.listed), self.calm, self.stop

    def learn(self, event: Event, arrivals: dict[str, Arrival], ceilings: dict[bool, Decimal | None]) -> bool:
        """Take in what was sent to the program; whether that was anything new."""
        match event:
            case Answer():
                return self._answered(event, arrivals[event.unit], ceilings)
            case Record():
                return self._looked(event, arrivals[event.unit], ceilings)
            case Listed():
                new = event.units - self.listed
                self.listed |= new
                return bool(new)
            case Returned():
                self.figures[event.unit] = event.charged - event.rebate
                return True
            case _:
                return False

    def _answered(self, event: Answer, arrival: Arrival, ceilings: dict[bool, Decimal | None]) -> bool:
        self.resolved.add(event.number)
        if event.figure is None and event.status not in NOT_HEARD:
            self.refused[event.unit] = event.number
        if event.figure is None or event.unit in self.figures:
            return True
        expected = self.prices.expected(arrival.workflow, arrival.shape)
        surprise = expected is not None and event.figure > expected
        self.calm = 0 if surprise else self.calm + 1
        self.answers[event.unit] = event.figure
        self.figures[event.unit] = Decimal(0) if event.failed else event.figure
        self.prices.see(arrival.workflow, arrival.shape, event.figure)
        ceiling = ceilings[arrival.workflow == UPLOADS]
        if ceiling is not None and event.figure > ceiling:
            self.stop = f"an answer said {event.figure}, which is above the ceiling of {ceiling}"
        return True

    def _looked(self, event: Record, arrival: Arrival, ceilings: dict[bool, Decimal | None]) -> bool:
        before = self.figures.get(event.unit)
        figure = Decimal(0) if event.failed else max(event.figure, self.answers.get(event.unit, Decimal(0)))
        if before == figure:
            return False
        self.figures[event.unit] = figure
        self.prices.see(arrival.workflow, arrival.shape, event.figure)
        answered = self.answers.setdefault(event.unit, event.figure)
        ceiling = ceilings[False]
        allowed = SURGE * answered if ceiling is None else ceiling
        if event.figure > answered and event.figure > allowed:
            self.stop = f"a record said {event.figure}, more than the {allowed} that are allowed"
        return True


@dataclass
class Unit:
    """One key, or one upload: its arrivals until now, and what it holds as long as no answer has come."""

    arrival: Arrival
    numbers: list[int]
    hold: Decimal = Decimal(0)
    cut: set[int] = field(default_factory=set)  # arrivals whose connection is known to be gone

    def open(self, view: View) -> bool:
        return self.arrival.unit not in view.figures and any(self._waits(number, view) for number in self.numbers)

    def _waits(self, number: int, view: View) -> bool:
        return number not in view.resolved and number > view.refused.get(self.arrival.unit, 0)

    def on_wire(self, view: View) -> bool:
        """Sent and not answered, with the connection still there; an upload that a list has shown is answered."""
        return self.open(view) and any(self._waits(n, view) and n not in self.cut for n in self.numbers)


def booked(view: View, units: dict[str, Unit], but: str) -> Decimal:
    """Spent and held in this view, without that one unit."""
    return sum((committed(view, unit) for name, unit in units.items() if name != but), Decimal(0))


def committed(view: View, unit: Unit) -> Decimal:
    """What one unit takes of the budget: its figure where it is known, its hold where it is not answered."""
    figure = view.figures.get(unit.arrival.unit)
    if figure is not None:
        return figure
    return unit.hold if unit.open(view) else Decimal(0)


def unanswered(view: View, units: dict[str, Unit], but: str) -> Iterator[Unit]:
    for name, unit in units.items():
        if name != but and unit.open(view) and name not in view.listed:
            yield unit
