"""The scheduled time of a run: which night a run belongs to, even if it begins late.

source                                          used if
the option --scheduled-at, or the saved plan    given
CRUCIBLE_BATCH_SCHEDULED_AT                     set
`schedule` in the manifest                      present: its latest time at or before now
now                                             always

If CRUCIBLE_BATCH_KUBERNETES_JOB is set and the name ends in a CronJob's time, that time is used in
place of now. A time that occurs twice when clocks change belongs to the first of them, as in
Debian's cron, and so to the same run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from crucible_batch.errors import UserError
from crucible_batch.manifest import Manifest
from crucible_batch.scheduled_time import parse_time, time_of_kubernetes_job, whole_seconds

TIME_VARIABLE = "CRUCIBLE_BATCH_SCHEDULED_AT"
JOB_VARIABLE = "CRUCIBLE_BATCH_KUBERNETES_JOB"


def has_scheduled_time(
    manifest: Manifest, given: datetime | None, environ: Mapping[str, str]
) -> bool:
    """Whether a run has a scheduled time that isn't just when it was started."""
    return (
        manifest.header.is_scheduled
        or given is not None
        or any(map(environ.get, (TIME_VARIABLE, JOB_VARIABLE)))
    )


def find_scheduled_time(
    manifest: Manifest, given: datetime | None, environ: Mapping[str, str], now: datetime
) -> datetime:
    """Return the scheduled time by the table above, in UTC. An empty variable counts as unset.

    Raises ``UserError`` for an invalid time, and for a clock in a year that no time may have.
    """
    if given is not None:
        try:
            return whole_seconds(given)
        except ValueError as error:
            raise UserError(
                f"scheduled_at: {error}", hint="give a datetime with a time zone"
            ) from None
    text = environ.get(TIME_VARIABLE)
    if text:
        try:
            return parse_time(text)
        except ValueError as error:
            raise UserError(
                f"{TIME_VARIABLE}: {error}", hint="correct or unset the variable"
            ) from None
    now = checked_clock(now)
    now = time_of_kubernetes_job(environ.get(JOB_VARIABLE, ""), now) or now
    return whole_seconds(next(manifest.header.times_until(now), now))


def checked_clock(now: datetime) -> datetime:
    """Return the present time, to the second.

    Raises ``UserError`` for a clock in a year that no time may have.
    """
    try:
        return whole_seconds(now)
    except ValueError as error:
        raise UserError(
            f"the clock of this machine shows the year {now.year}: {error}",
            hint="correct the clock",
        ) from None
