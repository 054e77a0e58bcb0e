"""Sends a run's progress messages to its observer, each with the time and the balance then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from crucible_batch.core.events import AssetEvent, JobEvent
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.outcome import Ending, Outcome
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.core.progress import (
    AssetAdvanced,
    JobAdvanced,
    JobsAdded,
    Observer,
    RunBegan,
    RunEnded,
    Stopping,
    TakenUp,
)
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.journaled_ledger import JournaledLedger

_IN_FLIGHT = {Phase.SUBMITTING, Phase.IN_FLIGHT, Phase.FETCHING}


class ProgressReporter:
    """Builds and sends messages.

    ``is_beside``: whether a job is collected although the run does not include it.
    """

    def __init__(
        self,
        observer: Observer,
        accounting: JournaledLedger,
        clock: Clock,
        is_beside: Callable[[PlannedJob], bool],
        terms: RunTerms,
    ) -> None:
        self._observer = observer
        self._accounting = accounting
        self._clock = clock
        self._is_beside = is_beside
        self._terms = terms
        self._saving: set[str] = set()

    @property
    def saving(self) -> int:
        """How many jobs have ended at the gateway, while their outputs are being saved."""
        return len(self._saving)

    def _note(self, identity: str, phase: Phase) -> None:
        if phase is Phase.FETCHING:
            self._saving.add(identity)
        else:
            self._saving.discard(identity)

    def began(self, counts: Counter[Outcome]) -> None:
        terms, now = self._terms, self._clock.now()
        self._observer.notify(
            RunBegan(
                now,
                counts.total(),
                dict(counts),
                self._accounting.balance,
                terms.manifest_name,
                terms.run_id,
            )
        )

    def taken_up(self, planned: PlannedJob, job: Job) -> None:
        """Report a job that was in flight before this run.

        All others are reported by their events.
        """
        if job.phase in _IN_FLIGHT:
            self._note(job.identity, job.phase)
            since, beside = job.current.held_at, self._is_beside(planned)
            self._observer.notify(
                TakenUp(self._clock.now(), planned.name, job.identity, job.phase, since, beside)
            )

    def job(self, planned: PlannedJob, before: Job, event: JobEvent, after: Job) -> None:
        self._note(after.identity, after.phase)
        balance, beside = self._accounting.balance, self._is_beside(planned)
        self._observer.notify(
            JobAdvanced(
                event.at,
                planned.name,
                before.identity,
                event,
                before.phase,
                after.phase,
                balance,
                beside,
            )
        )

    def asset(self, image: InputImage, event: AssetEvent) -> None:
        spec = image.spec
        self._observer.notify(
            AssetAdvanced(
                event.at,
                spec.sha256,
                spec.filename,
                spec.byte_size,
                event,
                self._accounting.balance,
            )
        )

    def added(self, source: PlannedJob, planned: Sequence[PlannedJob]) -> None:
        count = sum(not self._is_beside(each) for each in planned)
        if count:
            self._observer.notify(JobsAdded(self._clock.now(), count, source.name))

    def stopping(self, error: ErrorInfo, grace_s: float) -> None:
        self._observer.notify(Stopping(self._clock.now(), error.code, error.message, grace_s))

    def ended(self, ending: Ending, counts: Counter[Outcome]) -> None:
        self._observer.notify(RunEnded(self._clock.now(), ending, counts, self._accounting.balance))
