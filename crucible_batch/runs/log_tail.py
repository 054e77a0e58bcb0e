"""A log as it is followed by others: who begins on it, and who gives commands to its run."""

from __future__ import annotations

from dataclasses import dataclass, field

from crucible_batch.engine import Clock
from crucible_batch.errors import ExitCode, RunBusyError
from crucible_batch.runs.journal_log import JournalLog, LogState
from crucible_batch.runs.logged_figures import LoggedFigures

SILENT_S = 15.0
"""A log may be continued by another process if it has not grown for this time, by that one's
clock.
"""
_ASK_S = 1.0
_INTERRUPTED = frozenset({ExitCode.SIGINT, ExitCode.SIGTERM})


@dataclass(slots=True)
class LogTail:
    """The end of one log, after what ``log`` has read. ``grown_at`` is of ``clock``."""

    log: JournalLog
    clock: Clock
    figures: LoggedFigures | None = None
    grown_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.grown_at = self.clock.monotonic()

    async def begin(self) -> None:
        """Read the newest entry only, of a log that was not read. Raises as ``read`` does."""
        entry = await self.log.newest()
        if entry is not None and not entry.closed:
            self.figures = entry.figures

    @property
    def has_ended(self) -> bool:
        """Whether no other process should run the shard that the log is of.

        It has an end that is not an interruption, or its log is closed.
        """
        code = None if self.figures is None else self.figures.exit_code
        return bool(self.log.closed) or (code is not None and code not in _INTERRUPTED)

    @property
    def may_be_running(self) -> bool:
        """Whether the newest run has no end: it is active somewhere, or was killed."""
        if not self.log.position or self.log.closed:
            return False
        return self.figures is None or self.figures.exit_code is None

    async def read(self) -> bool:
        """Read what was added, and return whether the log has grown.

        Raises ``JournalError`` and ``ObjectStoreError``.
        """
        before = self.log.position
        while (entry := await self.log.next()) is not None:
            if not entry.closed:
                self.figures = entry.figures
        has_grown = self.log.position > before
        if has_grown:
            self.grown_at = self.clock.monotonic()
        return has_grown

    @property
    def is_silent(self) -> bool:
        return self.clock.monotonic() - self.grown_at >= SILENT_S

    @property
    def silent_at(self) -> int:
        """The number of the last entry of a log that is silent without an end, else 0."""
        return self.log.position if self.may_be_running and self.is_silent else 0


async def refuse_while_it_runs(
    log: JournalLog, state: LogState, clock: Clock, *, watched: int = 0
) -> None:
    """Wait until a log has been silent for ``SILENT_S``, if its newest run has no end.

    To take one over from a process that runs is safe, and a waste. ``watched`` is the entry after
    which it was silent as others have seen it. Raises ``RunBusyError`` if the log grows.
    """
    if not state.may_be_running or state.position == watched:
        return
    tail = LogTail(log, clock)
    while not tail.is_silent:
        await clock.sleep(_ASK_S)
        if await tail.read():
            raise RunBusyError(
                f"{log.name} is running on another machine: its log grows",
                hint="let that one finish; nothing was spent here",
            )
