"""The notifications of a run: when it ends, and when it ends before it has begun.

A run that can't notify is refused before anything is spent, since nobody watches it. Afterwards a
notification that fails never fails the run: it is logged.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.progress import Message, RunBegan
from crucible_batch.engine import Clock, SystemClock
from crucible_batch.errors import (
    ConsentError,
    EarlierRunError,
    ExitCode,
    NotificationError,
    RunBusyError,
)
from crucible_batch.features.notify.delivery import DeliveryResult, deliver
from crucible_batch.features.notify.manifest_keys import notifications_of
from crucible_batch.features.notify.messages import (
    MAX_ERROR_CODES,
    MESSAGE_TYPES,
    MessageCredits,
    RunMessage,
    attempt_id,
    event_of,
    timestamp_of,
)
from crucible_batch.features.notify.sources import SourceReader
from crucible_batch.features.notify.subscriptions import Resolved, resolve
from crucible_batch.journal import Journal
from crucible_batch.manifest import Manifest
from crucible_batch.option_values import RunEvent
from crucible_batch.report import REPORT_FILE, JobRow, ReportHead, RowFile
from crucible_batch.report.models import OutcomeCounts
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.draft import read_source
from crucible_batch.runs.next_step import advice_of
from crucible_batch.runs.parts import ReadRun, ReportedRun, RunPart
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan
from crucible_batch.runs.programs import ALLOW_COMMAND
from crucible_batch.runs.raised_errors import failure_of
from crucible_batch.runs.request import RunRequest, check_request, follow_plan
from crucible_batch.settings import KEY_VARIABLE, Settings
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)

_FAILURES_READ = 100
_UNFINISHED = (b'"status":"failed"', b'"status":"unknown"')


def resolve_channels(manifest: Manifest, settings: Settings, *, allow_command: bool) -> Resolved:
    """Return the channels of a manifest.

    Reads variables of the environment and the env file, and other files.
    """
    reader = SourceReader(
        os.environ, settings.variables, manifest.directory, KEY_VARIABLE, settings.api_key
    )
    return resolve(
        notifications_of(manifest.header), reader, proxy=settings.proxy, allow_command=allow_command
    )


def notes_for_plan(manifest: Manifest, request: RunRequest, settings: Settings) -> list[str]:
    """Return a sentence for each notification that a run would refuse to start without."""
    if not request.notify:
        return []
    found = [
        f"run would refuse {problem}"
        for problem in resolve_channels(manifest, settings, allow_command=True).problems
    ]
    notifications = notifications_of(manifest.header)
    if not request.allow_command and any(each.command for each in notifications):
        found.append(f"`notify` has a command: run needs {ALLOW_COMMAND}")
    return found


class NoticesPart(RunPart, PlanPart):
    """Notifies the end of a run.

    It is the outermost part, so that the failure of any other is notified.
    """

    _notices: RunNotices

    @asynccontextmanager
    async def around(self, run: ReadRun) -> AsyncIterator[None]:
        self._notices = RunNotices(
            run.manifest, run.request, run.settings, run.clock, can_ask=run.can_ask
        )
        run.observers.add(self._notices)
        async with self._notices:
            yield

    def check(self, run: RunContext) -> None:
        self._notices.name(run.terms, run.directory)
        self._notices.check()

    def notes(self, plan: ReadPlan) -> list[str]:
        return notes_for_plan(plan.basis.source, plan.request, plan.settings)

    async def reported(self, run: ReportedRun) -> None:
        await self._notices.end(run.journal, run.directory, run.head, run.rows)


class RunNotices:
    """The notifications of one run: a context manager around it, and an observer of its messages.

    If the block raises, the failure is notified, unless the end was notified already or a person
    has just declined. ``check`` is to be called first within the block, so that the usable channels
    learn that others are not.
    """

    def __init__(
        self,
        manifest: Manifest,
        request: RunRequest,
        settings: Settings,
        clock: Clock,
        *,
        can_ask: bool,
    ) -> None:
        self._manifest = manifest
        self._request = request
        self._clock = clock
        self._can_ask = can_ask
        self._resolved = Resolved()
        if request.notify and manifest.header.sends_messages:
            self._resolved = resolve_channels(
                manifest, settings, allow_command=request.allow_command
            )
        self._attempt = attempt_id(os.path.realpath(manifest.path), clock.now())
        self._run_id: str | None = None
        self._directory: Path | None = None
        self._spent_before: Credits = ZERO
        self._is_ended = False

    async def __aenter__(self) -> RunNotices:
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and not self._is_ended:
            await self.fail(error)

    async def fail(self, error: BaseException) -> None:
        """Notify that the run ended by an error, unless nobody has to learn of it."""
        if not self._is_expected(error):
            self._is_ended = True
            await self._send(RunEvent.FAILURE, **_failure(error))

    def check(self) -> None:
        """Raise ``NotificationError`` if any channel can't be used."""
        if self._resolved.problems:
            raise NotificationError(self._resolved.problems)

    def name(self, terms: RunTerms, directory: Path) -> None:
        """Set the run's id and directory, which messages contain from now on."""
        self._run_id, self._directory = terms.run_id, directory

    def notify(self, message: Message) -> None:
        """Note what was spent before the run."""
        if isinstance(message, RunBegan):
            self._spent_before = message.balance.bought

    async def end(self, journal: Journal, directory: Path, head: ReportHead, rows: RowFile) -> None:
        """Notify the end of a run that was reported."""
        self._is_ended = True
        exit_code = head.exit_code
        if exit_code is None:
            exit_code = int(ExitCode.STOPPED)
        event = event_of(exit_code, head.counts.succeeded)
        if not self._resolved.channels(event):
            return
        await self._send(
            event,
            exit_code=exit_code,
            counts=OutcomeCounts.model_validate(head.counts),
            credits=_spent(head, self._spent_before),
            error_codes=_codes(head, rows.lines()),
            report=str((directory / REPORT_FILE).absolute()),
            next_command=advice_of(journal, head, directory).command,
        )

    async def _send(self, event: RunEvent, **data: object) -> None:
        run_dir = None
        if self._directory is not None and self._directory.is_dir():
            run_dir = str(self._directory.absolute())
        known = {
            "manifest": self._manifest.name,
            "run_id": self._run_id,
            "attempt": self._attempt,
            "run_dir": run_dir,
        }
        message = _message(event, self._clock.now(), {**known, **data})
        await deliver(message, self._resolved.channels(event))

    def _is_expected(self, error: BaseException) -> bool:
        """Whether a person has just declined, or the run is skipped because of another one."""
        if isinstance(error, RunBusyError):
            return not self._request.overlap_is_failure
        return self._can_ask and isinstance(error, ConsentError | EarlierRunError)


