"""The judge of the cap: it reads what a gateway wrote down, and knows the rule from docs of the design alone.

For each arrival it asks whether there was a moment, right before it, at which the rule allowed it: some state of
knowledge not older than LAG in which spent + held + the new bound is within the budget, or in which it was alone among
unanswered submits and the price that is expected fits; and in which no more were unanswered than twice those answered
as expected since the last surprise. Amounts have no allowance.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from tests.verification.pricing.book import UPLOADS, Answer, Arrival, Book, Cut, Ended, Event, Row, Started, plain
from tests.verification.pricing.view import LAG, Unit, View, booked, unanswered

ZERO = Decimal(0)


@dataclass(frozen=True)
class Breach:
    """One thing that the rule does not allow. `kind`: bound, alone, pace, stopped, over, twice."""

    kind: str
    at: float
    text: str

    def __str__(self) -> str:
        return f"{self.at:8.3f}  {self.kind:8}{self.text}"


@dataclass(frozen=True)
class Allowed:
    """Whether a submit is allowed in one view: with what hold, or why not."""

    hold: Decimal = ZERO
    why: str = ""
    kind: str = ""


@dataclass
class Verdict:
    """What came of one gateway's book."""

    breaches: list[Breach] = field(default_factory=list)
    charged: Decimal = ZERO  # at the end
    highest: Decimal = ZERO  # at any row
    over: Decimal = ZERO  # the most by which it was beyond the budget of its time, at any row
    told: Decimal = ZERO  # spent, by the highest figures that the program was sent
    most_unanswered: int = 0
    most_unbounded: int = 0  # unanswered at one moment, without a bound

    def kinds(self) -> set[str]:
        return {breach.kind for breach in self.breaches}

    def figures(self) -> str:
        return (
            f"charged {plain(self.charged)}, over by {plain(self.over)}, most unanswered {self.most_unanswered}, "
            f"most without a bound {self.most_unbounded}, breaches {len(self.breaches)} {sorted(self.kinds())}"
        )


