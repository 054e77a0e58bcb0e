"""Jobs that are added to a run while it is active, since they are made from outputs that it has
saved."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from crucible_batch.core.engine_options import TakesJob
from crucible_batch.core.events import Saved
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.ports import Derivation
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.engine.history import History
from crucible_batch.engine.progress_reporter import ProgressReporter


class JobAdder:
    """Adds jobs to the plan and to the queue of a run.

    ``is_chosen`` returns whether this run includes a job: the others are
    planned, but not queued. ``lacks_files`` returns whether an output of a job that was saved is
    not on disk any more: it is fetched again, as that of any job.

    A job is in the journal's plan, durable, before it is queued: after a kill the next run finds
    what this one bought. If the run is killed between a source's last event and the plan, the next
    run adds the jobs, by the same rule. One with an obstacle is in the plan for the report only.
    """

    def __init__(
        self,
        derivation: Derivation | None,
        history: History,
        waiting: deque[tuple[PlannedJob, Job]],
        tell: ProgressReporter,
        rule: RetryRule,
        *,
        is_chosen: TakesJob,
        lacks_files: Callable[[Job], bool],
    ) -> None:
        self._derivation = derivation
        self._history = history
        self._waiting = waiting
        self._tell = tell
        self._rule = rule
        self._is_chosen = is_chosen
        self._lacks_files = lacks_files
        self._added: set[str] = set()

    @property
    def is_used(self) -> bool:
        return self._derivation is not None

    def has_added(self, identity: str) -> bool:
        """Whether a job was added in this run, so that it is not taken from the plan as well."""
        return identity in self._added

    async def add(self, planned: PlannedJob, job: Job, start_worker: Callable[[], object]) -> None:
        """Add the jobs that are made from the outputs saved for a job, each once: it is called
        again when more is known of the job. ``start_worker`` is called for each.

        Raises ``JournalError``.
        """
        if self._derivation is None:
            return
        for saved in job.outputs.values():
            derived = self._derivation.derive(planned, saved)
            made = [each for each in derived if not self.has_added(each.identity)]
            # Noted first: from the moment at which it is in the plan, it must not be taken from
            # there.
            self._added.update(each.identity for each in made)
            for each in made:
                known = self._history.known(each.identity, self._rule)
                await self._history.append_planned(each)
                if each.obstacle is not None:
                    continue
                added = Job(each.identity, has_images=bool(each.images), rule=self._rule)
                if known is not None:
                    added = known[1]
                # A job that was begun before its source's file was lost is continued, and one whose
                # own file was lost as well is fetched again. Others are not for this run: it does
                # not choose them (`--only`), or it has resumed them already.
                is_chosen = self._is_chosen(each.name, planned.name)
                is_new = added.phase is Phase.READY and is_chosen
                is_lost = added.phase is Phase.SUCCEEDED and self._lacks_files(added)
                if is_new or is_lost:
                    self._waiting.append((each, added))
                    start_worker()
            started = [each for each in made if each.obstacle is None]
            if started:
                self._tell.added(planned, started)

    def counts(self, planned: PlannedJob, saved: Saved) -> bool:
        """Whether an output counts although its job has left the plan."""
        return self._derivation is not None and self._derivation.counts(planned, saved)

    def gives_way(self, planned: PlannedJob) -> bool:
        """Whether an output of a job is saved aside if an unknown file is at its path."""
        return self._derivation is not None and self._derivation.gives_way(planned)

    def arrange(self) -> None:
        if self._derivation is not None:
            self._derivation.arrange()
