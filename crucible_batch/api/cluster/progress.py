"""The progress of a complete run on a cluster, as messages to an observer.

The jobs are run by the coordinator (prices, images, what can't be divided) and by workers, of which it learns counts
and credits only. The observer gets the messages of one run: it begins once, and ends once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crucible_batch.api.period_budget import PeriodRules
from crucible_batch.api.request import JobFilter
from crucible_batch.api.run_journal import ledger_of
from crucible_batch.api.shards.note import outstanding_shards
from crucible_batch.cluster import QueuedShard
from crucible_batch.domain.cluster_control import GivenControl, newest_number, pause_given
from crucible_batch.domain.credits import ZERO
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.outcome import Outcome, outcome_of
from crucible_batch.domain.plan import RunTerms
from crucible_batch.domain.prices import PriceBook, workflow_class
from crucible_batch.domain.progress import Balance, Controlled, Message, Observer, RunBegan, RunEnded, ShardsAdvanced
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.engine import Clock
from crucible_batch.journal import Journal

_ENDED = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.UNKNOWN)
_OUT = (ShardState.WAITING, ShardState.RUNNING)


@dataclass(slots=True)
class RunProgress:
    """An observer of the coordinator's own runs, which passes them on as parts of the complete run.

    With ``rules`` of a period, the budget of the complete run is what is set aside at the moment: for the shards of the
    wave, or for a run of the coordinator's own.
    """

    observer: Observer
    main: Path
    terms: RunTerms
    choice: JobFilter
    clock: Clock
    rules: PeriodRules | None = None
    has_begun: bool = field(default=False, init=False)
    _counts: Counter[Outcome] = field(default_factory=Counter, init=False)
    """The jobs of the run by their outcome, as the main run directory has them; ``_balance`` has its credits."""
    _balance: Balance = field(default=Balance(None, ZERO, ZERO), init=False)
    _allowance: Balance | None = field(default=None, init=False)
    """The newest balance with an allowance of the period, of which its budget and name count."""
    _told: ShardsAdvanced | None = field(default=None, init=False)
    _shown: int | None = field(default=None, init=False)
    """The number of the newest command that was shown; None before the first ones were read."""

    def notify(self, message: Message) -> None:
        """Pass a message of one of the coordinator's runs on, unless it is about its beginning or its end."""
        if isinstance(message, RunBegan):
            if message.balance.allowance_of is not None:
                self._allowance = message.balance
            self.begin(message.at)
        elif not isinstance(message, RunEnded):
            self.observer.notify(message)

    def begin(self, at: float | None = None) -> None:
        """Report the beginning of the complete run, once. The main run directory has its plan by then."""
        if self.has_begun:
            return
        self.has_begun = True
        self.read()
        began, counts, terms = self.clock.now() if at is None else at, self._counts, self.terms
        self.observer.notify(RunBegan(began, counts.total(), counts, self._balance, terms.manifest_name, terms.run_id))

    def read(self) -> None:
        """Read the main run directory: before each wave. Blocking."""
        with Journal.read(self.main) as journal:
            shards = outstanding_shards(journal)
            if self.rules is not None and shards is not None and shards.account is not None:
                name = self.rules.budget_name(self.rules.calendar.at(self.clock.now()))
                self._allowance = Balance(shards.budget, ZERO, ZERO, name)
            self._read(journal, {})

    def _read(self, journal: Journal, stops: Mapping[str, ErrorInfo]) -> None:
        counts: Counter[Outcome] = Counter()
        ledger = ledger_of(journal, PriceBook.of(self.terms))
        for planned, job in journal.jobs(self.terms.rule):
            if self.choice.takes(planned.name):
                counts[outcome_of(job, workflow_class(planned.workflow_id), stops)[0]] += 1
        limit = self._allowance or Balance(self.terms.budget, ZERO, ZERO)
        self._counts, self._balance = counts, replace(limit, spent=ledger.spent, held=ledger.held)

    def advance(self, wave: int, rows: Sequence[QueuedShard]) -> None:
        """Report the shards of a wave, if anything has changed."""
        running = [row for row in rows if row.state is ShardState.RUNNING]
        figures = [row.figures for row in rows]
        balance = self._balance
        message = ShardsAdvanced(
            at=self.clock.now(),
            wave=wave,
            shards=len(rows),
            running=len(running),
            ended=sum(row.state not in _OUT for row in rows),
            workers=len({row.worker for row in running}),
            counts={word: self._counts[word] + sum(getattr(each, word.value) for each in figures) for word in _ENDED},
            balance=replace(
                balance,
                spent=sum((each.spent for each in figures), balance.spent),
                held=sum((each.held for each in figures), balance.held),
            ),
        )
        if self._told is None or replace(message, at=self._told.at) != self._told:
            self._told = message
            self.observer.notify(message)

    def knows(self, given: Sequence[GivenControl]) -> bool:
        """Whether all these commands to the run have been shown."""
        return self._shown == newest_number(given)

    def show(self, given: Sequence[GivenControl], *, in_flight: int) -> None:
        """Report the commands that are new, oldest first. Of those before the first call, only the present pause.

        ``in_flight`` jobs are at the gateway, by the workers' last reports.
        """
        pause = pause_given(given)
        earlier = [] if pause is None else [pause]
        new = earlier if self._shown is None else [each for each in given if each.number > self._shown]
        self._shown = newest_number(given)
        for each in new:
            command, source = each.command, each.source
            at = self.clock.now() - each.age_s
            names = ()  # of ``retry``, the database has identities only
            self.observer.notify(Controlled(at, command.action, source.by, source.via, in_flight, command.value, names))

    def end(self) -> None:
        """Report the end of the complete run, by the newest run in the journal."""
        with Journal.read(self.main) as journal:
            ending = journal.runs()[-1].ending
            assert ending is not None
            self._read(journal, ending.all_stops)
        self.observer.notify(RunEnded(self.clock.now(), ending, self._counts, self._balance))