class Judge:
    """Reads the events of a book once, in order."""

    def __init__(self, book: Book) -> None:
        self.events = list(book.events)
        self.zero = self.events[0].at if self.events else 0.0
        self.verdict = Verdict()
        self.run = Started(0, ZERO)
        self.units: dict[str, Unit] = {}
        self.bases: list[View] = [View()]  # all that a program may know of what was sent longer than LAG ago
        self.recent: list[Event] = []  # what was sent since then
        self.living: set[int] = set()  # arrivals of the process that is alive
        self.unbounded: set[str] = set()
        self.said: dict[str, Decimal] = {}  # by unit: the least that an answer has said
        self.total = ZERO
        self.charges: dict[str, Decimal] = {}
        self.wanted: dict[str, str] = {}  # by all that is asked for: the unit that was bought for it

    def judge(self) -> Verdict:
        for event in self.events:
            if isinstance(event, Answer) and event.figure is not None:
                self.said[event.unit] = min(event.figure, self.said.get(event.unit, event.figure))
            match event:
                case Started():
                    self._starts(event)
                case Ended():
                    self._ends(event)
                case Arrival():
                    self._arrives(event)
                case Row():
                    self._charges(event)
                case Cut():
                    self.units[event.unit].cut.add(event.number)
                case Answer() if event.number not in self.living:
                    pass  # nobody was there to hear it
                case _:
                    self._sends(event)
        self.verdict.charged = self.total
        self.verdict.told = sum(list(self._views())[-1].figures.values(), ZERO)
        return self.verdict

    # the program's knowledge

    @property
    def ceilings(self) -> dict[bool, Decimal | None]:
        return {False: self.run.per_job, True: self.run.per_upload}

    def _arrivals(self) -> dict[str, Arrival]:
        return {name: unit.arrival for name, unit in self.units.items()}

    def _starts(self, event: Started) -> None:
        self.run = event
        for view in self.bases:
            view.stop = None

    def _ends(self, event: Ended) -> None:
        """What was sent right before a kill may be noted or not: from here on each prefix of it is possible."""
        self._settle(event.at)
        ends = [view.copy() for view in self._views()] if event.killed else [list(self._views())[-1]]
        self.bases, self.recent = ends, []
        for unit in self.units.values():
            unit.cut |= self.living
        self.living.clear()
        self.unbounded.clear()

    def _sends(self, event: Event) -> None:
        self._settle(event.at)
        self.recent.append(event)
        if isinstance(event, Answer):
            self.unbounded.discard(event.unit)

    def _settle(self, at: float) -> None:
        """What was sent longer than LAG ago is known."""
        arrivals = self._arrivals()
        while self.recent and self.recent[0].at < at - LAG:
            event = self.recent.pop(0)
            for view in self.bases:
                view.learn(event, arrivals, self.ceilings)
        if len(self.bases) > 1:
            self.bases = list({view.digest(): view for view in self.bases}.values())

    def _views(self) -> Iterator[View]:
        """All states of knowledge that are possible now, the oldest first."""
        arrivals = self._arrivals()
        for base in self.bases:
            view = base.copy()
            yield view
            for event in self.recent:
                if view.learn(event, arrivals, self.ceilings):
                    yield view

    # the rule

    def _arrives(self, event: Arrival) -> None:
        self._settle(event.at)
        self.living.add(event.number)
        unit = self.units.setdefault(event.unit, Unit(event, []))
        verdicts = [self._allowed(view, unit) for view in self._views()]
        allowed = [each for each in verdicts if not each.kind]
        unit.numbers.append(event.number)
        if allowed:
            unit.hold = min(each.hold for each in allowed)
        else:
            newest = verdicts[-1]
            unit.hold = newest.hold
            self._breach(newest.kind, event.at, f"{event.unit[:12]} on {event.workflow} [{event.shape}]: {newest.why}")
        self._count(event)

    def _count(self, event: Arrival) -> None:
        newest = list(self._views())[-1]
        waiting = [unit for unit in self.units.values() if unit.on_wire(newest)]
        self.verdict.most_unanswered = max(self.verdict.most_unanswered, len(waiting))
        if self._bound(newest, event) is None:
            self.unbounded.add(event.unit)
        self.verdict.most_unbounded = max(self.verdict.most_unbounded, len(self.unbounded))

    def _bound(self, view: View, arrival: Arrival) -> Decimal | None:
        ceiling = self.ceilings[arrival.workflow == UPLOADS]
        return view.prices.bound(arrival.workflow, arrival.shape) if ceiling is None else ceiling

    def _allowed(self, view: View, unit: Unit) -> Allowed:
        arrival = unit.arrival
        if arrival.unit in view.figures:
            return Allowed(unit.hold)  # asked for again, and free: its figure is booked
        bound = self._bound(view, arrival)
        left = self.run.budget - booked(view, self.units, arrival.unit)
        if unit.numbers and unit.open(view):
            return self._again(view, unit, bound, left)
        if view.stop:
            return Allowed(bound or left, f"bought although {view.stop}", "stopped")
        others = len(list(self._beside(view, arrival)))
        if bound is not None and bound <= left:
            allowed = Allowed(bound)
        else:
            allowed = self._alone(view, arrival, bound, left, others)
        if not allowed.kind and others and others + 1 > max(1, 2 * view.calm):
            why = f"{others} others unanswered, {view.calm} answered as expected since the last surprise"
            return Allowed(allowed.hold, why, "pace")
        return allowed

    def _beside(self, view: View, arrival: Arrival) -> Iterator[Unit]:
        """The others on their way, and those in doubt that nothing bounds. One in doubt with a bound keeps it held."""
        for unit in unanswered(view, self.units, arrival.unit):
            if unit.on_wire(view) or unit.arrival.unit in self.unbounded:
                yield unit

    def _again(self, view: View, unit: Unit, bound: Decimal | None, left: Decimal) -> Allowed:
        """One in doubt is sent again: under its old hold, or a new one, or as the only one on the wire."""
        if bound is not None and bound <= max(unit.hold, left):
            return Allowed(max(bound, unit.hold))
        others = [other for other in self.units.values() if other is not unit and other.on_wire(view)]
        return self._alone(view, unit.arrival, bound, left, len(others))

    def _alone(self, view: View, arrival: Arrival, bound: Decimal | None, left: Decimal, others: int) -> Allowed:
        expected = view.prices.expected(arrival.workflow, arrival.shape)
        words = "has no bound" if bound is None else f"its bound of {plain(bound)} does not fit into {plain(left)}"
        if others:
            return Allowed(left, f"{words}, and {others} others are unanswered", "alone" if bound is None else "bound")
        if left < (expected or ZERO):
            return Allowed(left, f"expected at {expected or ZERO}, and {plain(left)} are left", "bound")
        return Allowed(left)

    # the ledger

    def _charges(self, row: Row) -> None:
        self.total += row.amount
        self.charges[row.unit] = self.charges.get(row.unit, ZERO) + row.amount
        self.verdict.highest = max(self.verdict.highest, self.total)
        over = self.total - self.run.budget
        self.verdict.over = max(self.verdict.over, over)
        if row.amount > 0:
            beyond = sum((self._beyond(unit) for unit in self.units.values()), ZERO)
            if over > beyond:
                text = f"{plain(self.total)} of {plain(self.run.budget)}, of which {plain(beyond)} were above what was"
                self._breach("over", row.at, f"{text} held or declared")
            self._once(row)

    def _beyond(self, unit: Unit) -> Decimal:
        """By how much a unit cost more than its ceiling, its hold where none is declared, or its own answer."""
        cost = self.charges.get(unit.arrival.unit, ZERO)
        ceiling = self.ceilings[unit.arrival.workflow == UPLOADS]
        said = self.said.get(unit.arrival.unit, cost)
        return max(ZERO, cost - (unit.hold if ceiling is None else ceiling), cost - said)

    def _once(self, row: Row) -> None:
        want = self.units[row.unit].arrival.want
        earlier = self.wanted.get(want)
        if want and earlier not in (None, row.unit) and self.charges[earlier] > 0:
            self._breach("twice", row.at, f"{row.unit} buys what {earlier} has bought")
        self.wanted[want] = row.unit

    def _breach(self, kind: str, at: float, text: str) -> None:
        self.verdict.breaches.append(Breach(kind, at - self.zero, text))


def brief(value: object) -> str:
    """Keys are told apart by their first letters."""
    return value[:12] if isinstance(value, str) else str(value)


def judge(book: Book) -> Verdict:
    return Judge(book).judge()


def story(book: Book, *, newest: int = 400) -> str:
    """The book in words, a line an event."""
    zero = book.events[0].at if book.events else 0.0
    total, lines = ZERO, []
    for event in book.events:
        words = " ".join(f"{name}={brief(value)}" for name, value in vars(event).items() if name not in ("at", "want"))
        if isinstance(event, Row):
            total += event.amount
            words += f"   together {plain(total)}"
        lines.append(f"{event.at - zero:8.3f}  {type(event).__name__.lower():9}{words}")
    return "\n".join(lines[-newest:])
