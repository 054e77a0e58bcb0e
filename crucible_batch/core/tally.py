"""The jobs of a run by outcome, and what they have saved: for displays, metrics, the report and
``status`` alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from crucible_batch.core.events import Saved
from crucible_batch.core.job import Phase
from crucible_batch.core.outcome import Outcome
from crucible_batch.core.progress import (
    AssetAdvanced,
    Balance,
    JobAdvanced,
    JobsAdded,
    Message,
    Retrying,
    RunBegan,
    RunEnded,
    ShardsAdvanced,
)

OUTCOME_OF_PHASE: Mapping[Phase, Outcome] = {
    Phase.SUCCEEDED: Outcome.SUCCEEDED,
    Phase.FAILED: Outcome.FAILED,
    Phase.UNAVAILABLE: Outcome.FAILED,
    Phase.VANISHED: Outcome.FAILED,
    Phase.UNKNOWN: Outcome.UNKNOWN,
}
"""Outcomes during a run; jobs in any other phase are pending."""


class Tally:
    """Kept by a run's messages, or made of its jobs. ``balance`` is None until the run has begun.

    ``reused`` jobs were found at the gateway. ``outputs`` and ``byte_size`` are those that this run
    has saved. Another thread may read it at any time: ``counts`` has a fixed set of keys, and
    ``retries`` is replaced.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Outcome, 0)
        self.reused = 0
        self.outputs = 0
        self.byte_size = 0
        self.retries: Mapping[str, int] = {}
        self.balance: Balance | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def add(self, outcome: Outcome, *, reused: bool = False) -> None:
        self.counts[outcome] += 1
        self.reused += reused

    def add_output(self, byte_size: int) -> None:
        self.outputs += 1
        self.byte_size += byte_size

    def follow(self, message: Message) -> None:
        """Update the tally by a message of the run."""
        match message:
            case RunBegan():
                self._begin(message)
            case JobAdvanced():
                self._advance(message)
            case AssetAdvanced():
                self.balance = message.balance
            case JobsAdded():
                self.counts[Outcome.PENDING] += message.count
            case Retrying():
                self.retries = {
                    **self.retries,
                    message.operation: self.retries.get(message.operation, 0) + 1,
                }
            case RunEnded() | ShardsAdvanced():
                self.counts.update({outcome: message.counts.get(outcome, 0) for outcome in Outcome})
                self.balance = message.balance
            case _:
                pass

    def _begin(self, message: RunBegan) -> None:
        # An unknown or blocked job of an earlier run is tried again, so it is pending until this
        # run has its outcome.
        settled = {
            outcome: message.counts.get(outcome, 0)
            for outcome in (Outcome.SUCCEEDED, Outcome.FAILED)
        }
        self.counts.update({**settled, Outcome.PENDING: message.total - sum(settled.values())})
        self.balance = message.balance

    def _advance(self, message: JobAdvanced) -> None:
        self.balance = message.balance
        if isinstance(message.event, Saved):
            self.add_output(message.event.byte_size)
        if not message.beside:
            self.counts[OUTCOME_OF_PHASE.get(message.before, Outcome.PENDING)] -= 1
            self.counts[OUTCOME_OF_PHASE.get(message.phase, Outcome.PENDING)] += 1
