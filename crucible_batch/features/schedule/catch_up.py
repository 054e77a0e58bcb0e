"""The missed runs of a schedule: which of its past times are run before the current one.

    run of a past time      oldest run of the manifest       then
    none                    began before that time           missed
    none                    began later, or there is none    not missed: the schedule is newer
    active                  -                                not missed
    ended with 0 or 1       -                                not missed: it finished
    ended otherwise         -                                missed
    never ended             -                                missed: it was killed

If several times have the same run id, it is the run of the latest of them; if that is the current
time, none is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from crucible_batch.errors import ExitCode

_FINISHED = frozenset({ExitCode.OK, ExitCode.SOME_FAILED})


@dataclass(frozen=True, slots=True)
class DueRun:
    """A scheduled time, in UTC, and its run id."""

    scheduled_at: datetime
    run_id: str


@dataclass(frozen=True, slots=True)
class KnownRun:
    """The state of a run id that has a run directory.

    ``exit_code`` is its newest run's; None if it was killed.
    """

    exit_code: int | None
    is_active: bool = False

    @property
    def is_finished(self) -> bool:
        return self.exit_code in _FINISHED


def missed_runs(
    past: Iterable[DueRun], current: DueRun, known: Mapping[str, KnownRun], oldest: datetime | None
) -> list[DueRun]:
    """Return the missed ones of the past times, oldest first.

    ``past`` are the times before the current one that may be caught up, in any order. ``known`` has
    the run directories, by run id. ``oldest`` is when the oldest run of the manifest began; None if
    there is none.
    """
    seen = {current.run_id}
    missed: list[DueRun] = []
    for due in sorted(past, key=lambda due: due.scheduled_at, reverse=True):
        if due.run_id not in seen and _is_missed(due, known.get(due.run_id), oldest):
            missed.append(due)
        seen.add(due.run_id)
    return missed[::-1]


def _is_missed(due: DueRun, run: KnownRun | None, oldest: datetime | None) -> bool:
    if run is None:
        return oldest is not None and oldest < due.scheduled_at
    return not run.is_active and not run.is_finished


_ORDER = (
    ExitCode.SIGINT,
    ExitCode.SIGTERM,
    ExitCode.KEY_REFUSED,
    ExitCode.USER_ERROR,
    ExitCode.BUSY,
    ExitCode.STOPPED,
    ExitCode.OUT_OF_CREDITS,
    ExitCode.SOME_FAILED,
)
_ENDS_ALL = frozenset({ExitCode.SIGINT, ExitCode.SIGTERM, ExitCode.KEY_REFUSED})


def first_code(codes: Iterable[int]) -> int:
    """Return the exit code of a command from those of its runs: the first in the documented order.

    It is 0 if all of them are. An exit code that isn't a run's, such as that of a bug, goes before
    the others.
    """
    found = set(codes) - {ExitCode.OK}
    others = sorted(found.difference(_ORDER))
    return next((code for code in (*others, *_ORDER) if code in found), ExitCode.OK)


def ends_all(exit_code: int) -> bool:
    """Return whether no further run is started after one with this exit code.

    Each would end in the same way.
    """
    return exit_code in _ENDS_ALL
