"""Which events are possible for a job or an asset with credits at stake: an impossible event must
release none.

By the tables of ``core.job`` and ``core.asset``, but nothing is kept for a job without a hold: an
impossible event of such a job either changes no credits or begins another hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from crucible_batch.core.asset import ASSET_PREFIX
from crucible_batch.core.attempt import RefundEvent
from crucible_batch.core.events import (
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
    is_asset_event,
    is_job_event,
)
from crucible_batch.core.job import ALLOWED_PHASES, Phase

_WITHOUT_HOLD = frozenset(
    {Phase.READY, Phase.FAILED, Phase.FETCHING, Phase.SUCCEEDED, Phase.UNAVAILABLE}
)
_AFTER_HELD: Mapping[bool, frozenset[Phase]] = {
    True: frozenset({Phase.PREPARING}),
    False: frozenset({Phase.SUBMITTING}),
}
_AFTER: Mapping[type[JobEvent], frozenset[Phase]] = {
    Prepared: frozenset({Phase.SUBMITTING}),
    Accepted: frozenset({Phase.IN_FLIGHT}),
    SubmitUnknown: frozenset({Phase.UNKNOWN}),
    JobLost: frozenset({Phase.VANISHED}),
}
_OF_REFUNDS = frozenset(get_args(RefundEvent))


class EventOrder:
    """The phases of jobs and assets, as far as credits depend on them."""

    def __init__(self) -> None:
        self._jobs: dict[str, frozenset[Phase]] = {}
        """The possible phases of each job that holds credits or is lost at the gateway."""
        self._intended: set[str] = set()
        self._created: set[str] = set()

    def accept(self, subject: str, event: Event) -> bool:
        """Record an event and return True, or return False if it is impossible."""
        is_of_asset = subject.startswith(ASSET_PREFIX)
        if is_job_event(event):
            return not is_of_asset and self._accept_job_event(subject, event)
        return is_of_asset and is_asset_event(event) and self._accept_asset_event(subject, event)

    def _accept_job_event(self, subject: str, event: JobEvent) -> bool:
        kind = type(event)
        if kind in _OF_REFUNDS:
            return True  # of an attempt that has failed, beside the job's present phase
        if self._jobs.get(subject, _WITHOUT_HOLD).isdisjoint(ALLOWED_PHASES[kind]):
            return False
        if type(event) is Repriced:
            # It changes no phase; only for a job whose hold has ended does it carry the amount
            # spent.
            return (event.settled is None) is (subject in self._jobs)
        after = _AFTER.get(kind)
        if type(event) is Held:
            after = _AFTER_HELD[event.images]
        if after is not None:
            self._jobs[subject] = after
        else:
            self._jobs.pop(subject, None)
        return True

    def _accept_asset_event(self, subject: str, event: AssetEvent) -> bool:
        match event:
            case Intended():
                if subject in self._intended:
                    return False
                self._intended.add(subject)
            case Created():  # a charge even if its intent is unknown
                self._intended.discard(subject)
                self._created.add(subject)
            case NotCreated():
                self._intended.discard(subject)
            case Lost():
                if subject not in self._intended:
                    return False
                self._intended.discard(subject)
            case Found():
                self._created.add(subject)
            case Deleted():
                if subject not in self._created:
                    return False
                self._created.discard(subject)
            case _:
                pass
        return True
