"""What takes part in a run without the run knowing it: notifications, telemetry, caps, periods,
commands.

A run is one path in a fixed order (``running.py``, ``start.py``). A part takes part in it at
these moments:

    moment       what is true then
    around       the manifest is read; encloses all that follows
    check        terms and directory are known; nothing is created, locked or requested
    planned      the jobs are known; nobody was asked for consent; no new directory was created
    opened       the directory is locked, its journal has the plan; nothing is restored
    begin        what the journal had lost is restored; nothing is bought. A grant may replace the
                 budget
    beside       encloses the work of the engine
    freed        an output needs the path of a file that a part has made
    judged       no job can be advanced any more; outcomes are not counted. Jobs whose outputs are
                 saved may be counted as failed
    ended        the end of the run is in the journal; nothing is reported
    reported     report and page are written, and not published

Parts are asked in the order of one list (``features/registry.py``), and left in reverse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.core.credits import Credits
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.outcome import Ending
from crucible_batch.core.redaction import clean
from crucible_batch.engine import Clock
from crucible_batch.errors import ExitCode
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.manifest import Manifest
from crucible_batch.report import ReportHead, RowFile
from crucible_batch.runs.context import RunContext
from crucible_batch.runs.control_desk import ControlDesk
from crucible_batch.runs.observers import Observers
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ReadRun:
    """A run whose manifest was read. Its terms and its directory may still be invalid.

    ``result`` is set when it was reported: the head of its report, and its exit code. It stays None
    if it ends by an exception.
    """

    request: RunRequest
    manifest: Manifest
    settings: Settings
    clock: Clock
    observers: Observers
    can_ask: bool
    result: tuple[ReportHead, ExitCode] | None = None


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run that holds the lock of its directory.

    ``after`` is the number of the journal's last event before it.
    """

    context: RunContext
    journal: Journal
    after: int


@dataclass(frozen=True, slots=True)
class BudgetGrant:
    """A budget that replaces that of the run's terms; like that one, it is over all runs in the
    directory.

    It may be higher than that of the terms. ``recorded`` is the budget for the journal, ``name``
    that of the budget which it is a part of, and ``explain`` explains why a job does not fit.
    """

    budget: Credits
    recorded: Credits
    name: str
    explain: Callable[[ErrorInfo], ErrorInfo]


@dataclass(frozen=True, slots=True)
class ReadyRun:
    """A run that is about to buy.

    ``desk`` takes commands to it, and checks before each purchase.
    """

    context: RunContext
    desk: ControlDesk


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """A run whose report and page are written."""

    journal: Journal
    directory: Path
    head: ReportHead
    rows: RowFile


class RunPart:
    """Takes part in one run: a new object for each run. Each method does nothing unless a part
    overrides it.
    """

    def around(self, run: ReadRun) -> AbstractAsyncContextManager[object]:
        """Enclose all that follows the reading of the manifest.

        An exception of the block is how the run failed.
        """
        return nullcontext()

    def check(self, run: RunContext) -> None:
        """Raise to refuse the run. An existing directory may be that of a run that is active."""

    def planned(self, run: RunContext, draft: PlanFile) -> None:
        """Inspect the planned jobs. May raise, or log a warning."""

    def opened(self, run: OpenedRun) -> None:
        """The journal has the plan. What it has lost, such as purchases, is not restored yet."""

    def begin(self, run: OpenedRun) -> AbstractAsyncContextManager[BudgetGrant | None]:
        """Begin, or raise to refuse; the value may replace the budget.

        The block is left when the run is over, in whichever way: the journal is open, and the lock
        is held.
        """
        return nullcontext()

    def beside(self, run: ReadyRun) -> AbstractAsyncContextManager[object]:
        """Enclose the work of the engine: give commands to the run, or check right before each
        purchase.
        """
        return nullcontext()

    async def judged(self, leaving: asyncio.Event) -> Mapping[str, ErrorInfo]:
        """Return the jobs that count as failed although their outputs are saved, by identity.

        To return soon after ``leaving`` is set. Called within the block of ``beside``.
        """
        return {}

    async def freed(self, path: str) -> bool:
        """Remove a file that the part has made if it is at this path, which an output needs, and
        return whether it did. Called within the block of ``beside``.
        """
        return False

    async def ended(self, ending: Ending) -> None:
        """The end of the run is in the journal. Not called after an exception."""

    async def reported(self, run: ReportedRun) -> None:
        """The report is written, and not published. Not called after an exception."""


class Parts:
    """The parts of one run, asked together."""

    def __init__(self, parts: Sequence[RunPart] = ()) -> None:
        self._parts = tuple(parts)

    def and_last(self, part: RunPart) -> Parts:
        """Return these parts with another one, which begins last."""
        return Parts([*self._parts, part])

    async def around(self, stack: AsyncExitStack, run: ReadRun) -> None:
        for part in self._parts:
            await stack.enter_async_context(part.around(run))

    def check(self, run: RunContext) -> None:
        for part in self._parts:
            part.check(run)

    def planned(self, run: RunContext, draft: PlanFile) -> None:
        for part in self._parts:
            part.planned(run, draft)

    def opened(self, run: OpenedRun) -> None:
        for part in self._parts:
            part.opened(run)

    async def begin(self, stack: AsyncExitStack, run: OpenedRun) -> BudgetGrant | None:
        """Begin all parts, and return what one of them grants.

        Two grants are a mistake in the list.
        """
        granted = None
        for part in self._parts:
            grant = await stack.enter_async_context(part.begin(run))
            if grant is not None:
                assert granted is None
                granted = grant
        return granted

    async def beside(self, stack: AsyncExitStack, run: ReadyRun) -> None:
        for part in self._parts:
            await stack.enter_async_context(part.beside(run))

    async def judged(self, leaving: asyncio.Event) -> Mapping[str, ErrorInfo]:
        """Ask all parts, and return what they found; the first part's reason for a job counts."""
        found: dict[str, ErrorInfo] = {}
        for part in self._parts:
            found = {**await part.judged(leaving), **found}
        return found

    async def freed(self, path: str) -> bool:
        """Return whether a part has removed its file at a path.

        If one can't, only this output is not saved: it is paid for, and saved by a later run.
        """
        try:
            for part in self._parts:
                if await part.freed(path):
                    return True
        except Exception as error:  # noqa: BLE001 - the other jobs of the run continue
            logger.warning("%s can't be removed for an output: %s", clean(path, 300), error)
        return False

    async def ended(self, ending: Ending) -> None:
        for part in reversed(self._parts):
            await part.ended(ending)

    async def reported(self, run: ReportedRun) -> None:
        for part in reversed(self._parts):
            await part.reported(run)
