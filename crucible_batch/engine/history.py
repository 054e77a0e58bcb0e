"""The durable past that a run works on, as the engine sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from crucible_batch.domain.asset import Asset
from crucible_batch.domain.events import Accepted, Event
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.job import Job, Phase, resume_job
from crucible_batch.domain.outcome import Outcome, outcome_of
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.prices import workflow_class
from crucible_batch.domain.retry_rule import RetryRule
from crucible_batch.engine.journaled_ledger import JournaledLedger


class History(Protocol):
    """The durable past that a run works on."""

    async def append(self, subject: str, event: Event) -> None:
        """Return once the event is durable; raise ``JournalError`` where it isn't."""
        ...

    async def drain(self) -> None:
        """Return once all that was given to ``append`` is durable; raise ``JournalError`` where it isn't."""
        ...

    def events(self) -> Iterator[tuple[str, Event]]:
        """Every event with its subject, in the order in which they happened."""
        ...

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        """The plan's jobs in manifest order, each as its events left it."""
        ...

    def retired(self) -> Iterator[tuple[PlannedJob, Job]]:
        """Jobs with a past that the plan no longer asks for, each with a rule that allows no other attempt."""
        ...

    def saved_at(self, path: str) -> list[str]:
        """The identities of the jobs an output of which was ever saved at this path, or moved to it."""
        ...

    def accepted_as(self, job_id: str) -> list[str]:
        """The identities of the jobs that were ever accepted as this gateway job; the id is in lower case."""
        ...

    def known(self, identity: str) -> tuple[PlannedJob, Job, bool] | None:
        """One job as its events left it, and whether it is retired. None where it was never planned."""
        ...

    def asset(self, sha256: str) -> Asset:
        """An asset as its events left it."""
        ...


class JobIdOwners:
    """Knows the owners from the journal; in memory only are those whose acceptance is not durable yet."""

    def __init__(self, history: History, books: JournaledLedger) -> None:
        self._history = history
        self._fresh: dict[str, str] = {}
        books.on_entry(self._entered)

    def claim(self, job: Job, job_id: str) -> bool:
        """Note a gateway job as that of the job's newest attempt; False where it is another attempt's, or job's."""
        known = job_id.lower()
        earlier = (attempt.job_id for attempt in job.attempts if attempt.key != job.current.key)
        owners = {*self._history.accepted_as(known), self._fresh.get(known, job.identity)}
        if owners != {job.identity} or any(each is not None and each.lower() == known for each in earlier):
            return False
        self._fresh[known] = job.identity
        return True

    def _entered(self, _subject: str, event: Event) -> None:
        if isinstance(event, Accepted):
            self._fresh.pop(event.job_id.lower(), None)


KEY_MAY_BE_FORGOTTEN = "KEY_MAY_BE_FORGOTTEN"
_NOT_IN_FLIGHT = frozenset({Phase.READY, Phase.UNAVAILABLE, Phase.UNREADABLE})


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found. ``in_flight`` goes first, ``forgotten`` are submits in doubt whose keys are too old to send.

    Jobs that have only outputs to be had, for which nothing is held, are in no list: there may be as many as jobs, and
    they come with the rest of the plan. ``retired`` are the identities of jobs in flight that the plan no longer asks
    for; ``counts`` the plan's jobs by outcome, as this run takes them up; ``has_images`` says whether any of the plan
    needs one.
    """

    in_flight: list[tuple[PlannedJob, Job]]
    forgotten: list[tuple[PlannedJob, Job]]
    retired: frozenset[str]
    counts: Counter[Outcome]
    has_images: bool

    @property
    def taken(self) -> frozenset[str]:
        """The jobs that are no part of the queue of new ones."""
        return frozenset(job.identity for _, job in (*self.in_flight, *self.forgotten))

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return not self.in_flight and not self.forgotten and self.counts.total() == self.counts[Outcome.SUCCEEDED]


def survey(
    history: History,
    rule: RetryRule,
    *,
    missed: Callable[[Job], Sequence[int]],
    is_forgotten: Callable[[Job], bool],
    about: Callable[[str], bool],
) -> Survey:
    """Sort the jobs of the past. ``missed`` lists the outputs of a job that no longer stand where they were saved;
    ``about`` says of a job's name whether the run is about it, and whether it is counted."""
    in_flight: list[tuple[PlannedJob, Job]] = []
    forgotten: list[tuple[PlannedJob, Job]] = []
    counts: Counter[Outcome] = Counter()
    has_images = False
    for planned, job in history.jobs(rule):
        # As this run takes it up: one whose outputs couldn't be had is asked for again, and not failed yet.
        has_missed = bool(missed(job))
        has_images = has_images or bool(planned.images)
        outcome, _ = outcome_of(resume_job(job), workflow_class(planned.workflow_id), {})
        if about(planned.name):
            counts[Outcome.PENDING if has_missed else outcome] += 1
        if is_forgotten(job):
            forgotten.append((planned, job))
        elif job.phase not in _NOT_IN_FLIGHT and not job.is_settled:
            in_flight.append((planned, resume_job(job)))
    # What the manifest no longer asks for is not bought, but what it has in flight is settled and collected.
    retired = [(planned, resume_job(job)) for planned, job in history.retired() if _is_open(job)]
    identities = frozenset(job.identity for _, job in retired)
    return Survey(in_flight + retired, forgotten, identities, counts, has_images)


def key_too_old_error(job: Job) -> ErrorInfo:
    """Say why a submit in doubt is not sent again."""
    return ErrorInfo(
        KEY_MAY_BE_FORGOTTEN,
        "whether it was bought was never answered, and the gateway may have forgotten its key by now: sent again, it"
        " could be paid twice",
        hint=f"look for it with crucible-batch audit; then --resubmit-unknown sends it again (key {job.current.key})",
    )


def _is_open(job: Job) -> bool:
    """Whether a job that nobody asks for any more has something to release or to collect.

    A submit that went unanswered is left alone, its hold kept: to ask again might buy what nobody wants.
    """
    return job.phase in {Phase.PREPARING, Phase.IN_FLIGHT, Phase.FETCHING}
