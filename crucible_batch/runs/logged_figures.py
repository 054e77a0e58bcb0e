"""What a run has done so far, as its log shows it to those who follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crucible_batch.core.credits import ZERO, StoredCredits
from crucible_batch.core.outcome import Ending, Outcome
from crucible_batch.core.progress import Message
from crucible_batch.core.tally import Tally
from crucible_batch.runs.control_desk import ControlDesk


@dataclass(frozen=True, slots=True)
class LoggedFigures:
    """The figures of a run at one moment.

    ``counts`` are its jobs by outcome. ``taken`` is the number of the newest command to all shards
    that it knows. ``exit_code`` is None while it runs.
    """

    counts: Mapping[Outcome, int] = field(default_factory=dict)
    spent: StoredCredits = ZERO
    held: StoredCredits = ZERO
    in_flight: int = 0
    taken: int = 0
    exit_code: int | None = None


class FigureKeeper:
    """An observer that keeps the figures of a run."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._desk: ControlDesk | None = None
        self._ending: Ending | None = None
        self.taken = 0

    def notify(self, message: Message) -> None:
        self._tally.follow(message)

    def begin(self, desk: ControlDesk) -> None:
        self._desk = desk

    def end(self, ending: Ending) -> None:
        self._ending = ending

    def figures(self) -> LoggedFigures:
        balance = self._tally.balance
        in_flight = 0
        if self._desk is not None:
            in_flight = self._desk.control.in_flight
        return LoggedFigures(
            counts={outcome: count for outcome, count in self._tally.counts.items() if count},
            spent=ZERO if balance is None else balance.spent,
            held=ZERO if balance is None else balance.held,
            in_flight=in_flight,
            taken=self.taken,
            exit_code=None if self._ending is None else self._ending.exit_code,
        )
