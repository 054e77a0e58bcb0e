"""What exports have in common: options, and the command with its times and limit."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from crucible_batch.errors import UserError
from crucible_batch.features.schedule.cron_fields import CronFields, plain_fields, read_fields
from crucible_batch.features.schedule.schedules import ScheduledManifest

MARK = "# Written by `crucible-batch schedule export`"
"""With this begins each file that is written; only such a file is overwritten.

So a file is of a kind in which ``#`` begins a comment: YAML rather than JSON.
"""
DEFAULT_DEADLINE_S = 6 * 3600.0
TIME_TO_STOP_S = 600
"""How long after its deadline the scheduler ends a run that has not stopped by itself."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of an export. Paths are absolute.

    ``directory`` is the working directory of runs, ``command`` the words that start crucible-batch.
    ``user`` is the account that runs belong to, and ``image`` a container image. ``folder`` is
    where the files are written, and ``allow_command`` whether runs may run the commands of
    ``notify``.
    """

    directory: Path
    command: tuple[str, ...]
    now: datetime
    system_zone: tzinfo
    env_file: Path | None = None
    deadline_s: float | None = None
    user: str | None = None
    image: str | None = None
    folder: Path | None = None
    allow_command: bool = False

    def deadline_of(self, schedule: ScheduledManifest) -> float:
        """Return the time limit of a run: the option's, else the manifest's, else the default."""
        return self.deadline_s or schedule.deadline_s or DEFAULT_DEADLINE_S


def own_command() -> tuple[str, ...]:
    """Return the words that start this installation from any directory.

    They are the path of its script or, if there is no script, the interpreter and the module.
    """
    places = (
        sysconfig.get_path("scripts"),
        os.path.dirname(sys.executable),  # noqa: PTH120 - text
        os.environ.get("PATH", ""),
    )
    found = shutil.which("crucible-batch", path=os.pathsep.join(places))
    if not found:
        return (sys.executable, "-m", "crucible_batch")
    # Links are not followed: the link is what stays when its target is updated.
    return (os.path.abspath(found),)  # noqa: PTH100


def run_arguments(
    schedule: ScheduledManifest, options: ExportOptions, manifest: str | Path
) -> list[str]:
    """Return the arguments of ``crucible-batch`` for one run of a schedule.

    Without ``--catch-up``, so that as many runs are caught up as the manifest has.
    """
    words = [
        "run",
        str(manifest),
        "--if-running",
        "skip",
        "--deadline",
        deadline_text(options.deadline_of(schedule)),
    ]
    if options.env_file is not None:
        words += ["--env-file", str(options.env_file)]
    if schedule.has_command and options.allow_command:
        words.append("--allow-command")
    return words


def deadline_text(duration_s: float) -> str:
    """Format a duration for ``--deadline``, rounded up: ``6h``, ``90m``, ``45s``."""
    whole = math.ceil(duration_s)
    for size, unit in ((3600, "h"), (60, "m")):
        if whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def plain_cron(schedule: ScheduledManifest, what: str) -> str:
    """Return a cron expression that every cron reads in the same way. Raises as ``fields_of``."""
    try:
        return " ".join(plain_fields(fields_of(schedule, what)))
    except ValueError as error:
        raise unsupported(schedule, what, error) from None


def fields_of(schedule: ScheduledManifest, what: str) -> CronFields:
    """Return the fields of a schedule. ``what`` names the scheduler.

    Raises ``UserError`` for one that only CronSim understands.
    """
    try:
        return read_fields(schedule.cron)
    except ValueError as error:
        raise unsupported(schedule, what, error) from None


def unsupported(schedule: ScheduledManifest, what: str, error: ValueError) -> UserError:
    """Return the error for a schedule that another scheduler has no expression for."""
    return UserError(
        f"{schedule.path}: {what} can't run the schedule {schedule.cron!r}: {error}",
        hint="change the schedule",
    )


def shortest_interval(schedule: ScheduledManifest, now: datetime) -> int:
    """Return the shortest time between two of the next 400 times, in seconds.

    It is a day if there is only one time.
    """
    times = [moment for moment, _ in zip(schedule.times_after(now), range(400), strict=False)]
    gaps = [int((later - earlier).total_seconds()) for earlier, later in itertools.pairwise(times)]
    return min(gaps, default=86_400)
