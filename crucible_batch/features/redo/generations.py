"""The next generations of a plan's jobs: asked for instead of those whose outputs are rejected.

Which generation a job is, is decided by one rule (``rule.py``), whether its outputs are in the
journal when a run is planned, or are saved during the run. A run whose journal is lost asks for
generation 0, finds what it bought, and adds the next one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from types import MappingProxyType

from crucible_batch.core.events import Saved
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.identity import content_of, of_generation
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.ports import Derivation
from crucible_batch.errors import UserError
from crucible_batch.features.redo.manifest_keys import redo_keys
from crucible_batch.features.redo.rejections import Rejection, Rejections, digest_of
from crucible_batch.features.redo.rule import (
    FIXED_SEED,
    REDO_LIMIT,
    SAME_OUTPUT,
    Choice,
    KnownGeneration,
    RedoEnd,
    choose,
)
from crucible_batch.journal import Journal
from crucible_batch.manifest import EntryExpander, JobSpec, Manifest, expand
from crucible_batch.planner import OutputKey, Planner, ReadImage
from crucible_batch.runs.generations import NotedTakes, note_takes
from crucible_batch.runs.later_jobs import LaterJobs, NextStage

_SEED = "seed"


def fixed_seed(planned: PlannedJob) -> str | None:
    """Return the parameter that fixes the seed of a job; None if there is none.

    One that follows from the identity is another one in each generation.
    """
    given = (name for name in planned.params if name not in planned.markers)
    return next((name for name in given if _SEED in name.lower().split(".")), None)


class NextGenerations:
    """The jobs of one plan, each of the generation that is asked for.

    ``later`` are the other jobs that may be added to the plan. Only jobs that a rejection may be
    about are kept in memory.
    """

    def __init__(
        self,
        later: LaterJobs | None,
        rejections: Rejections,
        most: int,
        journal: Journal | None,
    ) -> None:
        self._later = later
        self._rejections = rejections
        self._most = most
        self._journal = journal
        self._planner: Planner
        """Set by ``begin``."""
        self._derivation: Derivation | None = None
        """What adds the other jobs during the run; set by ``derivation``."""
        self._asked: dict[str, PlannedJob] = {}
        """The jobs that a rejection may be about, as they are in the plan, by content."""

    @classmethod
    def of(
        cls,
        later: LaterJobs | None,
        manifest: Manifest,
        lines: Sequence[Rejection],
        journal: Journal | None,
    ) -> NextGenerations:
        named = {line.name for line in lines}
        names: set[str] = set()
        if named:
            made = (spec.name for spec in expand(manifest) if isinstance(spec, JobSpec))
            names = named.intersection(made)
        most = redo_keys(manifest.header).redo.max
        return cls(later, Rejections(lines, names), most, journal)

    # -- while the plan is made

    @property
    def owners(self) -> Mapping[str, OutputKey]:
        if self._later is None:
            return {}
        return {content_of(identity): key for identity, key in self._later.owners.items()}

    @property
    def expander(self) -> EntryExpander | None:
        return None if self._later is None else self._later.expander

    def begin(self, planner: Planner) -> None:
        self._planner = planner
        if self._later is not None:
            self._later.begin(planner)

    def reader(self, read: ReadImage) -> ReadImage:
        return read if self._later is None else self._later.reader(read)

    def expected_names(self) -> Iterator[str]:
        return iter(()) if self._later is None else self._later.expected_names()

    def next_stages(self, left_out: Set[str] = frozenset()) -> tuple[NextStage, ...]:
        return () if self._later is None else self._later.next_stages(left_out)

    def take(
        self,
        planned: PlannedJob,
        makers: Mapping[int, str] | None = None,
        rejected: Mapping[int, str] = MappingProxyType({}),
    ) -> PlannedJob | None:
        """Note a job, and return the generation of it that belongs into the plan.

        Raises ``UserError`` if a person has rejected its output, and another one would be the same
        picture. If a check has, only this job ends.
        """
        if not self._is_concerned(planned):
            return self._pass_on(planned, makers, rejected)
        choice = self._choice(planned)
        if choice.end is RedoEnd.FIXED_SEED and not choice.last.is_of_check:
            raise _fixed(planned, choice)
        return self._replaced(planned, choice)

    def _is_concerned(self, planned: PlannedJob) -> bool:
        is_real = planned.obstacle is None and not planned.is_expected
        return is_real and bool(self._rejections.of(planned.name))

    def _pass_on(
        self,
        planned: PlannedJob,
        makers: Mapping[int, str] | None = None,
        rejected: Mapping[int, str] = MappingProxyType({}),
    ) -> PlannedJob | None:
        return planned if self._later is None else self._later.take(planned, makers, rejected)

    def _replaced(self, planned: PlannedJob, choice: Choice) -> PlannedJob | None:
        """Note the generation of a job that is chosen, and return it if it belongs into the plan.

        An index may have an output of an earlier one.
        """
        chosen = self._note(planned, choice)
        makers: dict[int, str] | None = None
        if any(number != choice.generation for number in choice.current.values()):
            makers = {
                index: of_generation(planned.identity, number)
                for index, number in choice.current.items()
            }
        rejected = {
            index: _line(line)
            for (index, _), line in choice.rejected.items()
            if index not in choice.current and self._is_to_buy(chosen)
        }
        return self._pass_on(chosen, makers, rejected)

    def _is_to_buy(self, planned: PlannedJob) -> bool:
        """Whether no attempt at a job was begun."""
        known = None if self._journal is None else self._journal.known(planned.identity)
        return planned.obstacle is None and (known is None or not known[1].attempts)

    def _counting(self, identity: str, choice: Choice) -> Iterator[Saved]:
        """Yield the outputs of a job that count, in order."""
        assert self._journal is not None  # it has them
        for index, number in sorted(choice.current.items()):
            found = self._journal.known(of_generation(identity, number))
            assert found is not None
            saved = found[1].outputs.get(index) or found[1].missed.get(index)
            if saved is not None:
                yield saved

    def _note(self, planned: PlannedJob, choice: Choice) -> PlannedJob:
        """Return the generation of a job that is chosen, which is in the plan from now on."""
        content = content_of(planned.identity)
        if choice.end is None:
            chosen = self._planner.of_generation(planned, choice.generation)
        else:
            chosen = replace(
                planned,
                identity=of_generation(content, choice.generation + 1),
                images={},
                obstacle=_obstacle(planned, choice),
            )
        self._asked[content] = chosen
        return chosen

    def _choice(self, planned: PlannedJob) -> Choice:
        lines = self._rejections.of(planned.name)
        generations = list(self._known(planned.identity))
        if any(known.is_gone for known in generations):
            lines = [line for line in lines if not self._is_of_other(line, planned)]
        return choose(
            lines,
            generations,
            most=self._most,
            name=planned.name,
            has_fixed_seed=fixed_seed(planned) is not None,
        )

    def _known(self, identity: str) -> Iterator[KnownGeneration]:
        """Yield what the journal has of each generation of a job, from 0, up to the first that was
        never asked for."""
        number = 0
        while self._journal is not None:
            found = self._journal.known(of_generation(identity, number))
            if found is None or found[0].obstacle is not None:
                return
            yield _known_of(found[1])
            number += 1

    def _is_of_other(self, line: Rejection, planned: PlannedJob) -> bool:
        """Whether the bytes of a line are those of another job, such as one with this name before
        it was changed."""
        assert self._journal is not None
        content = content_of(planned.identity)
        return any(
            content_of(subject) != content
            and isinstance(event, Saved)
            and line.is_of(event.index, digest_of(event))
            for subject, event in self._journal.events()
        )

    # -- during the run

    def derivation(self, journal: Journal) -> NextGenerations:
        """Return the generations as the engine of a run sees them, whose journal this is."""
        self._journal = journal
        if self._later is not None:
            self._derivation = self._later.derivation(journal)
        self._note_takes(journal)
        return self

    def derive(self, planned: PlannedJob, saved: Saved) -> list[PlannedJob]:
        """Return the next generation of a job whose output is rejected, or else the jobs that are
        made from that output."""
        content = content_of(planned.identity)
        asked = self._asked.get(content)
        if asked is None:
            return self._derived(planned, saved)
        if asked.identity != planned.identity:
            return []
        choice = self._choice(planned)
        if choice.generation > planned.generation or choice.end is not None:
            # From its outputs that count, jobs are made before another generation has its name.
            made = [
                each
                for output in self._counting(planned.identity, choice)
                if choice.current[output.index] == planned.generation
                for each in self._derived(planned, output)
            ]
            self._replaced(planned, choice)
            return [*made, self._asked[content]]
        if choice.current.get(saved.index) != planned.generation:
            return []
        return self._derived(planned, saved)

    def _derived(self, planned: PlannedJob, saved: Saved) -> list[PlannedJob]:
        if self._derivation is None:
            return []
        made = list[PlannedJob]()
        for each in self._derivation.derive(planned, saved):
            taken: PlannedJob | None = each
            if self._is_concerned(each):
                taken = self._replaced(each, self._choice(each))
            if taken is not None:
                made.append(taken)
        return made

    def counts(self, planned: PlannedJob, saved: Saved) -> bool:
        """Whether an output of an earlier generation counts."""
        asked = self._asked.get(content_of(planned.identity))
        if asked is None or asked.identity == planned.identity:
            return False
        return self._choice(asked).current.get(saved.index) == planned.generation

    def gives_way(self, planned: PlannedJob) -> bool:
        """Whether a line rejects an output of this generation."""
        return any(
            line.name == planned.name and line.generation == planned.generation
            for line in self._rejections.of(planned.name)
        )

    def arrange(self) -> None:
        if self._derivation is not None:
            self._derivation.arrange()
        assert self._journal is not None
        self._note_takes(self._journal)

    def _note_takes(self, journal: Journal) -> None:
        """Store which outputs count and which are rejected, for reports.

        If that fails, the report of this run shows other takes; the next run stores it.
        """
        takes = dict[str, NotedTakes]()
        for content, asked in self._asked.items():
            choice = self._choice(asked)
            current = {
                index: number
                for index, number in choice.current.items()
                if number != asked.generation
            }
            rejected = [
                (index, number, line.reason)
                for (index, number), line in sorted(choice.rejected.items())
            ]
            if current or rejected:
                takes[content] = NotedTakes(current, rejected)
        try:
            note_takes(journal, takes)
        except sqlite3.Error:
            return


def _known_of(job: Job) -> KnownGeneration:
    outputs = {index: digest_of(saved) for index, saved in {**job.missed, **job.outputs}.items()}
    return KnownGeneration(
        outputs,
        is_complete=job.phase is Phase.SUCCEEDED,
        is_gone=job.phase is Phase.VANISHED and _may_have_had_outputs(job),
    )


def _may_have_had_outputs(job: Job) -> bool:
    """Whether a user may have seen outputs of a job that this journal has not.

    One that was bought here and then lost by the gateway never had any, so no line is about them.
    """
    return bool(job.attempts) and job.current.reused


def _line(rejected: Rejection) -> str:
    words = f"line {rejected.number} of {rejected.file}"
    return f"{words} ({rejected.reason})" if rejected.reason else words


def _fixed(planned: PlannedJob, choice: Choice) -> UserError:
    seed = fixed_seed(planned)
    return UserError(
        f"{planned.name} is rejected by {_line(choice.last)}, and its seed is fixed"
        f" ({seed}): the same picture would come again",
        hint=f"set another {seed}, or leave it out; or let each generation have its own, with"
        " `seeds: derived`",
    )


def _obstacle(planned: PlannedJob, choice: Choice) -> ErrorInfo:
    line = _line(choice.last)
    match choice.end:
        case RedoEnd.SAME_OUTPUT:
            return ErrorInfo(
                SAME_OUTPUT,
                f"generation {choice.generation} is the same picture as one that {line} rejects",
                hint="change the prompt or a parameter, or set a seed",
            )
        case RedoEnd.FIXED_SEED:
            return ErrorInfo(
                FIXED_SEED,
                f"{line} rejects it, and its seed is fixed ({fixed_seed(planned)}): the same"
                " picture would come again",
                hint="set another seed, or leave it out",
            )
        case _:
            message = f"{line} rejects it, and redo.max is 0"
            if choice.generation:
                times = "once" if choice.generation == 1 else f"{choice.generation} times"
                message = f"it was bought again {times}, and {line} rejects its newest output"
            return ErrorInfo(
                REDO_LIMIT,
                message,
                hint="change its prompt, raise redo.max in the manifest, or take one of its"
                " rejections back",
            )
