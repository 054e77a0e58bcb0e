"""The later stages of a plan: jobs that are made from the outputs of other jobs.

Which jobs an output leads to is decided in one way, by the expansion, whether the output is in the
journal when a run is planned, or is saved during the run. So the next run plans the jobs that this
run added, with the same identities.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from crucible_batch.core.events import Saved
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.output_path import is_picture_path, is_planned_path
from crucible_batch.core.plan import (
    DERIVED_JOB_INVALID,
    InputImage,
    PlannedJob,
    SourceOutput,
    placeholder_identity,
)
from crucible_batch.core.prices import Shape, shape_of
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.errors import Problem, UserError
from crucible_batch.features.stages.entry import DerivingEntry
from crucible_batch.features.stages.expander import StageExpander
from crucible_batch.features.stages.note import (
    NotedEntry,
    PickedStage,
    note_entries,
    note_stages,
)
from crucible_batch.features.stages.rule import (
    SOURCE_FAILED,
    missing_outputs,
    source_failed,
)
from crucible_batch.features.stages.sources import expected_output
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.manifest import Manifest, SourceFile, SourceJob
from crucible_batch.object_url import ObjectUrl
from crucible_batch.planner import OutputKey, Planner, ReadImage
from crucible_batch.runs.later_jobs import NextStage

logger = logging.getLogger(__name__)

_NEEDS_FILE = {Phase.READY, Phase.PREPARING}

_Order: TypeAlias = "tuple[object, ...]"


class SavedOutputs:
    """The outputs of planned jobs, by the journal of a run directory; none without a journal.

    ``url`` is where they are, if that is an object store. There, the journal is trusted to know
    what exists, and their files are never opened: ``image_loader`` reads them from the store.
    """

    def __init__(
        self, directory: Path = Path(), journal: Journal | None = None, url: ObjectUrl | None = None
    ) -> None:
        # It imports Pillow.
        from crucible_batch.outputs import OutputStore  # noqa: PLC0415

        self._journal = journal
        self.run_dir = directory
        self.url = url
        self._store = None
        if url is None:
            self._store = OutputStore(directory)
        self._directory = directory.resolve()

    def job(self, planned: PlannedJob) -> Job:
        if self._journal is None:
            return Job(planned.identity)
        return self._journal.job(planned, RetryRule())

    def of(self, planned: PlannedJob) -> list[Saved]:
        """Return the saved outputs of a job, in order.

        Those at a path where no output can be are left out.
        """
        if self._journal is None:
            return []
        found = self.job(planned).outputs.values()
        ours = [each for each in found if _is_ours(planned, each)]
        return sorted(ours, key=lambda each: each.index)

    def owners(self) -> dict[str, OutputKey]:
        """Return the outputs from which the jobs of the former plan were made, by identity."""
        if self._journal is None:
            return {}
        return {
            each.identity: (each.source.name, each.source.index)
            for each in self._journal.plan()
            if each.obstacle is None and each.source is not None
        }

    def file(self, saved: Saved) -> Path:
        return self._directory / saved.path

    def is_there(self, saved: Saved) -> bool:
        """Whether the file is at its path, and not behind a link."""
        return self._store is None or self._store.has(saved.path, saved.byte_size)


def _is_ours(planned: PlannedJob, saved: Saved) -> bool:
    """Whether an output may be an input image, by its path in the journal, which is untrusted.

    A job that was renamed keeps its outputs where they are. Their bytes are compared with the
    digest before they are sent, so a forged journal gives away no file that its author doesn't
    have.
    """
    is_planned = is_planned_path(planned.output, saved.index, saved.sha256, saved.path)
    return is_planned or is_picture_path(saved.path)


@dataclass(slots=True)
class _Expected:
    """What is expected of one entry with ``from``."""

    jobs: int = 0
    shapes: Counter[Shape] = field(default_factory=Counter)
    uploads: set[tuple[str, int]] = field(default_factory=set)
    is_after_waiting: bool = False

    def add(self, planned: PlannedJob, source: SourceOutput) -> None:
        self.jobs += 1
        self.shapes[shape_of(planned)] += 1
        self.uploads.add((source.name, source.index))


class DerivedJobs:
    """The later stages of one plan.

    It is filled while the plan is made (``begin``, ``take``), continued during the run
    (``derivation``, ``derive``), and brought into order at its end (``arrange``). The planner and
    the expander remember the plan's names, paths and identities, so it keeps both.
    """

    def __init__(self, manifest: Manifest, run_id: str, saved: SavedOutputs) -> None:
        self._manifest = manifest
        self._run_id = run_id
        self._saved = saved
        self._images: dict[Path, InputImage | str] = {}
        """The outputs that are input images, by their file; ``reader`` finds them here."""
        self._planned: dict[str, PlannedJob] = {}
        """The jobs of the plan, and those that are only expected (``is_expected``), by name."""
        self._makers: dict[str, Mapping[int, str]] = {}
        """The identities of the jobs whose outputs count, by name and number, where these are not
        all of the job in the plan.
        """
        self._expected: dict[int, _Expected] = {}
        """What is expected of an entry with ``from``, by its index in the manifest."""
        self._waiting_names: set[str] = set()
        """The expected jobs of entries that wait for picks, and those made from their outputs."""
        self._blocked: list[PlannedJob] = []
        """The jobs that can't be made, each with its reason as the obstacle."""
        self._entries: dict[str, int] = {}
        """The entries of blocked jobs that the expansion doesn't know."""
        self._derived: set[OutputKey] = set()
        """The outputs whose jobs were made already, so that ``derive`` makes each only once."""
        self.owners = saved.owners()
        """Of equal jobs, a plan keeps that which an earlier run had, not the first of the manifest:
        see the planner.
        """
        self._planner: Planner
        """Set by ``begin``."""
        self._journal: Journal
        """Set by ``derivation``."""
        self.expander = StageExpander(self.outputs_of, self.owners_first, saved.run_dir)

    def begin(self, planner: Planner) -> None:
        """Start the plan. To be called before ``take``."""
        self._planner = planner

    # -- while the plan is made

    def reader(self, read: ReadImage) -> ReadImage:
        """Return a reader of images that knows the outputs; ``read`` reads all other images."""
        return lambda path: self._images[path] if path in self._images else read(path)

    def outputs_of(self, name: str) -> Sequence[SourceFile] | None:
        """Return the outputs of a job, as the expander asks for them."""
        planned = self._planned.get(name)
        if planned is None or planned.obstacle is not None:
            return None
        if planned.is_expected:
            return [expected_output(name, 0)]
        saved = self._outputs_of(planned)
        if not saved:
            return [expected_output(name, 0)]
        return [self._source_file(name, each) for each in saved]

    def _outputs_of(self, planned: PlannedJob) -> Sequence[Saved]:
        makers = self._makers.get(planned.name)
        if makers is None:
            return self._saved.of(planned)
        return [
            saved
            for number, identity in sorted(makers.items())
            for saved in self._saved.of(replace(planned, identity=identity))
            if saved.index == number
        ]

    def owners_first(self, sources: Sequence[SourceJob]) -> Sequence[SourceJob]:
        """Return the sources of an entry, as the expander asks for their order.

        It is that of the manifest. But if several have the same bytes, those without jobs in the
        former plan are last: they were saved later, and of equal jobs the first is kept.
        """
        if not self.owners:
            return sources
        digests: dict[str, set[str]] = {}
        for source in sources:
            planned = self._planned.get(source.name)
            if planned is None:
                digests[source.name] = set()
            else:
                digests[source.name] = {each.sha256 for each in self._outputs_of(planned)}
        count = Counter(digest for each in digests.values() for digest in each)
        owning = {name for name, _ in self.owners.values()}

        def is_later(source: SourceJob) -> bool:
            return source.name not in owning and any(
                count[digest] > 1 for digest in digests[source.name]
            )

        return sorted(sources, key=is_later)

    def _source_file(self, name: str, saved: Saved) -> SourceFile:
        # It imports Pillow.
        from crucible_batch.input_images import input_of_output  # noqa: PLC0415

        file = self._saved.file(saved)
        self._images[file] = input_of_output(file, saved.sha256, saved.byte_size, saved.mime_type)
        self._derived.add((name, saved.index))
        return SourceFile(saved.index, saved.path, file, saved.sha256)

    def take(
        self,
        planned: PlannedJob,
        makers: Mapping[int, str] | None = None,
        rejected: Mapping[int, str] = MappingProxyType({}),
    ) -> PlannedJob | None:
        """Note a job, in place of one with its name, and return it if it belongs into the plan.

        ``makers`` has the identity of the job whose output counts, by number, if not all are of
        this job. An entry that picks an output in ``rejected`` has a problem.
        """
        if makers is not None:
            self._makers[planned.name] = makers
        if rejected:
            self.expander.rejected[planned.name] = rejected
        if planned.obstacle is not None:
            self._planned.pop(planned.name, None)
            self._blocked.append(planned)
            return None
        self._planned[planned.name] = planned
        if planned.source is None:
            return planned
        if not planned.is_expected:
            if self._can_start(planned):
                return planned
            missing = replace(planned.source, path=None, sha256=None)
            self._planned[planned.name] = replace(planned, source=missing)
        self._expect(planned, planned.source)
        return None

    def _can_start(self, planned: PlannedJob) -> bool:
        """Whether the source's file is there, or not needed any more.

        Otherwise it is downloaded again first.
        """
        assert planned.source is not None
        source, path = self._planned[planned.source.name], planned.source.path
        saved = next((each for each in self._outputs_of(source) if each.path == path), None)
        job = self._saved.job(planned)
        if saved is None or job.phase not in _NEEDS_FILE or self._saved.is_there(saved):
            return True
        self._derived.discard((planned.source.name, planned.source.index))
        return False

    def _expect(self, planned: PlannedJob, source: SourceOutput) -> None:
        entry = self._entry_of(planned.name)
        expected = self._expected.setdefault(entry, _Expected())
        expected.add(planned, source)
        is_after = source.name in self._waiting_names
        expected.is_after_waiting = expected.is_after_waiting or is_after
        if is_after or any(
            stage.is_waiting for stage in self.expander.stages if stage.entry.index == entry
        ):
            self._waiting_names.add(planned.name)

    def _entry_of(self, name: str) -> int:
        job = self.expander.jobs_so_far.named(name)
        if job is None:
            return self._entries.get(name, -1)
        return job.entry

    def expected_names(self) -> Iterator[str]:
        """Yield the names of the jobs that the run may add to the plan."""
        return (planned.name for planned in self._planned.values() if planned.is_expected)

    def next_stages(self, left_out: Set[str] = frozenset()) -> tuple[NextStage, ...]:
        """Return what each entry with ``from`` may add to the plan, if nothing is made from the
        jobs ``left_out``."""
        found, every = [], self._expected_without(left_out)
        for stage in self.expander.stages:
            expected = every.get(stage.entry.index, _Expected())
            found.append(
                NextStage(
                    name=stage.entry.job.name,
                    sources=stage.pattern,
                    jobs=expected.jobs,
                    shapes=dict(expected.shapes),
                    uploads=len(expected.uploads),
                    picks=stage.picks_file,
                    is_waiting=stage.is_waiting,
                    is_after_waiting=expected.is_after_waiting,
                    choices=len(stage.sources) if stage.is_waiting else 0,
                )
            )
        return tuple(found)

    def _expected_without(self, left_out: Set[str]) -> dict[int, _Expected]:
        if not left_out:
            return self._expected
        found, without = dict[int, _Expected](), set(left_out)
        for planned in self._planned.values():
            if planned.source is None or not planned.is_expected:
                continue
            if planned.source.name in without:
                without.add(planned.name)
                continue
            entry = self._entry_of(planned.name)
            is_after_waiting = self._expected[entry].is_after_waiting
            expected = found.setdefault(entry, _Expected(is_after_waiting=is_after_waiting))
            expected.add(planned, planned.source)
        return found

    def derivation(self, journal: Journal) -> DerivedJobs:
        """Return the later stages as the engine of a run sees them, whose journal this is."""
        self._journal = journal
        return self

    # -- during the run

    def derive(self, planned: PlannedJob, saved: Saved) -> list[PlannedJob]:
        """Return the jobs that are made from an output, the first time that it is given.

        They are not in the plan yet. None are made from a job that left the plan: it is collected,
        and another may have its name. A job that can't be made is noted with its reason, for the
        end of the run.
        """
        name, known = planned.name, self._planned.get(planned.name)
        if known is None or known.identity != planned.identity:
            return []
        if (name, saved.index) in self._derived or not _is_ours(planned, saved):
            return []
        found: list[PlannedJob] = []
        for stage, specs in self.expander.derive(name, self._source_file(name, saved)):
            entry = stage.entry.index
            for item in self._planner.plan(specs):
                if isinstance(item, Problem):
                    self._blocked.append(self._invalid(planned, saved, entry, item))
                elif item.obstacle is not None:
                    self._blocked.append(item)
                elif not self._saved.is_there(saved):
                    self._blocked.append(self._lost(item, saved))
                else:
                    self._planned[item.name] = item
                    found.append(item)
        return found

    def _invalid(
        self, source: PlannedJob, saved: Saved, entry: int, problem: Problem
    ) -> PlannedJob:
        """Return a blocked job in place of one that has no name."""
        name = f"{source.name}/{saved.index}"
        identity = placeholder_identity(
            self._manifest.name, self._run_id, str(entry), name, problem.message
        )
        self._entries[name] = entry
        return PlannedJob(
            position=0,
            identity=identity,
            name=name,
            workflow_id=source.workflow_id,
            params={},
            source=SourceOutput(source.name, saved.index, saved.path, saved.sha256),
            obstacle=ErrorInfo(DERIVED_JOB_INVALID, str(problem), problem.hint),
        )

    def _lost(self, planned: PlannedJob, saved: Saved) -> PlannedJob:
        """Return a blocked job in place of one whose file was lost during this run.

        Its source had not saved all outputs yet. The next run notices that, and downloads the file
        again.
        """
        identity = placeholder_identity(
            self._manifest.name, self._run_id, planned.name, "lost", saved.path
        )
        error = ErrorInfo(
            SOURCE_FAILED, f"{saved.path} is no longer on disk", "run the same command again"
        )
        return replace(planned, identity=identity, images={}, obstacle=error)

    def counts(self, _planned: PlannedJob, _saved: Saved) -> bool:
        """Return False: jobs that left the plan have no outputs that count."""
        return False

    def gives_way(self, _planned: PlannedJob) -> bool:
        """Return False: what is at the path of an output stays, and the job fails."""
        return False

    # -- at the end of the run

    def arrange(self) -> None:
        """Bring the journal's plan into manifest order, with the jobs that are blocked.

        If that fails, it stays in the order in which jobs were added.
        """
        try:
            self._arrange(self._journal)
        except (sqlite3.Error, UserError) as error:
            logger.warning(
                "the report's jobs are not in manifest order (%s); the next run restores it", error
            )

    def _arrange(self, journal: Journal) -> None:
        self._saved = SavedOutputs(journal.path.parents[1], journal, self._saved.url)
        blocked = [*self._blocked, *self._without_source()]
        real = {planned.name for planned in self._planned.values() if not planned.is_expected}
        ordered = [
            (self._order_of(planned), planned)
            for planned in journal.plan()
            if planned.obstacle is None
        ]
        ordered += [
            (self._order_of(planned), planned) for planned in blocked if planned.name not in real
        ]
        ordered.sort(key=lambda pair: (pair[0], pair[1].obstacle is not None))
        with PlanFile.temporary() as plan:
            plan.fill(replace(planned, position=at) for at, (_, planned) in enumerate(ordered))
            journal.adopt(plan)
        entries = [entry for (entry, *_), _ in ordered]
        note_stages(
            journal,
            [self._noted(stage, entries) for stage in self.expander.stages if stage.picks_file],
        )
        patterns = {stage.entry.index: stage.pattern for stage in self.expander.stages}
        note_entries(
            journal,
            [
                NotedEntry(
                    entry.job.name, _jobs_above(entry.index, entries), patterns.get(entry.index)
                )
                for entry in self._manifest.jobs
            ],
        )

    def _noted(self, stage: DerivingEntry, entries: Sequence[object]) -> PickedStage:
        """Return a stage with picks. ``entries`` are those of the plan's jobs, in their order."""
        pick, before = stage.picks_file or "", _jobs_above(stage.entry.index, entries)
        # Links are not followed here.
        file = Path(os.path.abspath(self._manifest.directory / pick))  # noqa: PTH100
        return PickedStage(
            stage.entry.job.name, stage.pattern, pick, file, before, stage.is_waiting
        )

    def _order_of(self, planned: PlannedJob) -> _Order:
        """Return where a job stands.

        First by its entry; then by its position, or by the place of its source and the output.
        """
        entry, source = self._entry_of(planned.name), planned.source
        if source is None:
            return (entry, planned.position)
        of = self._planned.get(source.name)
        order: _Order = ()
        if of is not None:
            order = self._order_of(of)
        return (entry, order, source.index, planned.position)

    def _without_source(self) -> Iterator[PlannedJob]:
        """Yield the jobs of outputs that their sources do not have."""
        gone: set[str] = {planned.name for planned in self._blocked}
        for stage in self.expander.stages:
            if stage.is_waiting:
                continue
            for source in self.expander.jobs_so_far.matching(stage.pattern, stage.entry.index):
                expected = stage.expected(source)
                planned = self._planned.get(source.name)
                if source.name in gone:
                    lost = [(index, source_failed(source.name, None)) for index in expected]
                elif planned is None or planned.is_expected:
                    lost = []
                else:
                    job = self._saved.job(planned)
                    lost = list(
                        missing_outputs(source.name, job, expected, is_picked=stage.has_picks)
                    )
                for index, error in lost:
                    for item in self._planner.plan(stage.expected_jobs(source, index)):
                        if isinstance(item, PlannedJob):
                            gone.add(item.name)
                            self._entries[item.name] = stage.entry.index
                            yield replace(item, images={}, obstacle=error)


def _jobs_above(entry: int, entries: Sequence[object]) -> int:
    """Return how many of the plan's jobs, by their entries, are of entries above this one."""
    return sum(1 for each in entries if isinstance(each, int) and each < entry)


def derived_jobs(
    manifest: Manifest,
    run_id: str,
    directory: Path = Path(),
    journal: Journal | None = None,
    url: ObjectUrl | None = None,
) -> DerivedJobs:
    """Return the later stages of a manifest, by the outputs that ``SavedOutputs`` finds."""
    return DerivedJobs(manifest, run_id, SavedOutputs(directory, journal, url))
