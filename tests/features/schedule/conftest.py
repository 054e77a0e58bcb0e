"""Schedules without a file."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.features.schedule.schedules import ScheduledManifest
from crucible_batch.scheduled_time import read_timezone


def schedule(
    cron: str, zone: str = "UTC", *, name: str = "fox", catch_up: int = 0, path: str = ""
) -> ScheduledManifest:
    return ScheduledManifest(
        path=Path(f"/srv/{name}.yaml"),
        name=name,
        cron=cron,
        zone=read_timezone(zone),
        zone_name=zone,
        catch_up=catch_up,
        deadline_s=None,
        has_budget=True,
        is_dated=True,
        needs_files=False,
    )
