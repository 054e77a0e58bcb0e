"""One run, as its directory's journal records it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.outcome import Ending
from crucible_batch.domain.plan import RunTerms


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run in this directory. ``ending`` is None while it runs, and if it was killed.

    ``begins_after`` is the number of the journal's last event when the run began; None if it was not recorded.
    """

    started_at: float
    finished_at: float | None
    terms: RunTerms
    ending: Ending | None
    begins_after: int | None = None

    @property
    def stops(self) -> Mapping[str, ErrorInfo]:
        """Why jobs were not started, as ``outcome_of`` takes it; empty if the run has no ending."""
        return {} if self.ending is None else self.ending.all_stops
