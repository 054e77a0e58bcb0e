"""The cap on what one server may spend in its life, over all runs in any number of directories.

    spent + set aside <= limit        at every moment, summed over all run directories

The rule is ``core/allowance.py``'s; a party is the journal in a run directory. What was bought
there before the server first used it is not the server's. So the cap begins behind the row of the
journal that was its last one at that moment, and a charge counts if its answer is in a later row,
or has not come yet:

    charge                                                    counts
    requested and answered before                             no
    requested before, answered after: it may be bought again  yes
    requested after                                           yes, less its own refund
    held without an answer, whenever it was requested         yes, until the answer

A refund of an earlier charge does not raise the cap: a run's budget is built on what can't come
back.

    the run's budget - certainly spent in its directory
        <= limit - shares of the others - certainly spent by the server

A run that asks for more is refused, and nothing is set aside for it. When it has ended, in
whichever way, the journal shows its share. If that can't be read, the share stays as it was. Each
use writes a new mark into the journal, and so does its end: a journal that lacks it or has fewer
events than it had (a deleted directory, a backup) is another party, and the share of the former one
remains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from crucible_batch.core.allowance import Allowance, Share, ShareRequest
from crucible_batch.core.charge_times import DatedLedger
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import Event
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import PriceBook


@dataclass(frozen=True, slots=True)
class JournalFigures:
    """What a journal has.

    ``events`` is the number of its last event, ``mark`` that of the server's last use. ``certain``
    are the credits that can't come back. ``new`` are those of them that were charged after the
    server first used the directory, and ``used`` are ``new`` and all that was bought or may have
    been bought since.
    """

    mark: str
    events: int
    certain: Credits
    new: Credits = ZERO
    used: Credits = ZERO


def figures_of(
    mark: str, events: Iterable[tuple[int, str, Event]], prices: PriceBook, *, after: int
) -> JournalFigures:
    """Return the figures of a journal, by its numbered events.

    Those up to the number ``after`` are not the server's. ``prices`` is a price book with the
    ceilings of the run, and is changed.
    """
    ledger, newest = DatedLedger(Ledger(prices)), 0
    for number, subject, event in events:
        ledger.apply(subject, event, at=number)
        newest = number
    new = ledger.certain_between(after, math.inf)
    return JournalFigures(mark, newest, ledger.certain, new, ledger.used_between(after, math.inf))


@dataclass(frozen=True, slots=True)
class _Party:
    """A journal that the server has used: when it first did, and what it has seen in it since."""

    name: str
    first: int
    seen: JournalFigures


class SpendCap:
    """The cap of one server, and the shares of its run directories: its ``allowance``.

    Each change is one step, without waiting.
    """

    def __init__(self, limit: Credits) -> None:
        self.allowance = Allowance(limit)
        self._parties: dict[str, _Party] = {}
        """The present journal of each directory."""
        self._count = 0

    def first_use(self, directory: str, mark: str, events: int) -> int:
        """Return the number of the last event in a journal that is not the server's.

        ``events`` is the number of the journal's last event now. It is the result if the server has
        not used the journal yet; otherwise the result is what it was at the first use.
        """
        party = self._parties.get(directory)
        if party is None or not _continues(party, mark, events):
            return events
        return party.first

    def available(self, directory: str, figures: JournalFigures) -> Credits:
        """Return the highest budget that a run in a directory may have now, over all runs in it."""
        party = self._party(directory, figures)
        allowance = self.allowance
        if party is not None:
            allowance = allowance.without(party.name)
        left = allowance.left
        return figures.certain + max(ZERO, left - figures.new)

    def admits(self, directory: str, figures: JournalFigures, budget: Credits) -> bool:
        """Whether a run with this budget is within the cap."""
        return budget <= self.available(directory, figures)

    def set_aside_for(
        self, directory: str, figures: JournalFigures, budget: Credits, mark: str
    ) -> bool:
        """Set credits aside for a run with this budget.

        Return False, and change nothing, if the cap doesn't admit it. The caller holds the lock of
        the directory, and ``figures`` are those of its journal now. ``mark`` is the journal's from
        now on.
        """
        if not self.admits(directory, figures, budget):
            return False
        party = self._party(directory, figures)
        if party is None:
            self._count += 1
            party = _Party(f"{self._count}:{directory}", figures.events, figures)
        self._parties[directory] = replace(party, seen=replace(figures, mark=mark))
        request = ShareRequest(max(ZERO, budget - figures.certain), figures.new, figures.used)
        self.allowance, _ = self.allowance.granted(party.name, request)
        return True

    def settle(self, directory: str, figures: JournalFigures, mark: str) -> None:
        """Replace what was set aside for a run by what its journal has.

        The caller still holds the directory's lock. ``mark`` is the journal's from now on. If it is
        not the journal of the run, what was set aside stays so.
        """
        party = self._party(directory, figures)
        if party is None:
            return
        self._parties[directory] = replace(party, seen=replace(figures, mark=mark))
        share = Share(figures.new, max(ZERO, figures.used - figures.new))
        self.allowance = self.allowance.settled(party.name, share)

    def _party(self, directory: str, figures: JournalFigures) -> _Party | None:
        """Return the party of a directory's journal; None if the server hasn't used it yet."""
        party = self._parties.get(directory)
        if party is None or not _continues(party, figures.mark, figures.events):
            return None
        return party


def _continues(party: _Party, mark: str, events: int) -> bool:
    """Whether a journal is the one that was seen before, perhaps with more events."""
    return mark == party.seen.mark and events >= party.seen.events
