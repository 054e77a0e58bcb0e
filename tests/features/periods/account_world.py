"""Several runs on one account in virtual time: a small engine for each, the real rule and file, and
a judge.

The judge knows only the gateway's rows. For each period by the gateway's clock, the charges less
the refunds of these same charges must stay within the limit at every row. A refund of an earlier
period's charge is no credit in a later one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

from crucible_batch.core.allowance import Share
from crucible_batch.core.budget_period import Calendar
from crucible_batch.core.charge_times import CLOCK_TOLERANCE_S, DatedLedger
from crucible_batch.core.events import (
    Accepted,
    BecameReady,
    Created,
    Deleted,
    Event,
    Failed,
    Held,
    HoldReleased,
    Intended,
    Lost,
    SubmitUnknown,
    Succeeded,
    Uploaded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import PriceBook
from crucible_batch.features.periods.account import BudgetAccount
from crucible_batch.features.periods.records import AccountTerms, AllowanceRequest, RunUsage

BEGUN = 1_793_000_000.0
CALENDAR = Calendar("day", ZoneInfo("UTC"))
TERMS = AccountTerms("studio", "http://gateway", "day", "UTC")
CEILING = Decimal(5)
UPLOAD = Decimal(2)
ERROR = ErrorInfo("X", "x")


@dataclass
class Row:
    """A row of the gateway's ledger: a charge, or the refund of one."""

    at: float
    credits: Decimal
    charge: str


@dataclass
class Gateway:
    """Charges and refunds with the gateway's own clock, which is ``skew`` seconds ahead of ours."""

    skew: float = 0.0
    rows: list[Row] = field(default_factory=list)
    known: dict[str, Decimal] = field(default_factory=dict)
    """The price of each charge by its key: the same key is charged once."""

    def charge(self, key: str, credits: Decimal, now: float) -> Decimal:
        if key not in self.known:
            self.known[key] = credits
            self.rows.append(Row(now + self.skew, credits, key))
        return self.known[key]

    def refund(self, key: str, now: float, credits: Decimal | None = None) -> None:
        self.rows.append(
            Row(now + self.skew, -(self.known[key] if credits is None else credits), key)
        )

    def worst(self) -> Mapping[str, Decimal]:
        """Return the highest sum that each period had at any row."""
        charged_in: dict[str, str] = {}
        sums: dict[str, Decimal] = {}
        worst: dict[str, Decimal] = {}
        for row in self.rows:
            period = CALENDAR.at(row.at).first
            if charged_in.setdefault(row.charge, period) != period:
                continue  # no credit for this period
            sums[period] = sums.get(period, Decimal(0)) + row.credits
            worst[period] = max(worst.get(period, Decimal(0)), sums[period])
        return worst


@dataclass
class Run:
    """A run directory: its journal, and the process that runs in it, if any."""

    name: str
    events: list[tuple[str, Event]] = field(default_factory=list)
    budget: Decimal | None = None
    since: float = 0.0
    sent: dict[str, str] = field(default_factory=dict)
    """Submits without an answer, by job, with their keys."""
    flying: dict[str, str] = field(default_factory=dict)
    uploading: set[str] = field(default_factory=set)
    created: set[str] = field(default_factory=set)
    allowance: Decimal | None = None
    """Of a shard: the part of its main run's credits that it may spend. Its process may be killed,
    and run again.
    """
    is_divided: bool = False
    """Shards have the credits, so that this run neither buys nor is settled."""

    @property
    def ledger(self) -> Ledger:
        found = Ledger(prices())
        for subject, event in self.events:
            found.apply(subject, event)
        return found


def shards_of(run: str) -> tuple[str, str]:
    return f"{run}/1", f"{run}/2"


def prices() -> PriceBook:
    return PriceBook(CEILING, UPLOAD)


