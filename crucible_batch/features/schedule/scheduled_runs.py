"""The runs of one command: the missed ones that are caught up, then that of the current time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from time import sleep

from crucible_batch.errors import CrucibleBatchError, ManifestError, RunBusyError, UserError
from crucible_batch.features import load
from crucible_batch.features.schedule.catch_up import DueRun, KnownRun, missed_runs
from crucible_batch.features.schedule.manifest_keys import schedule_of
from crucible_batch.journal import Journal, is_locked, lock_results, refuse_if_locked
from crucible_batch.manifest import Manifest, depends_on_time, render_run_id
from crucible_batch.runs.cancellation import Deadline
from crucible_batch.runs.draft import read_source, run_directory, run_terms, with_pace_of
from crucible_batch.runs.failed_starts import record_failed_start
from crucible_batch.runs.request import RunRequest, check_request, follow_plan
from crucible_batch.runs.scheduled_time_source import has_scheduled_time
from crucible_batch.settings import Settings
from crucible_batch.shell_command import DEFAULT_DIRECTORY

_LOOK_S = 0.5


@contextmanager
def hold_results(
    folder: Path, run_dir: Path, deadline: Deadline, *, wait: bool, on_wait: Callable[[str], None]
) -> Iterator[bool]:
    """Hold the results of a manifest for the block; yield whether another run was waited for.

    ``folder`` is that of all runs of the manifest; if ``run_dir`` isn't in it, only ``run_dir`` is
    checked. Without ``wait``, raises ``RunBusyError`` if another run is active. With it, calls
    ``on_wait`` once with a description of that run, and raises ``DeadlineError`` if the deadline
    passes first. Also raises ``RunDirectoryError``. Blocks the thread.
    """
    with ExitStack() as stack:
        waited = False
        while True:
            try:
                _enter(stack, folder, run_dir)
                break
            except RunBusyError as error:
                if not wait:
                    raise
                if not waited:
                    on_wait(error.message)
            waited = True
            deadline.check()
            left_s = deadline.left_s
            sleep(_LOOK_S if left_s is None else min(_LOOK_S, left_s))
        yield waited


def _enter(stack: ExitStack, folder: Path, run_dir: Path) -> None:
    if run_dir.parent != folder:
        refuse_if_locked(run_dir)
        return
    with ExitStack() as attempt:
        attempt.enter_context(lock_results(folder))
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.is_symlink():
                continue
            if path.is_dir():
                refuse_if_locked(path)
        stack.push(attempt.pop_all())


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A request whose manifest has been read.

    ``deadline`` counts from the start of the command, for all of its runs. ``request`` has the
    options of the saved plan, if it is one, and the pace of the manifest.
    """

    request: RunRequest
    manifest: Manifest
    current: DueRun
    run_dir: Path
    deadline: Deadline

    @property
    def folder(self) -> Path:
        """The folder of all runs of the manifest, unless ``--out`` names another directory."""
        return DEFAULT_DIRECTORY / self.manifest.name

    @property
    def is_scheduled(self) -> bool:
        """Whether the run has a scheduled time that isn't just when it was started."""
        return has_scheduled_time(self.manifest, self.request.scheduled_at, os.environ)

    @property
    def depends_on_time(self) -> bool:
        """Whether another scheduled time may result in another run id."""
        return depends_on_time(self.manifest, self.request.run_id)

    def reread(self) -> PreparedRun:
        """Read the manifest again, which may have changed, for the same scheduled time."""
        manifest = read_source(
            replace(self.request, scheduled_at=self.current.scheduled_at), self.deadline.check
        )
        return replace(self, manifest=manifest)

    def at(self, due: DueRun) -> tuple[RunRequest, Manifest]:
        """Return the request and the manifest for a scheduled time.

        Raises ``DeadlineError`` if no time is left.
        """
        self.deadline.check()
        request = replace(self.request, deadline_s=self.deadline.left_s)
        if self.is_scheduled or self.depends_on_time:
            request = replace(request, scheduled_at=due.scheduled_at)
        if self.request.run_id is not None or self.manifest.header.run_id is not None:
            request = replace(request, run_id=due.run_id)
        return request, replace(self.manifest, scheduled_at=due.scheduled_at)


def prepare_run(request: RunRequest, settings: Settings | None = None) -> PreparedRun:
    """Read the manifest of a run.

    Raises ``UserError``, ``ManifestError``, ``SavedPlanError`` and ``DeadlineError``. Errors after
    the manifest was read are notified, if there are settings.
    """
    check_request(request)
    deadline = Deadline(request.deadline_s)
    request = follow_plan(request, os.environ)
    try:
        return _prepared(request, settings, deadline)
    except CrucibleBatchError as error:
        record_failed_start(request, error, time.time())
        raise


def _prepared(request: RunRequest, settings: Settings | None, deadline: Deadline) -> PreparedRun:
    manifest = read_source(request, deadline.check)
    request = with_pace_of(manifest, request)
    deadline.set(request.deadline_s)
    with preparation_failures_notified(manifest, request, settings):
        terms = run_terms(manifest, request)
        directory = run_directory(request.out_dir, terms)
    current = DueRun(manifest.scheduled_at or datetime.now(UTC), terms.run_id)
    return PreparedRun(request, manifest, current, directory, deadline)


