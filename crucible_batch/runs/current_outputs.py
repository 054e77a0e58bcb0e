"""Which outputs of a run count: of each number, that of one generation of the job."""

from __future__ import annotations

from collections.abc import Iterator

from crucible_batch.core.events import Saved
from crucible_batch.core.identity import content_of, generation_of
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.journal import Journal
from crucible_batch.runs.generations import generations_of


class CurrentOutputs:
    """The outputs of a journal that count, by what it has when they are asked for first."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._generations = generations_of(journal)

    def all(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Saved]]:
        """Yield them in manifest order, each with the generation of its job."""
        for planned, job in self._journal.jobs(rule):
            found = self._generations(planned)
            for one, state in [*found.others, (planned, job)]:
                for index, saved in sorted(state.outputs.items()):
                    if found.current.get(index, planned.generation) == one.generation:
                        yield one, saved

    def has(self, identity: str, index: int) -> bool:
        """Whether the output of a job with this number counts, once it is saved."""
        planned = self._journal.planned_content(content_of(identity))
        if planned is None:
            return False
        counts = self._generations(planned).current.get(index, planned.generation)
        return counts == generation_of(identity)
