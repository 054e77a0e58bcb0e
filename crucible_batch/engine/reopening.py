"""Failed jobs that are tried again on a command, while the run is active."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob


class Reopening:
    """Keeps a failed job from being taken twice: by a command, and by the queue of a run that
    retries failed jobs.

    A job that was taken and is not reopened yet still looks failed in the journal. ``jobs`` reads
    the started jobs from the journal, ``is_of_run`` is whether the run includes a job of this name,
    ``may_reopen`` whether another attempt may be made, and ``waiting`` is the queue.
    """

    def __init__(
        self,
        jobs: Callable[[], Iterable[tuple[PlannedJob, Job]]],
        is_of_run: Callable[[str], bool],
        may_reopen: Callable[[Job], bool],
        waiting: deque[tuple[PlannedJob, Job]],
    ) -> None:
        self._jobs = jobs
        self._is_of_run = is_of_run
        self._may_reopen = may_reopen
        self._waiting = waiting
        self._taken: set[str] = set()
        self._chosen: set[str] = set()

    def has_chosen(self, identity: str) -> bool:
        """Whether a command has chosen the job: the queue then leaves it out."""
        return identity in self._chosen

    def queued(self, job: Job) -> None:
        """Note that the queue gives out a job."""
        if job.phase is Phase.FAILED:
            self._taken.add(job.identity)

    def begun(self, identity: str) -> None:
        """Note that a job was reopened, by its journal."""
        self._taken.discard(identity)

    def waiting_in(self, *phases: Phase) -> int:
        """Count the queued jobs in these phases: those that an earlier run left there, and that
        have no slot yet.
        """
        return sum(job.phase in phases for _, job in self._waiting)

    def reopen(self, takes: Callable[[str], bool]) -> list[str]:
        """Queue the failed jobs of the run with a name that ``takes`` accepts, and return their
        names.

        Those that are tried again already are left out. Nothing is awaited, so that no job changes
        meanwhile.
        """
        found = [
            (planned, job)
            for planned, job in self._jobs()
            if self._may_reopen(job)
            and job.identity not in self._taken
            and self._is_of_run(planned.name)
            and takes(planned.name)
        ]
        chosen = {job.identity for _, job in found}
        self._taken |= chosen
        self._chosen |= chosen
        self._waiting.extend(found)
        return [planned.name for planned, _ in found]