class AccountWorld:
    """What can happen, one step at a time.

    Every step is complete, and a kill may come between any two.
    """

    def __init__(self, directory: Path, *, skew: float = 0.0, runs: int = 3) -> None:
        self.now = BEGUN
        self.gateway = Gateway(skew)
        self.directory = directory
        self.account = BudgetAccount.create(directory, TERMS)
        self.runs = {f"run{number}": Run(f"run{number}") for number in range(runs)}
        for main in list(self.runs):
            self.runs |= {shard: Run(shard) for shard in shards_of(main)}
        self._numbers = count(1)
        self.highest_limit = Decimal(0)

    def dated(self, run: Run, since: float) -> DatedLedger:
        periods = CALENDAR.between(min(since, self.now), self.now + CLOCK_TOLERANCE_S)
        books = DatedLedger(Ledger(prices()), periods)
        for subject, event in run.events:
            books.apply(subject, event)
        return books

    def usage(self, run: Run, books: DatedLedger) -> RunUsage:
        by_period = {period.first: books.used_in(period) for period in books.periods}
        return RunUsage(
            run.name, f"/{run.name}", "m.yaml", len(run.events), by_period, books.unanswered
        )

    def start(
        self, name: str, limit: Decimal, *, own: Decimal | None = None, need: Decimal | None = None
    ) -> None:
        """Set credits aside, as ``api.period_budget.set_aside`` does.

        Nothing if the run is active.
        """
        run = self.runs[name]
        if name in self.shards:
            run.budget = run.allowance
            return
        if run.budget is not None or run.is_divided:
            return
        self.now = max(self.now, CALENDAR.at(self.now).start + CLOCK_TOLERANCE_S)
        period = CALENDAR.at(self.now)
        shares = self.account.shares(period)
        leftover = [each.since for each in shares if each.run == name and each.since is not None]
        books = self.dated(run, min(leftover, default=self.now))
        request = books.request(period, own=own, need=need)
        before = self.account.of_run(name)
        previous, token = (
            None if before is None else before.newest,
            f"allowance {next(self._numbers)}",
        )
        wanted = AllowanceRequest(token, previous, period, limit, request, self.now)
        grant = self.account.set_aside(self.usage(run, books), wanted)
        run.budget, run.since = books.certain + grant.credits, self.now
        self.highest_limit = max(self.highest_limit, limit)

    def hold(self, name: str) -> None:
        """Hold the ceiling for a job if the run's budget admits it."""
        run = self.runs[name]
        if run.budget is None or run.ledger.committed + CEILING > run.budget:
            return
        job = f"{next(self._numbers):064x}"
        held = Held(
            at=self.now,
            attempt=1,
            key=f"{name}-{job}",
            credits=CEILING,
            price_class="workflow:w",
            images=False,
        )
        run.events.append((job, held))
        run.sent[job] = held.key

    def _may_send(self, run: Run) -> bool:
        """Whether the oldest submit may be sent, or sent again: as at admission, unless it was
        charged already.
        """
        if run.budget is None or not run.sent:
            return False
        return (
            next(iter(run.sent.values())) in self.gateway.known
            or run.ledger.committed <= run.budget
        )

    def take_effect(self, name: str, price: Decimal) -> None:
        """Let the gateway charge the oldest unanswered submit; the answer is still under way."""
        run = self.runs[name]
        if self._may_send(run):
            self.gateway.charge(next(iter(run.sent.values())), price, self.now)

    def answer(self, name: str, price: Decimal) -> None:
        """Answer the oldest unanswered submit, charged now unless it was charged before."""
        run = self.runs[name]
        if not self._may_send(run):
            return
        job, key = next(iter(run.sent.items()))
        del run.sent[job]
        credits = self.gateway.charge(key, price, self.now)
        run.events.append((job, Accepted(at=self.now, job_id=key, credits=credits, reused=False)))
        run.flying[job] = key

    def lose_answer(self, name: str, price: Decimal) -> None:
        """Charge the oldest unanswered submit, and lose the answer: it stays in doubt."""
        run = self.runs[name]
        if self._may_send(run):
            job, key = next(iter(run.sent.items()))
            self.gateway.charge(key, price, self.now)
            run.events.append((job, SubmitUnknown(at=self.now, error=ERROR)))

    def refuse(self, name: str) -> None:
        """Refuse the newest submit if it took no effect."""
        run = self.runs[name]
        if run.budget is None or not run.sent:
            return
        job, key = list(run.sent.items())[-1]
        in_doubt = any(
            subject == job and isinstance(event, SubmitUnknown) for subject, event in run.events
        )
        if key not in self.gateway.known and not in_doubt:
            del run.sent[job]
            run.events.append((job, HoldReleased(at=self.now, error=ERROR)))

    def succeed(self, name: str) -> None:
        run = self.runs[name]
        if run.budget is not None and run.flying:
            job = next(iter(run.flying))
            del run.flying[job]
            run.events.append((job, Succeeded(at=self.now, outputs=1)))

    def fail(self, name: str) -> None:
        run = self.runs[name]
        if run.budget is not None and run.flying:
            job, key = next(iter(run.flying.items()))
            del run.flying[job]
            self.gateway.refund(key, self.now)
            run.events.append((job, Failed(at=self.now, error=ERROR)))

    def upload(self, name: str) -> None:
        """Buy an image for a job that then is not sent; the image isn't ready yet."""
        run = self.runs[name]
        if run.budget is None or run.ledger.committed + CEILING + UPLOAD > run.budget:
            return
        number = f"{next(self._numbers):064x}"
        asset = f"asset:{number}"
        bundle = CEILING + UPLOAD
        run.events += [
            (
                number,
                Held(
                    at=self.now,
                    attempt=1,
                    key=number,
                    credits=bundle,
                    price_class="workflow:w",
                    images=True,
                ),
            ),
            (asset, Intended(at=self.now, nonce=asset, credits=UPLOAD, payer=number)),
        ]
        self.gateway.charge(asset, UPLOAD, self.now)
        run.uploading.add(asset)

    def created(self, name: str, *, lost: bool) -> None:
        run = self.runs[name]
        if run.budget is None or not run.uploading:
            return
        asset = min(run.uploading)
        run.uploading.remove(asset)
        job = asset.removeprefix("asset:")
        if lost:
            run.events.append((asset, Lost(at=self.now, nonce=asset)))
        else:
            run.events.append((asset, Created(at=self.now, asset_id=asset, credits=UPLOAD)))
            run.created.add(asset)
        run.events.append((job, HoldReleased(at=self.now, error=ERROR)))

    def ready(self, name: str) -> None:
        run = self.runs[name]
        if run.budget is not None and run.created:
            asset = min(run.created)
            run.created.remove(asset)
            run.events += [(asset, Uploaded(at=self.now)), (asset, BecameReady(at=self.now))]

    def give_back(self, name: str, rebate: Decimal) -> None:
        run = self.runs[name]
        if run.budget is not None and run.created:
            asset = min(run.created)
            run.created.remove(asset)
            self.gateway.refund(asset, self.now, rebate)
            run.events.append((asset, Deleted(at=self.now, rebate=rebate)))

    def kill(self, name: str) -> None:
        self.runs[name].budget = None

    def end(self, name: str) -> None:
        """End a run in good order: settle from its journal. What is in flight or in doubt stays for
        a later run.
        """
        run = self.runs[name]
        if run.budget is not None and name not in self.shards:
            self.account.settle(self.usage(run, self.dated(run, run.since)), self.now)
        run.budget = None

    @property
    def shards(self) -> frozenset[str]:
        return frozenset(name for name in self.runs if "/" in name)

    def divide(self, name: str) -> None:
        """Divide what is left of a run among two shards. The run ends, and isn't settled."""
        run = self.runs[name]
        if (
            run.budget is None
            or name in self.shards
            or run.sent
            or run.flying
            or run.uploading
            or run.created
        ):
            return
        left = run.budget - run.ledger.committed
        if left <= 0:
            return
        for shard in shards_of(name):
            self.runs[shard] = Run(shard, budget=left / 2, allowance=left / 2)
        run.budget, run.is_divided = None, True

    def merge(self, name: str, *, is_killed: bool) -> None:
        """Merge the shards of a run as they are, and settle it; ``is_killed``: the merge is killed
        in between.
        """
        run = self.runs[name]
        if not run.is_divided:
            return
        events: list[tuple[str, Event]] = []
        for shard in map(self.runs.__getitem__, shards_of(name)):
            events += shard.events
            run.sent |= shard.sent
            run.flying |= shard.flying
            run.uploading |= shard.uploading
            run.created |= shard.created
            self.runs[shard.name] = Run(shard.name)
        run.events += sorted(events, key=lambda each: each[1].at)
        run.is_divided = False
        if is_killed:
            return
        books = self.dated(run, run.since)
        self.account.settle(self.usage(run, books), self.now)
        period = CALENDAR.at(self.now)
        share = next(
            (each.share for each in self.account.shares(period) if each.run == name), Share()
        )
        assert share.total == books.used_in(period), (
            "credits that nobody spent are not available again"
        )

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def check(self) -> None:
        for period, worst in self.gateway.worst().items():
            assert worst <= self.highest_limit, f"{worst} of {self.highest_limit} in {period}"