@contextmanager
def preparation_failures_notified(
    manifest: Manifest, request: RunRequest, settings: Settings | None
) -> Iterator[None]:
    """Notify a failure of the block, and raise its error again.

    The block prepares a run outside of an event loop. Without settings, nothing is notified.
    """
    try:
        yield
    except BaseException as error:
        if settings is not None and request.notify and manifest.header.sends_messages:
            # Loaded only then: whether another run is active is decided in a fraction of the time
            # that this takes.
            from crucible_batch.engine import SystemClock  # noqa: PLC0415 - see above

            notices = load("notify.part:RunNotices")(
                manifest, request, settings, SystemClock(), can_ask=False
            )
            asyncio.run(notices.fail(error))
        raise


def due_runs(prepared: PreparedRun, catch_up: int | None) -> list[DueRun]:
    """Return the runs to make, oldest first; the last is that of the current scheduled time.

    ``catch_up`` is the maximum number of missed times; None: that of the manifest's schedule.
    Raises ``UserError`` if times can't be caught up.
    """
    most = _most_missed(prepared, catch_up)
    manifest, current = prepared.manifest, prepared.current
    if not most or not manifest.header.is_scheduled:
        return [current]
    until = manifest.header.times_until(current.scheduled_at)
    earlier = (moment for moment in until if moment < current.scheduled_at)
    past = [DueRun(moment, _run_id(prepared, moment)) for moment in islice(earlier, most)]
    known = {}
    for due in past:
        run = _known_run(prepared.folder / due.run_id)
        if run is not None:
            known[due.run_id] = run
    oldest = _oldest_run(
        prepared.folder,
        before=min((due.scheduled_at for due in past), default=current.scheduled_at),
    )
    return [*missed_runs(past, current, known, oldest), current]


def _run_id(prepared: PreparedRun, moment: datetime) -> str:
    return render_run_id(replace(prepared.manifest, scheduled_at=moment), prepared.request.run_id)


def _most_missed(prepared: PreparedRun, catch_up: int | None) -> int:
    """Return the maximum number of missed times.

    The manifest's applies only to runs that it can be meant for.
    """
    request, manifest = prepared.request, prepared.manifest
    depends = prepared.depends_on_time
    if catch_up is None:
        schedule = schedule_of(manifest.header)
        if schedule is None or request.plan is not None or request.out_dir is not None:
            return 0
        if request.run_id is not None and not depends:
            return 0
        if schedule.catch_up and not depends:
            message = (
                "catch_up needs a run id for each scheduled time,"
                f" and {prepared.current.run_id!r} is the same"
            )
            hint = 'set `run_id: "{{ date }}"`, or one with week, month or scheduled_at'
            raise ManifestError(
                [manifest.site.problem(("schedule", "catch_up"), message, hint=hint)]
            )
        return schedule.catch_up
    if catch_up:
        _refuse_catch_up(prepared)
    return catch_up


def _refuse_catch_up(prepared: PreparedRun) -> None:
    """Raise ``UserError`` if missed times can't be caught up."""
    request, manifest = prepared.request, prepared.manifest
    if request.plan is not None:
        why, hint = (
            f"{request.plan.path} is a plan for one scheduled time",
            "run the manifest instead of the plan",
        )
    elif not manifest.header.is_scheduled:
        why, hint = (
            "the manifest has no schedule",
            'set `schedule: {cron: "15 3 * * *"}` in the manifest',
        )
    elif request.out_dir is not None:
        why, hint = (
            "each run needs a directory of its own",
            "omit --out-dir; the default is outputs/NAME/RUN_ID",
        )
    elif not prepared.depends_on_time:
        run_id = prepared.current.run_id
        why = f"each scheduled time needs its own run id, and {run_id!r} is the same for all"
        hint = 'set `run_id: "{{ date }}"` in the manifest, or one with week, month or scheduled_at'
    else:
        return
    raise UserError(f"--catch-up: {why}", hint=hint)


def _known_run(directory: Path) -> KnownRun | None:
    """Return the state of a run directory; None if it is missing or holds no journal.

    One whose journal can't be read counts as not finished, so that running it reports why.
    """
    if not Journal.exists(directory):
        return None
    try:
        with Journal.read(directory) as journal:
            runs = journal.runs()
    except CrucibleBatchError:
        return KnownRun(None)
    exit_code = None
    if runs and runs[-1].ending is not None:
        exit_code = runs[-1].ending.exit_code
    return KnownRun(exit_code, is_locked(directory))


def _oldest_run(folder: Path, *, before: datetime) -> datetime | None:
    """Return when the oldest run in a folder began; None if there is no run.

    The search ends with the first run that began before ``before``.
    """
    oldest: datetime | None = None
    for began in _begun_at(folder):
        oldest = began if oldest is None else min(oldest, began)
        if oldest < before:
            break
    return oldest


def _begun_at(folder: Path) -> Iterator[datetime]:
    """Yield when the run directories in a folder were begun.

    Those that were changed last are read last.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.stat().st_mtime, entry.name)
                for entry in entries
                if not entry.name.startswith(".")
            )
    except OSError:
        return
    for _, name in found:
        try:
            if Journal.exists(folder / name):
                with Journal.read(folder / name) as journal:
                    runs = journal.runs()
                    if runs:
                        yield datetime.fromtimestamp(runs[0].started_at, UTC)
        except CrucibleBatchError:
            continue
