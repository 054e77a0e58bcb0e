"""The merge of shards into their main run directory: outputs, receipts, events and report.

It needs no gateway and no key.

Outputs and receipts are complete in the main run directory before one transaction of its journal
adds the events of all shards, and the note that they are merged. So a merge that was stopped at any
point is repeated by the same command: what is there already is found, and events are never added
twice.

If the journal of the main run directory was lost, it is restored from those of the shards, with
their jobs and all that was bought for them. What the main run directory had bought before is in its
``receipts.jsonl``, from which the next run of the manifest restores it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from crucible_batch.core.credits import ZERO
from crucible_batch.core.events import Event, Relocated, Saved
from crucible_batch.core.job import ALLOWED_PHASES, Job
from crucible_batch.core.output_path import is_planned_path, relocated_path
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.receipts import receipts_of
from crucible_batch.core.redaction import clean, listed
from crucible_batch.core.sharding import OutstandingShards
from crucible_batch.errors import ExitCode, RunDirectoryError, UserError
from crucible_batch.features.shards.directories import (
    MergeSources,
    ShardDirectory,
    allow_locks,
    find_sources,
    has_plans,
    is_lost,
    lock_abandoned,
    read_shard,
)
from crucible_batch.features.shards.divided_plan import is_untouched
from crucible_batch.features.shards.merge_rule import Abandoned, MergeChoice, choose_shards
from crucible_batch.features.shards.merge_transaction import DAMAGED, ShardMerge
from crucible_batch.features.shards.period_budget import settle_merged
from crucible_batch.features.shards.stored_merge import (
    StoredShards,
    binding_of,
    bring_shards,
    refuse_unfinished,
    url_of,
)
from crucible_batch.journal import Binding, Journal, MergedEvents, PlanFile, lock_run_directory
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import (
    Adoption,
    OutputError,
    OutputStore,
    Receipts,
    ReceiptsByJob,
    adopt_output,
)
from crucible_batch.report import ReportHead
from crucible_batch.runs.connecting import current_settings
from crucible_batch.runs.object_runs import note_url
from crucible_batch.runs.outstanding_shards import ShardJournalError, shard_errors, unknown_shards
from crucible_batch.runs.paths import relative_to_here, state_directory_of
from crucible_batch.runs.report_note import is_report_due
from crucible_batch.runs.reporting import write_results
from crucible_batch.runs.run_journal import (
    directory_outputs_url,
    journal_outputs_url,
    refuse_if_pruned,
)
from crucible_batch.runs.shard_notes import noted_shards
from crucible_batch.saved_plan import SavedPlan
from crucible_batch.settings import Settings
from crucible_batch.shell_command import shell_command


@dataclass(slots=True)
class OutputAdopter:
    """Brings outputs and receipts of shards into the main run directory.

    May be repeated: what is there is left alone. ``outputs`` counts the outputs that are there
    then, ``absent`` are the others. ``relocated`` are the events of outputs whose place another
    job's output has. Shards with logs have saved theirs under their final names.
    """

    journal: Journal
    directory: Path
    events: MergedEvents
    now: float
    outputs: int = 0
    absent: list[str] = field(default_factory=list)
    relocated: list[tuple[str, Event]] = field(default_factory=list)

    def adopt(self, shards: Iterable[ShardDirectory]) -> None:
        """Bring the outputs of shards whose events were collected, and the receipts of their jobs.

        Raises ``UserError`` if another file is at the path of an output or the temporary directory
        is full, ``ShardJournalError`` if a journal has an output at a path that its job doesn't
        have, and ``ResultsError`` if the directory can't be written.
        """
        with (
            closing(Receipts(self.directory)) as receipts,
            closing(ReceiptsByJob(receipts.read())) as known,
        ):
            for shard in shards:
                for job, moved in self._adopted_jobs(shard):
                    there = known.of(job.identity)
                    for receipt in receipts_of(job, moved):
                        if receipt not in there:
                            receipts.add(receipt)

    def _adopted_jobs(self, shard: ShardDirectory) -> Iterator[tuple[Job, dict[int, str]]]:
        with shard_errors(shard.path), Journal.read(shard.path) as journal:
            for planned, job in journal.started_jobs(shard.terms.rule):
                ours = self.journal.planned_job(planned.identity)
                if ours is not None:
                    yield job, dict(self._adopted(shard, ours, job))

    def _adopted(
        self, shard: ShardDirectory, planned: PlannedJob, job: Job
    ) -> Iterator[tuple[int, str]]:
        """Yield the index and path of each output that is in the main run directory now."""
        for index, saved in sorted(job.outputs.items()):
            # A journal may have been edited: it can only name the file that the plan itself would
            # write.
            if not is_planned_path(planned.output, saved.index, saved.sha256, saved.path):
                raise ShardJournalError(
                    f"the journal in {shard.path} has an output of job {clean(planned.name)} at a"
                    f" path that the job doesn't have: {clean(saved.path, 200)}",
                    hint=DAMAGED,
                )
            path = self._bring(shard, job, saved)
            if path is None:
                self.absent.append(saved.path)
                continue
            self.outputs += 1
            if path != saved.path:
                self.relocated.append(
                    (job.identity, Relocated(at=self.now, index=index, path=path))
                )
            yield index, path

    def _bring(self, shard: ShardDirectory, job: Job, saved: Saved) -> str | None:
        """Return the path at which the output is now; None if the shard's directory lacks it."""
        if shard.has_log:
            return saved.path
        for path in self._places(job, saved):
            with contextlib.suppress(OutputError):
                found = adopt_output(shard.path, saved.path, self.directory, path, saved.sha256)
                if found is Adoption.ABSENT:
                    return None
                return path
        raise UserError(
            f"{self.directory / path} is another file than the output of shard"
            f" {shard.found.shard} at that path",
            hint="move it away and run the same command again; nothing was merged yet, and no file"
            " was replaced",
        )

    def _places(self, job: Job, saved: Saved) -> Iterator[str]:
        """Yield the path of an output; then another one, if the output there is another job's."""
        yield saved.path
        owners = {*self.journal.saved_at(saved.path), *self.events.saved_at(saved.path)}
        if owners - {job.identity} and job.phase in ALLOWED_PHASES[Relocated]:
            yield relocated_path(saved.path, saved.sha256)


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The result of a merge.

    ``merged`` and ``abandoned`` are the numbers of the shards of this call. ``is_repeated``: all
    shards were merged before, and only the report was written again. ``outputs`` counts the outputs
    of the merged shards, and ``absent`` are those that their directories don't have as recorded:
    they are not merged, and downloaded by the next run. ``report`` is None if no run has begun in
    any of the directories. ``page`` is the path of ``report.html``; None if it was turned off or
    couldn't be written. ``outputs_at`` is the URL of the outputs if they are in an object store.
    """

    run_dir: Path
    plan_digest: str
    merged: tuple[int, ...]
    abandoned: tuple[int, ...]
    is_repeated: bool
    exit_code: ExitCode
    report: ReportHead | None
    outputs: int
    absent: tuple[str, ...]
    page: Path | None
    outputs_at: str | None


def merge(
    run_dirs: Sequence[str | Path],
    *,
    out_dir: str | Path | None = None,
    abandon: Abandoned = (),
    html: bool = True,
    clock: Callable[[], float] = time.time,
    settings: Settings | None = None,
) -> MergeResult:
    """Merge the shards of a divided plan into its main run directory.

    Spends nothing, and needs no gateway. ``run_dirs`` are the directories in which the shards were
    run; a main run directory stands for those below it. ``out_dir`` is the main run directory; by
    default, the one in which the shard directories are. ``abandon`` has the numbers of shards that
    did not run and never will, or is ``"all"`` for all that are missing: their allowances are
    returned. May be repeated. ``clock`` returns seconds since the epoch. ``settings`` name the
    directory of the accounts in which credits of a period were set aside. A main run directory in
    an object store is given by its URL.

    Raises ``UserError`` if the directories are not those of all shards of the outstanding plan,
    each once, or if another file is at the path of an output; ``RunDirectoryError``,
    ``RunBusyError`` if a run is active in one of them, ``JournalError``, ``ObjectStoreError``, and
    ``ReportError``. Only after the last of these are the shards merged.
    """
    given = [Path(path) for path in run_dirs]
    if out_dir is not None:
        out_dir = Path(out_dir)
    sources, stored = _sources(given, out_dir, clock())
    with ExitStack() as stack:
        journal, directories = _opened(stack, sources, stored, clock())
        if stored is None:
            outstanding = _outstanding(journal, sources.main, directories)
        else:
            outstanding = _stored_outstanding(journal, stored, directories)
            refuse_unfinished(each for each in directories if each.number in outstanding.missing)
        found = [each.found for each in directories]
        command = _command(given, out_dir)
        choice = choose_shards(found, outstanding, abandon, command=command)
        shards = _chosen(directories, choice)
        if stored is None:
            lock_abandoned(stack, sources, outstanding, choice.abandoned)
        else:
            stored.close(choice)
        merging = ShardMerge(
            journal, shards, stack.enter_context(MergedEvents()), outstanding, choice
        )
        outputs, absent = _merge(merging, sources.main, clock())
        _settle(journal, outstanding, settings, clock())
        if stored is not None:
            stored.add_to_log()
        is_repeated = choice.is_empty and not is_report_due(journal)
        head, page, url = None, None, journal_outputs_url(journal)
        if journal.is_begun():
            head, page = write_results(journal, sources.main, html=html)
        if stored is not None:
            stored.note_merged()
    exit_code = ExitCode.OK
    if head is not None and (shards or (choice.is_empty and not is_repeated)):
        exit_code = ExitCode(head.exit_code or ExitCode.OK)
    return MergeResult(
        run_dir=sources.main,
        plan_digest=outstanding.plan_digest,
        merged=tuple(choice.found),
        abandoned=choice.abandoned,
        is_repeated=is_repeated,
        exit_code=exit_code,
        report=head,
        outputs=outputs,
        absent=absent,
        page=page,
        outputs_at=None if url is None else str(url),
    )


def _opened(
    stack: ExitStack, sources: MergeSources, stored: StoredShards | None, now: float
) -> tuple[Journal, list[ShardDirectory]]:
    """Lock all directories; return the main journal, and the shards that have begun."""
    plan = None
    if stored is not None:
        plan = stored.plan
    _lock(stack, sources, may_be_lost=plan is not None)
    binding = _binding(sources, plan)
    journal = stack.enter_context(Journal.open(sources.main, binding, now=now))
    if stored is not None and stored.objects.url.directory is None:
        note_url(journal, stored.objects.url)
    logged = stored.shards if stored is not None else ()
    read = (read_shard(path, binding, has_log=path in logged) for path in sources.shards)
    return journal, [found for found in read if found is not None]


def _settle(
    journal: Journal, outstanding: OutstandingShards, settings: Settings | None, now: float
) -> None:
    if outstanding.account is not None:
        settle_merged(journal, outstanding.account, settings or current_settings(), now)


def _chosen(directories: Sequence[ShardDirectory], choice: MergeChoice) -> list[ShardDirectory]:
    """Return those that are merged now, in the order of their numbers."""
    chosen = [each for each in directories if each.number in choice.found]
    return sorted(chosen, key=lambda each: each.number)


def _command(given: Sequence[Path], out_dir: Path | None) -> str:
    words = [str(ObjectUrl.parse(path) or path) for path in given]
    if out_dir is not None:
        words += ["--out-dir", str(out_dir)]
    return shell_command("merge", *words)


def _sources(
    given: Sequence[Path], out_dir: Path | None, now: float
) -> tuple[MergeSources, StoredShards | None]:
    """Return what is to be merged; what is in logs is brought here first."""
    url = url_of(given, out_dir)
    if url is not None:
        stored = bring_shards(state_directory_of(url), url, now=now)
        return MergeSources(stored.main, stored.shards), stored
    sources = find_sources([_main_of_logged(path) for path in given], out_dir)
    if not has_plans(sources.main):
        return sources, None
    stored = bring_shards(sources.main, ObjectUrl.of_directory(sources.main), now=now)
    if stored.plan is None:
        return sources, None
    return replace(sources, shards=(*sources.shards, *stored.shards)), stored


def _main_of_logged(path: Path) -> Path:
    """Return the main run directory of a shard that has a log there; other paths unchanged."""
    url = directory_outputs_url(path)
    if url is None or url.directory is None:
        return path
    return relative_to_here(url.directory)


def _lock(stack: ExitStack, sources: MergeSources, *, may_be_lost: bool) -> None:
    """Lock the main run directory and those of the shards, always in the same order.

    ``may_be_lost``: the main run directory needs no journal.
    """
    allow_locks(len(sources.shards))
    if not may_be_lost and not (sources.shards and is_lost(sources.main)):
        _require_journal(sources.main)
    stack.enter_context(lock_run_directory(sources.main))
    refuse_if_pruned(sources.main)
    for directory in sorted(sources.shards):
        _require_journal(directory)
        stack.enter_context(lock_run_directory(directory))
        with shard_errors(directory):
            refuse_if_pruned(directory)
    OutputStore(sources.main).sweep()


def _require_journal(directory: Path) -> None:
    if not Journal.exists(directory):
        raise RunDirectoryError(
            f"{directory} is not a run directory: it has no journal",
            hint="name the directory of a run",
        )


def _binding(sources: MergeSources, plan: SavedPlan | None) -> Binding:
    """Return what the main run directory belongs to.

    That is what the stored ``plan`` states, or the journal; if that is lost, the first shard's.
    """
    if plan is not None:
        return binding_of(plan)
    if Journal.exists(sources.main):
        with Journal.read(sources.main) as journal:
            if journal.is_created():
                return journal.binding()
    with shard_errors(sources.shards[0]), Journal.read(sources.shards[0]) as journal:
        return journal.binding()


def _outstanding(
    journal: Journal, main: Path, shards: Sequence[ShardDirectory]
) -> OutstandingShards:
    """Return the shards that the merge is of.

    If the journal doesn't know them, it gets their jobs first. The allowances of shards without a
    directory are lost then: they can be abandoned, or run and merged.
    """
    outstanding = noted_shards(journal)
    is_known = outstanding is not None and (
        outstanding.missing or any(each.found.plan_digest in outstanding.plans for each in shards)
    )
    if shards and not is_known and unknown_shards(main, outstanding):
        _restore_jobs(journal, main, shards)
        allowances = dict.fromkeys(range(1, shards[0].found.shard.count + 1), ZERO)
        for shard in shards:
            if shard.number in allowances:
                allowances[shard.number] = shard.terms.budget or ZERO
        earlier: tuple[str, ...] = ()
        if outstanding is not None:
            earlier = outstanding.plans
        return OutstandingShards(shards[0].found.plan_digest, allowances, earlier=earlier)
    if outstanding is None:
        raise RunDirectoryError(
            f"{main} has no shards: no plan of it was divided",
            hint="name the directory in which the plan was divided: --out-dir DIR",
        )
    return outstanding


def _stored_outstanding(
    journal: Journal, stored: StoredShards, shards: Sequence[ShardDirectory]
) -> OutstandingShards:
    """Do the same as ``_outstanding`` for shards that have logs."""
    outstanding, plan = noted_shards(journal), stored.plan
    if plan is not None and (outstanding is None or plan.digest not in outstanding.plans):
        _restore_jobs(journal, stored.main, shards)
        allowances = {shard.number: shard.allowance for shard in plan.head.shards}
        return OutstandingShards(plan.digest, allowances, earlier=stored.earlier)
    assert outstanding is not None  # without a plan and a note, there was nothing to bring
    missing = [shard for shard in shards if shard.number in outstanding.missing]
    if not all(_has_jobs(journal, shard) for shard in missing):
        _add_jobs(journal, missing)
    return outstanding


def _has_jobs(journal: Journal, shard: ShardDirectory) -> bool:
    """Whether a main journal has the jobs of a shard in its plan.

    Before the merge, one that was made again of its log lacks all of them.
    """
    with shard_errors(shard.path), Journal.read(shard.path) as theirs:
        first = next(theirs.plan(), None)
    return first is None or journal.planned_job(first.identity) is not None


def _restore_jobs(journal: Journal, main: Path, shards: Sequence[ShardDirectory]) -> None:
    """Add the jobs of shards to the plan of a main journal, as ``_add_jobs`` does.

    It also gets the fingerprint of their key, unless it has one.
    """
    logger.warning("the journal of %s doesn't know these shards: it is restored", main)
    _add_jobs(journal, shards)
    for shard in shards[:1]:
        with shard_errors(shard.path), Journal.read(shard.path) as first:
            key = first.remembered_key()
        if key is not None and journal.remembered_key() is None:
            journal.remember_key(key)


def _add_jobs(journal: Journal, shards: Sequence[ShardDirectory]) -> None:
    """Add the jobs of shards to the plan of a main journal.

    Raises ``ShardJournalError`` if the main journal has events of one of the jobs: they would count
    twice.
    """
    for shard in shards:
        _refuse_twice_bought(journal, shard)
    with PlanFile.temporary() as plan:
        plan.fill(_united(journal, shards))
        journal.adopt(plan)


def _refuse_twice_bought(journal: Journal, shard: ShardDirectory) -> None:
    rule = shard.terms.rule
    with shard_errors(shard.path), Journal.read(shard.path) as theirs:
        for planned, job in theirs.started_jobs(rule):
            if not is_untouched(job) and not is_untouched(journal.job(planned, rule)):
                raise ShardJournalError(
                    f"the main run directory has bought job {planned.name!r} as well as the shard"
                    f" in {shard.path}, and its journal doesn't know the shard; nothing was merged",
                    hint="restore the newest backup of the main run directory's journal",
                )


def _united(journal: Journal, shards: Sequence[ShardDirectory]) -> Iterator[PlannedJob]:
    """Yield the jobs of the plan and of the shards, each once.

    A place that is taken is changed: only order is lost.
    """
    known: set[str] = set()
    places: set[int] = set()

    def jobs() -> Iterator[PlannedJob]:
        yield from journal.plan()
        for shard in shards:
            with shard_errors(shard.path), Journal.read(shard.path) as theirs:
                yield from theirs.plan()

    last = max((planned.position for planned in jobs()), default=0)
    for planned in jobs():
        if planned.identity in known:
            continue
        known.add(planned.identity)
        position = planned.position
        if position in places:
            last += 1
            position = last
        places.add(position)
        yield replace(planned, position=position)


def _merge(merging: ShardMerge, main: Path, now: float) -> tuple[int, tuple[str, ...]]:
    """Bring the outputs of the shards into the main run directory, then their events.

    Returns how many outputs are there then, and the paths of those that the shards' directories
    don't have.
    """
    if merging.choice.is_empty:
        return 0, ()
    journal, shards = merging.journal, merging.shards
    times = merging.gather()
    adopter = OutputAdopter(journal, main, merging.events, now)
    adopter.adopt(shards)
    _warn(shards, adopter.absent, main)
    merging.add(adopter.relocated, times)
    return adopter.outputs, tuple(adopter.absent)


def _warn(shards: Sequence[ShardDirectory], absent: Sequence[str], main: Path) -> None:
    for shard in shards:
        if shard.ending is None:
            logger.warning(
                "the newest run of shard %s, in %s, was killed or is running on another machine:"
                " what it buys from now on is not known here",
                shard.found.shard,
                shard.path,
            )
    if absent:
        logger.warning(
            "%d outputs are missing or damaged in the directories of their shards (%s); to download"
            " them again, at no cost: %s",
            len(absent),
            listed(absent, 3),
            shell_command("check", main, "--fix"),
        )
