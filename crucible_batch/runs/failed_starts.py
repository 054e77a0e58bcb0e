"""Runs that did not start: recorded in the user's list of runs, until the manifest's run has begun.

what ended it                                    recorded
an error of the gateway, the manifest, a store   yes
another run that is active                       no: that one is listed
a person at the terminal who declined            no
a signal                                         no
an error of a shard                              no: its plan waits in the main run directory
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from crucible_batch.core.credits import format_credits
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.redaction import clean
from crucible_batch.errors import ConsentError, CrucibleBatchError, EarlierRunError, RunBusyError
from crucible_batch.manifest import Manifest
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.earlier_runs import RememberedRun, list_file, remember, remembered
from crucible_batch.runs.parts import ReadRun, ReadyRun, RunPart
from crucible_batch.runs.paths import relative_to_here
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.scheduled_time_source import has_scheduled_time
from crucible_batch.shell_command import (
    DEFAULT_DIRECTORY,
    DEFAULT_RUN_ID,
    run_command,
    shell_command,
)

_MESSAGE_LIMIT = 300


@dataclass(frozen=True, slots=True)
class FailedStart:
    """A run that did not start. ``at`` is its scheduled time, or when it was tried.

    ``name`` and ``run_id`` are empty if the manifest could not be read. ``command`` tries it again.
    """

    manifest: Path
    name: str
    run_id: str
    run_dir: Path
    at: datetime
    command: str
    code: str
    message: str
    hint: str


class FailedStartsPart(RunPart):
    """Records that a run did not start.

    Its first part: once it is checked, the run's directory is known.
    """

    _context: RunContext | None = None

    @asynccontextmanager
    async def around(self, run: ReadRun) -> AsyncIterator[None]:
        try:
            yield
        except CrucibleBatchError as error:
            context = self._context
            if context is not None:
                record_failed_start(
                    context.request,
                    error,
                    context.clock.now(),
                    manifest=context.manifest,
                    terms=context.terms,
                    directory=context.directory,
                    can_ask=run.can_ask,
                )
            raise

    def check(self, run: RunContext) -> None:
        self._context = run

    @asynccontextmanager
    async def beside(self, _run: ReadyRun) -> AsyncIterator[None]:
        self._context = None
        yield


def record_failed_start(
    request: RunRequest,
    error: CrucibleBatchError,
    now: float,
    *,
    manifest: Manifest | None = None,
    terms: RunTerms | None = None,
    directory: Path = DEFAULT_DIRECTORY,
    can_ask: bool = False,
) -> None:
    """Record that a run did not start, by the table above.

    What is known of it is given. Raises nothing.
    """
    is_declined = can_ask and isinstance(error, ConsentError | EarlierRunError)
    if is_declined or isinstance(error, RunBusyError) or request.is_of_divided_plan:
        return
    at, scheduled = datetime.fromtimestamp(now, UTC).astimezone(), request.scheduled_at
    if manifest is not None and has_scheduled_time(manifest, scheduled, os.environ):
        scheduled = manifest.scheduled_at
    path, zone = request.manifest, None
    if manifest is not None:
        path, zone = manifest.path, manifest.zone
    run_id, name = request.run_id or "", ""
    if terms is not None:
        run_id, name = terms.run_id, terms.manifest_name
    scheduled_at = ""
    if scheduled is not None:
        at = scheduled.astimezone(zone)
        scheduled_at = scheduled.isoformat().replace("+00:00", "Z")
    run = RememberedRun.of(path, run_id, directory)
    found = replace(
        run,
        code=error.code,
        message=clean(error.message, _MESSAGE_LIMIT),
        hint=clean(error.hint or ""),
        at=at.isoformat(timespec="seconds"),
        scheduled_at=scheduled_at,
        name=name,
        options=shlex.join(_options(request, terms)),
        plan="" if request.plan is None else os.path.realpath(request.plan.path),
    )
    remember(list_file(os.environ), found)


def failed_starts(directory: Path) -> Iterator[FailedStart]:
    """Yield the runs in or below a directory that did not start, newest first.

    Their manifests still exist.
    """
    root = os.path.realpath(directory)
    for run in remembered(list_file(os.environ)):
        if (
            not run.code
            or not Path(run.run_dir).is_relative_to(root)
            or not Path(run.manifest).is_file()
        ):
            continue
        with contextlib.suppress(ValueError):  # a time that was edited
            yield FailedStart(
                manifest=relative_to_here(Path(run.manifest)),
                name=clean(run.name, 300),
                run_id=clean(run.run_id, 300),
                run_dir=Path(run.run_dir),
                at=datetime.fromisoformat(run.at),
                command=_command(run),
                code=clean(run.code, 60),
                message=clean(run.message, _MESSAGE_LIMIT),
                hint=clean(run.hint),
            )


def _options(request: RunRequest, terms: RunTerms | None) -> list[str]:
    """Return the options that the command has to repeat, apart from those of its run id and
    directory."""
    options = []
    if request.yes:
        options.append("--yes")
    if request.plan is None and request.budget is not None:
        options += ["--budget", format_credits(request.budget)]
    url = ObjectUrl.parse(request.out_dir or "")
    if url is not None:
        options += ["--out-dir", str(url)]
    if terms is not None and terms.notify_option is not None:
        options += terms.notify_option.split()
    return options


def _command(run: RememberedRun) -> str:
    options = shlex.split(run.options)
    if run.plan:
        return shell_command("run", relative_to_here(Path(run.plan)), *options)
    manifest = relative_to_here(Path(run.manifest))
    is_default = not run.name or run.run_dir == os.path.realpath(
        DEFAULT_DIRECTORY / run.name / run.run_id
    )
    out_dir = None
    if not is_default and "--out-dir" not in options:
        out_dir = relative_to_here(Path(run.run_dir))
    return run_command(
        manifest,
        *options,
        run_id=run.run_id or DEFAULT_RUN_ID,
        scheduled_at=run.scheduled_at or None,
        out_dir=out_dir,
    )
