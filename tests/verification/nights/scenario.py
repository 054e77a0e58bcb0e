"""A month of nights, invented from a seed: three manifests on one account, and what happens to
them.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

from tests.verification.nights.calendar import BERLIN, at_fixed_time, berlin, each_half_hour

ACCOUNT = "studio"
ATTEMPTS = 2
_HEAD = """\
version: 1
name: {name}
workflow: {workflow}
run_id: "{run_id}"
timezone: Europe/Berlin
schedule: {{cron: "{cron}", catch_up: {catch_up}}}
budget: {{credits: {credits}, per: month, account: {account}{ceiling}}}
retry: {{attempts: {attempts}}}
deadline: 100h
notify:
  - on: [success, partial, blocked, failure]
    webhook: "env:NIGHTS_URL"
    secret: "env:NIGHTS_SECRET"
"""


@dataclass(frozen=True)
class Nightly:
    """A manifest, and what the judge has to know of it: its times and the prompts of one of its
    runs.
    """

    name: str
    workflow: str
    cron: str
    run_id: str
    body: str
    times: Callable[[datetime, datetime], Iterator[datetime]]
    prompts: Callable[[datetime], list[str]]
    name_of_run: Callable[[datetime], str]
    price: Decimal

    def text(self, scenario: Scenario) -> str:
        """Return the manifest as YAML."""
        head = _HEAD.format(
            name=self.name,
            workflow=self.workflow,
            run_id=self.run_id,
            cron=self.cron,
            catch_up=scenario.catch_up,
            credits=scenario.credits,
            account=ACCOUNT,
            ceiling=f", max_credits_per_job: {scenario.ceiling}"
            if scenario.ceiling is not None
            else "",
            attempts=ATTEMPTS,
        )
        return head + self.body


def _date(moment: datetime) -> str:
    return f"{moment.astimezone(BERLIN):%Y-%m-%d}"


def _stamp(moment: datetime) -> str:
    return moment.astimezone(BERLIN).isoformat(timespec="seconds")


PORTRAITS = Nightly(
    name="portraits",
    workflow="zimage-base",
    cron="30 2 * * *",
    run_id="{{ date }}",
    body="""\
params: {size.width: 64, size.height: 64}
jobs:
  - {name: portrait, prompt: "portraits {{ date }} {{ repeat }}", repeat: 3}
""",
    times=partial(at_fixed_time, 2, 30),
    prompts=lambda moment: [f"portraits {_date(moment)} {repeat}" for repeat in (1, 2, 3)],
    name_of_run=_date,
    price=Decimal(2),
)

BANNERS = Nightly(
    name="banners",
    workflow="zimage-base",
    cron="*/30 2 * * *",
    run_id="{{ scheduled_at }}",
    body="""\
params: {size.width: 64, size.height: 64}
matrix: {tone: [calm, bright]}
jobs:
  - {name: banner, prompt: "banners {{ scheduled_at }} {{ tone }}"}
""",
    times=partial(each_half_hour, 2),
    prompts=lambda moment: [f"banners {_stamp(moment)} {tone}" for tone in ("calm", "bright")],
    name_of_run=_stamp,
    price=Decimal(2),
)

SKETCHES = Nightly(
    name="sketches",
    workflow="zimage-sketch",
    cron="0 3 * * *",
    run_id="night-{{ date }}",
    body="""\
matrix: {style: [ink, chalk]}
jobs:
  - {name: "sketch-{{ date }}", prompt: "sketches {{ date }} {{ style }}"}
