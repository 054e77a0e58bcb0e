"""The generations of the jobs in a journal: which outputs of a job count, and what others it has.

A job is asked for again under another key if what came was rejected. Its earlier generations have
left the plan; their outputs are takes, which may be deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace
from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.events import Saved
from crucible_batch.core.identity import content_of
from crucible_batch.core.job import Job
from crucible_batch.core.plan import PlannedJob
from crucible_batch.journal import Journal
from crucible_batch.report import Generations, GenerationsOf

_TAKES = "takes"
_DELETED = "deleted takes"


@dataclass(frozen=True, slots=True)
class NotedTakes:
    """What the newest run has found of a job with rejected outputs.

    ``current`` has the generation whose output counts, by the output's number, where it is not that
    of the job in the plan. ``rejected`` has number, generation and reason of each rejected output.
    """

    current: dict[int, int] = field(default_factory=dict)
    rejected: list[tuple[int, int, str]] = field(default_factory=list)


_NOTED: TypeAdapter[dict[str, NotedTakes]] = TypeAdapter(dict[str, NotedTakes])
_TIMES: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, float])


def generations_of(journal: Journal) -> GenerationsOf:
    """Return a function that returns the generations of a job of an open journal.

    The journal is read at its first call.
    """
    read: list[tuple[dict[str, NotedTakes], DeletedTakes] | None] = []

    def generations(planned: PlannedJob) -> Generations:
        if not read:
            has_several = journal.has_generations()
            read.append((_noted(journal), DeletedTakes(journal)) if has_several else None)
        if read[0] is None:
            return Generations()
        takes, deleted = read[0]
        noted = takes.get(content_of(planned.identity), NotedTakes())
        others = [
            (one, deleted.without(job)) for one, job in journal.other_generations(planned.identity)
        ]
        reasons = {(index, number): reason for index, number, reason in noted.rejected}
        return Generations(others, noted.current, reasons)

    return generations


def note_takes(journal: Journal, takes: Mapping[str, NotedTakes]) -> None:
    """Store what a run has found of jobs with rejected outputs, by their content."""
    if takes or journal.noted(_TAKES):
        journal.note(_TAKES, _NOTED.dump_json(dict(takes)).decode())


def _noted(journal: Journal) -> dict[str, NotedTakes]:
    try:
        return _NOTED.validate_json(journal.noted(_TAKES) or "{}")
    except ValidationError:
        return {}


class DeletedTakes:
    """The outputs of earlier generations that were deleted, by a journal.

    One that was saved again since is not deleted.
    """

    def __init__(self, journal: Journal) -> None:
        try:
            self._times = _TIMES.validate_json(journal.noted(_DELETED) or "{}")
        except ValidationError:
            self._times = {}

    def has(self, identity: str, saved: Saved) -> bool:
        deleted_at = self._times.get(_output(identity, saved))
        return deleted_at is not None and saved.at <= deleted_at

    def without(self, job: Job) -> Job:
        """Return a job without its deleted outputs."""
        outputs = {
            index: saved
            for index, saved in job.outputs.items()
            if not self.has(job.identity, saved)
        }
        return replace(job, outputs=outputs)


def note_deleted(journal: Journal, identity: str, saved: Saved, *, now: float) -> None:
    """Store that an output of an earlier generation is about to be deleted."""
    try:
        times = _TIMES.validate_json(journal.noted(_DELETED) or "{}")
    except ValidationError:
        times = {}
    times[_output(identity, saved)] = max(now, saved.at)
    journal.note(_DELETED, _TIMES.dump_json(times).decode())


def _output(identity: str, saved: Saved) -> str:
    return f"{identity}/{saved.index}"
