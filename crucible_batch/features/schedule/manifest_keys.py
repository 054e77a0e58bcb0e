"""The key ``schedule`` of manifests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import Annotated

from pydantic import BeforeValidator, Field

from crucible_batch.manifest.field_types import Cron, Timezone, given
from crucible_batch.manifest.models import Header, Part
from crucible_batch.scheduled_time import read_timezone, times_after, times_until


class Schedule(Part):
    """When a scheduler runs the manifest. Running it by hand needs no schedule."""

    cron: Cron = Field(
        description="Cron expression with five fields: minute, hour, day, month, weekday.",
        examples=["15 3 * * *"],
    )
    timezone: Timezone = Field(
        None,
        description="Time zone of the cron expression; by default that of the manifest.",
        examples=["Europe/Berlin"],
    )
    catch_up: int = Field(
        0,
        ge=0,
        le=366,
        description="Maximum number of missed times to run before the current one, oldest first.",
    )


class ScheduleKeys(Header):
    """A header that may have a schedule.

    Without a time zone of its own, the manifest has that of the schedule.
    """

    schedule: Annotated[Schedule | None, BeforeValidator(given)] = Field(
        None, description="When a scheduler runs the manifest."
    )

    @property
    def zone_name(self) -> str | None:
        return super().zone_name or self._zone_of_schedule

    @property
    def is_scheduled(self) -> bool:
        return self.schedule is not None

    def times_until(self, now: datetime) -> Iterator[datetime]:
        if self.schedule is None:
            return iter(())
        return times_until(self.schedule.cron, self.schedule_zone, now)

    def times_after(self, now: datetime) -> Iterator[datetime]:
        if self.schedule is None:
            return iter(())
        return times_after(self.schedule.cron, self.schedule_zone, now)

    @property
    def schedule_zone(self) -> tzinfo:
        """The time zone of the cron expression."""
        return read_timezone(self._zone_of_schedule or self.zone_name or "UTC")

    @property
    def _zone_of_schedule(self) -> str | None:
        if self.schedule is None:
            return None
        return self.schedule.timezone


KEYS = (ScheduleKeys,)


def schedule_of(header: Header) -> Schedule | None:
    """Return the schedule of a manifest, if it has one."""
    assert isinstance(header, ScheduleKeys)
    return header.schedule
