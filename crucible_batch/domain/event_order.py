"""Which events can have happened to a job or an asset that has credits at stake: an impossible one must move none.

By the tables of ``domain.job`` and ``domain.asset``, but with nothing kept of a job that holds nothing: what can't have
happened to such a job moves no credits, or is the beginning of another hold.
"""

from __future__ import annotations

from collections.abc import Mapping

from crucible_batch.domain.asset import ASSET_PREFIX
from crucible_batch.domain.events import (
    Accepted,
    AssetEvent,
    Created,
    Deleted,
    Event,
    Found,
    Held,
    Intended,
    JobEvent,
    JobLost,
    Lost,
    NotCreated,
    Prepared,
    Repriced,
    SubmitUnknown,
)
from crucible_batch.domain.job import ALLOWED_PHASES, Phase

_WITHOUT_HOLD = frozenset({Phase.READY, Phase.FAILED, Phase.FETCHING, Phase.SUCCEEDED, Phase.UNAVAILABLE})
_AFTER_HELD: Mapping[bool | None, frozenset[Phase]] = {
    True: frozenset({Phase.PREPARING}),
    False: frozenset({Phase.SUBMITTING}),
    None: frozenset({Phase.PREPARING, Phase.SUBMITTING}),
}
_AFTER: Mapping[type[JobEvent], frozenset[Phase]] = {
    Prepared: frozenset({Phase.SUBMITTING}),
    Accepted: frozenset({Phase.IN_FLIGHT}),
    SubmitUnknown: frozenset({Phase.UNKNOWN}),
    JobLost: frozenset({Phase.VANISHED}),
}


class EventOrder:
    """Where jobs and assets are, as far as credits go."""

    def __init__(self) -> None:
        self._jobs: dict[str, frozenset[Phase]] = {}
        """The phases that a job may be in, of those that hold credits or are lost at the gateway."""
        self._intended: set[str] = set()
        self._there: set[str] = set()

    def take(self, subject: str, event: Event) -> bool:
        """Note what happened; False, and nothing is noted, where it can't have happened."""
        if isinstance(event, AssetEvent):
            return subject.startswith(ASSET_PREFIX) and self._take_of_asset(subject, event)
        return not subject.startswith(ASSET_PREFIX) and self._take_of_job(subject, event)

    def _take_of_job(self, subject: str, event: JobEvent) -> bool:
        if not self._jobs.get(subject, _WITHOUT_HOLD) & ALLOWED_PHASES[type(event)]:
            return False
        if isinstance(event, Repriced):
            # It changes no phase, and says of a job that holds nothing any more what was spent for it.
            return (event.settled is None) is (subject in self._jobs)
        after = _AFTER_HELD[event.images] if isinstance(event, Held) else _AFTER.get(type(event))
        if after is not None:
            self._jobs[subject] = after
        else:
            self._jobs.pop(subject, None)
        return True

    def _take_of_asset(self, subject: str, event: AssetEvent) -> bool:
        match event:
            case Intended():
                if subject in self._intended:
                    return False
                self._intended.add(subject)
            case Created():  # that of an intent which nobody knows is a charge all the same
                self._intended.discard(subject)
                self._there.add(subject)
            case NotCreated():
                self._intended.discard(subject)
            case Lost():
                if subject not in self._intended:
                    return False
                self._intended.discard(subject)
            case Found():
                self._there.add(subject)
            case Deleted():
                if subject not in self._there:
                    return False
                self._there.discard(subject)
            case _:
                pass
        return True
