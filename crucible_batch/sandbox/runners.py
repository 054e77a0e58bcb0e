"""The machines that work off the queue, first come first served."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slot:
    """A runner for a stretch of time (seconds since the epoch)."""

    runner: int
    started_at: float
    finished_at: float


class Runners:
    """N runners, each known by the moment when it falls free.

    A first-come queue with known service times needs no simulation: when a job is accepted, its start and its end
    follow from who falls free first.
    """

    def __init__(self, count: int, busy: Iterable[Slot] = ()) -> None:
        self._free_at = [0.0] * count
        for slot in busy:
            # A state file may come from a sandbox with more runners: their work is shared out among these.
            runner = slot.runner % count
            self._free_at[runner] = max(self._free_at[runner], slot.finished_at)

    def admit(self, now: float, service_s: float) -> Slot:
        """Give the next job its place."""
        runner = min(range(len(self._free_at)), key=self._free_at.__getitem__)
        started_at = max(now, self._free_at[runner])
        self._free_at[runner] = started_at + service_s
        return Slot(runner, started_at, started_at + service_s)