""",
    times=partial(at_fixed_time, 3, 0),
    prompts=lambda moment: [f"sketches {_date(moment)} {style}" for style in ("ink", "chalk")],
    name_of_run=lambda moment: f"night-{_date(moment)}",
    price=Decimal("0.5"),
)

NIGHTLIES = (BANNERS, PORTRAITS, SKETCHES)


class Mishap(enum.Enum):
    """What happens at a moment. ``amount`` of an event is described with each."""

    HOST_DIES = "the host dies, after so many more requests of its processes, and is back at noon"
    SCHEDULER_STOPS = "the scheduler is stopped"
    SCHEDULER_STARTS = "the scheduler is started"
    ACCOUNT_EMPTY = "another client spends all credits of the account"
    TOP_UP = "somebody buys so many credits"
    FAULTS = "the gateway has the faults of ``text`` from now on"
    PRICE = "a job of the workflow ``text`` costs so many credits from now on"
    RESUME = "an operator runs the same commands again for all nights that are not finished"


@dataclass(frozen=True)
class Event:
    """A mishap, or its end."""

    at: datetime
    mishap: Mishap
    amount: Decimal = Decimal(0)
    text: str = ""


@dataclass(frozen=True)
class Scenario:
    """All that is decided before a play.

    ``credits`` is the month's budget, ``ceiling`` the bound of a job's price.
    """

    seed: int
    begin: datetime
    end: datetime
    credits: Decimal
    ceiling: Decimal | None
    catch_up: int
    balance: Decimal
    wait_for_gateway_s: dict[str, float]
    outages: list[tuple[datetime, datetime]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    slow_queue_s: float = 26 * 3600.0


def around(change: date, seed: int, *, before: int = 15, after: int = 12) -> Scenario:
    """Invent the nights around a clock change: by default the last half of its month, and the begin
    of the next.
    """
    chance = random.Random(f"nights {change} {seed}")
    begin, end = _noon(change - timedelta(before)), _noon(change + timedelta(after))
    nights = [change - timedelta(before - 1 - number) for number in range(before + after)]
    nightly = (
        len(list(each.times(begin, begin + timedelta(1)))) * _cost(each, begin)
        for each in NIGHTLIES
    )
    per_night = sum(nightly, Decimal(0))
    in_first_month = sum(night.month == begin.month for night in nights)
    # Enough for all but some of the last nights of the first month.
    credits = round(per_night * Decimal(in_first_month - chance.choice((3, 5, 7))), 0)
    scenario = Scenario(
        seed=seed,
        begin=begin,
        end=end,
        credits=credits,
        ceiling=chance.choice((Decimal(3), Decimal(3), None)),
        catch_up=chance.choice((3, 4, 6)),
        balance=per_night * 4 * len(nights),
        wait_for_gateway_s={each.name: chance.choice((600.0, 8 * 3600.0)) for each in NIGHTLIES},
    )
    free = [night for night in nights[1:-1] if night != change]
    _add_mishaps(scenario, free, chance)
    scenario.events.sort(key=lambda event: event.at)
    return scenario


def few_nights() -> Scenario:
    """Return four nights for a quick play: clocks skip an hour, the host dies, the budget ends, and
    April begins.
    """
    change = date(2026, 3, 29)
    begin, end = _noon(change - timedelta(1)), _noon(change + timedelta(3))
    return Scenario(
        seed=0,
        begin=begin,
        end=end,
        credits=Decimal(25),
        ceiling=Decimal(3),
        catch_up=2,
        balance=Decimal(200),
        wait_for_gateway_s={each.name: 600.0 for each in NIGHTLIES},
        outages=[(berlin(change + timedelta(1), 2, 15), berlin(change + timedelta(1), 8, 15))],
        events=[
            Event(berlin(change, 1, 50), Mishap.HOST_DIES, Decimal(25)),
            Event(berlin(change, 12), Mishap.SCHEDULER_STARTS),
        ],
    )


def turn_of_the_month() -> Scenario:
    """Return three nights around the end of a month, of which the last of March runs into April,
    which is short too."""
    last = date(2026, 3, 31)
    return Scenario(
        seed=1,
        begin=_noon(last - timedelta(1)),
        end=_noon(last + timedelta(2)),
        credits=Decimal(20),
        ceiling=Decimal(2),
        catch_up=2,
        balance=Decimal(200),
        wait_for_gateway_s={each.name: 600.0 for each in NIGHTLIES},
        events=[
            Event(berlin(last, 0, 30), Mishap.FAULTS, text="generate.slow-queue:1"),
            Event(berlin(last, 12), Mishap.FAULTS),
        ],
    )


def _add_mishaps(scenario: Scenario, free: list[date], chance: random.Random) -> None:
    """Choose nights for the mishaps, so that no two of the long ones coincide.

    ``free`` are consecutive dates.
    """
    add, slots = scenario.events.append, _slots(free, (4, 3, 3, 2, 2, 1, 1), chance)
    stopped, empty, slow, out, dies, failing, dear = slots
    add(Event(berlin(stopped, 0, 5), Mishap.SCHEDULER_STOPS))
    add(Event(berlin(stopped + timedelta(3), 12), Mishap.SCHEDULER_STARTS))
    add(Event(berlin(empty, 0, 30), Mishap.ACCOUNT_EMPTY))
    add(Event(berlin(empty + timedelta(1), 12), Mishap.TOP_UP, scenario.balance))
    add(Event(berlin(empty + timedelta(1), 13), Mishap.RESUME))
    add(Event(berlin(slow, 0, 30), Mishap.FAULTS, text="generate.slow-queue:1"))
    add(Event(berlin(slow, 6), Mishap.SCHEDULER_STOPS))
    add(Event(berlin(slow, 6, chance.randint(1, 59)), Mishap.SCHEDULER_STARTS))
    add(Event(berlin(slow, 12), Mishap.FAULTS))
    scenario.outages.append((berlin(out, 0, 40), berlin(out, 0, 40) + timedelta(hours=6)))
    if chance.random() < 0.5:
        add(Event(berlin(out, 13), Mishap.RESUME))
    add(Event(berlin(dies, 1, 50), Mishap.HOST_DIES, Decimal(chance.randint(1, 30))))
    add(Event(berlin(dies, 12), Mishap.SCHEDULER_STARTS))
    if chance.random() < 0.5:
        add(Event(berlin(dies, 13), Mishap.RESUME))
    add(
        Event(
            berlin(failing, 0, 30),
            Mishap.FAULTS,
            text=chance.choice(("generate.fail:0.4", "generate.fail:1")),
        )
    )
    add(Event(berlin(failing, 12), Mishap.FAULTS))
    add(Event(berlin(dear, 12), Mishap.PRICE, Decimal(3), "zimage-base"))
    add(Event(berlin(dear + timedelta(1), 12), Mishap.PRICE, Decimal("1.5"), "zimage-base"))


def _slots(free: list[date], lengths: tuple[int, ...], chance: random.Random) -> list[date]:
    """Return a first night for each of several mishaps of so many nights, without overlaps."""
    spare = len(free) - sum(lengths)
    order = chance.sample(range(len(lengths)), len(lengths))
    gaps = [0] * (len(lengths) + 1)
    for _ in range(max(0, spare)):
        gaps[chance.randrange(len(gaps))] += 1
    found: dict[int, date] = {}
    at = 0
    for place, which in enumerate(order):
        at += gaps[place]
        found[which] = free[min(at, len(free) - 1)]
        at += lengths[which]
    return [found[which] for which in range(len(lengths))]


def _cost(nightly: Nightly, moment: datetime) -> Decimal:
    return nightly.price * len(nightly.prompts(moment))


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
