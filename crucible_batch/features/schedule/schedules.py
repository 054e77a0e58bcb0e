"""Manifests with a schedule, found by name or in a folder."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import islice
from pathlib import Path

from crucible_batch.errors import ManifestError, UserError
from crucible_batch.features import found
from crucible_batch.features.schedule.manifest_keys import ScheduleKeys
from crucible_batch.manifest import Manifest, load_manifest
from crucible_batch.manifest.models import JobEntry
from crucible_batch.scheduled_time import times_after

_SUFFIXES = (".yaml", ".yml")
_KEY = re.compile(rb"^[\"']?([a-z]+)[\"']?[ \t]*:", re.MULTILINE)
_READ_BYTES = 1024 * 1024
_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class ScheduledManifest:
    """A manifest with ``schedule:``.

    ``path`` is as given or found, ``zone`` that of the cron expression. ``needs_files`` is whether
    it reads other files of its folder: tables, images, prompts, and those of notifications.
    ``is_dated`` is whether the run id is a template, so that each time is a run of its own.
    ``variables`` are the names of the environment variables with the addresses and secrets of
    notifications, and ``has_command`` is whether its runs start a program that it names.
    ``account`` is that of the budget of a period. ``merged`` and ``bases`` are as in ``Manifest``.
    """

    path: Path
    name: str
    cron: str
    zone: tzinfo
    zone_name: str
    catch_up: int
    deadline_s: float | None
    has_budget: bool
    is_dated: bool
    needs_files: bool
    variables: tuple[str, ...] = ()
    has_command: bool = False
    account: str | None = None
    merged: bytes | None = None
    bases: tuple[Path, ...] = ()

    def times_after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the scheduled times after ``moment``, in UTC."""
        return times_after(self.cron, self.zone, moment)


@dataclass(frozen=True, slots=True)
class FoundSchedules:
    """What was found: schedules, manifests without one, and those that can't be read, each by path.

    ``named`` are the paths that were named, and not found in a folder.
    """

    schedules: tuple[ScheduledManifest, ...]
    unscheduled: tuple[Path, ...]
    invalid: dict[Path, ManifestError]
    named: frozenset[Path]

    @property
    def named_invalid(self) -> tuple[Path, ...]:
        return tuple(path for path in self.invalid if path in self.named)


def find_schedules(places: Sequence[Path]) -> FoundSchedules:
    """Read the manifests that are named, and those in the named folders.

    A folder's manifests are in it or in folders directly below it. Raises ``UserError`` if a place
    does not exist.
    """
    paths: dict[Path, bool] = {}
    for place in places:
        if place.is_dir():
            for path in filter(_may_be_a_manifest, _yaml_files(place)):
                paths.setdefault(path, False)
        elif place.exists():
            paths[place] = True
        else:
            raise UserError(
                f"there is no file or folder {place}",
                hint="name a manifest, or a folder of manifests",
            )
    schedules: list[ScheduledManifest] = []
    unscheduled: list[Path] = []
    invalid: dict[Path, ManifestError] = {}
    for path in paths:
        try:
            schedule = read_schedule(path)
        except ManifestError as error:
            invalid[path] = error
            continue
        if schedule is None:
            unscheduled.append(path)
        else:
            schedules.append(schedule)
    parts = {base for schedule in schedules for base in schedule.bases}
    invalid = {
        path: error for path, error in invalid.items() if paths[path] or path.resolve() not in parts
    }
    named = frozenset(path for path, is_named in paths.items() if is_named)
    return FoundSchedules(tuple(schedules), tuple(unscheduled), invalid, named)


def _yaml_files(folder: Path) -> list[Path]:
    """Return the YAML files in a folder and directly below it, by path.

    Hidden ones are left out.
    """
    entries = [*islice(_entries(folder), _MOST_ENTRIES)]
    below = [entry for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    files = [*entries, *(path for each in below for path in islice(_entries(each), _MOST_ENTRIES))]
    return sorted(
        path for path in files if path.suffix in _SUFFIXES and not path.name.startswith(".")
    )


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:  # a folder that this user may not read
        return


def _may_be_a_manifest(path: Path) -> bool:
    """Return whether a file has the key ``schedule``, one by which it is a part of a manifest, or
    both ``version`` and ``jobs``.

    The keys are looked for at the beginnings of lines, without parsing the file.
    """
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            keys = set(_KEY.findall(file.read(_READ_BYTES)))
    except OSError:
        return False
    parts = {module.KEY.encode() for module in found("manifest_document")}
    return b"schedule" in keys or bool(keys & parts) or {b"version", b"jobs"} <= keys


def read_schedule(path: Path) -> ScheduledManifest | None:
    """Return a manifest's schedule; None without one.

    Raises ``ManifestError``. Jobs are not expanded.
    """
    manifest = load_manifest(path)
    header = manifest.header
    assert isinstance(header, ScheduleKeys)
    schedule, zone = header.schedule, header.schedule_zone
    if schedule is None:
        return None
    return ScheduledManifest(
        path=path,
        name=manifest.name,
        cron=schedule.cron,
        zone=zone,
        zone_name=str(zone),
        catch_up=schedule.catch_up,
        deadline_s=header.deadline,
        has_budget=header.budget.credits is not None,
        is_dated="{" in (header.run_id or ""),
        needs_files=_needs_files(manifest),
        variables=_variables(manifest),
        has_command=any(manifest.programs()),
        account=header.budget.shared_as,
        merged=manifest.merged,
        bases=manifest.bases,
    )


def _variables(manifest: Manifest) -> tuple[str, ...]:
    named = (
        source.removeprefix("env:")
        for source in manifest.header.sources()
        if source.startswith("env:")
    )
    return tuple(dict.fromkeys(named))


def _needs_files(manifest: Manifest) -> bool:
    programs = manifest.programs()
    if any("/" in program and not program.startswith("/") for program in programs):
        return True
    named = [
        source.removeprefix("file:")
        for source in manifest.header.sources()
        if source.startswith("file:")
    ]
    if any(not path.startswith("/") for path in named):
        return True
    return any(_job_needs_files(entry.job) for entry in manifest.jobs)


def _job_needs_files(job: JobEntry) -> bool:
    if job.foreach is not None or job.image is not None or job.images or job.reads_files:
        return True
    # A prompt that begins with @@ is a text that begins with @.
    prompt = job.prompt or ""
    return prompt.startswith("@") and not prompt.startswith("@@")


def next_times(
    schedules: Sequence[ScheduledManifest], now: datetime, count: int
) -> list[tuple[datetime, ScheduledManifest]]:
    """Return the next ``count`` times of all schedules together, in order.

    Schedules with the same time are in the given order.
    """

    def numbered(number: int, schedule: ScheduledManifest) -> Iterator[tuple[datetime, int]]:
        return ((moment, number) for moment in schedule.times_after(now))

    merged = heapq.merge(*(numbered(number, schedule) for number, schedule in enumerate(schedules)))
    return [
        (moment, schedules[number])
        for (moment, number), _ in zip(merged, range(count), strict=False)
    ]