def _codes(head: ReportHead, rows: Iterable[bytes]) -> list[str]:
    """Return the first different error codes, those of stops first.

    Of the jobs, only the first failures are read.
    """
    codes = dict.fromkeys(stop.code for stop in head.stops.values())
    most = min(head.counts.failed + head.counts.unknown, _FAILURES_READ)
    failures = (row for row in rows if any(mark in row for mark in _UNFINISHED))
    for row in islice(failures, most):
        error = JobRow.model_validate_json(row).error
        if error is not None:
            codes[error.code] = None
        if len(codes) >= MAX_ERROR_CODES:
            break
    return list(codes)[:MAX_ERROR_CODES]


def _failure(error: BaseException) -> dict[str, object]:
    """Return the data of a message about a run that raised an error."""
    code, exit_code = failure_of(error)
    return {
        "exit_code": exit_code,
        "error_codes": [code],
        "next_command": shell_command("explain", code),
    }


def _spent(head: ReportHead, before: Credits) -> MessageCredits:
    found = head.credits
    return MessageCredits(
        budget=None if found.budget is None else format_credits(found.budget),
        run=format_credits(found.bought - before),
        total=format_credits(found.spent),
        held=format_credits(found.held),
    )


async def send_test(request: RunRequest, settings: Settings) -> list[DeliveryResult]:
    """Send a message of success to each channel of a manifest, whatever its ``on``.

    The message is marked as a test.

    Raises ``ManifestError``, and ``NotificationError`` if any channel can't be used; then nothing
    is sent.
    """
    check_request(request)
    manifest = read_source(follow_plan(request))
    resolved = resolve_channels(manifest, settings, allow_command=request.allow_command)
    if resolved.problems:
        raise NotificationError(resolved.problems, is_test=True)
    now = SystemClock().now()
    attempt = attempt_id(str(manifest.path), now)
    data = {
        "test": True,
        "manifest": manifest.name,
        "attempt": attempt,
        "exit_code": int(ExitCode.OK),
    }
    return await deliver(_message(RunEvent.SUCCESS, now, data), resolved.channels())


def _message(event: RunEvent, now: float, data: Mapping[str, object]) -> RunMessage:
    content = {"type": MESSAGE_TYPES[event], "timestamp": timestamp_of(now), "data": data}
    return RunMessage.model_validate(content)
