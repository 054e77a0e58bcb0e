"""The loop of a scheduler: reads manifests, decides what is due, and starts it. Its progress is kept in a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from crucible_batch.atomic_files import replacing
from crucible_batch.errors import ExitCode
from crucible_batch.scheduling.schedules import ManifestFolder, ScheduledManifest
from crucible_batch.scheduling.serve.decision import ManifestState, Skip, Start, decide, ended, restarted

POLL_S = 1.0
STUCK_AFTER_S = 30.0
_CANT_START = 70
_STATE_VERSION = 1
_UNFINISHED = (ExitCode.STOPPED, ExitCode.SIGINT, ExitCode.SIGTERM)


@dataclass(frozen=True, slots=True)
class ServeMessage:
    """What happened: ``kind`` is ``scheduled_start``, ``scheduled_end``, ``scheduled_skip`` or ``scheduler_note``."""

    kind: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndedRun:
    """How a run of a manifest ended."""

    scheduled_at: datetime
    exit_code: int
    at: datetime


class Scheduler:
    """Starts the runs of manifests at their times, until ``stop`` is called.

    ``launch`` performs a run and returns its exit code. ``now`` is the time in UTC, ``monotonic`` a clock that is never
    set, ``pause`` waits for at most the given seconds. ``state`` is the file of the progress; None: it is not kept.
    """

    def __init__(
        self,
        manifests: ManifestFolder,
        launch: Callable[[ScheduledManifest, Start], Awaitable[int]],
        report: Callable[[ServeMessage], None],
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        pause: Callable[[float], Awaitable[None]],
        most_running: int,
        state: Path | None,
    ) -> None:
        self._manifests = manifests
        self._launch = launch
        self._report = report
        self._now = now
        self._monotonic = monotonic
        self._pause = pause
        self._most_running = most_running
        self._state = state
        self._progress: dict[str, ManifestState] = {}
        self._saved: dict[str, ManifestState] = {}
        self._next: dict[str, datetime | None] = {}
        self._last: dict[str, EndedRun] = {}
        self._ticked_at = monotonic()
        self._is_stopping = False

    @property
    def is_stuck(self) -> bool:
        """Whether the loop has not come round for ``STUCK_AFTER_S`` seconds."""
        return not self._is_stopping and self._monotonic() - self._ticked_at > STUCK_AFTER_S

    def stop(self) -> None:
        """Start nothing more; ``run`` returns when the active runs have ended."""
        self._is_stopping = True

    async def run(self) -> None:
        """Serve until ``stop``."""
        self._load()
        self._manifests.refresh(self._note)
        if not self._manifests.schedules:
            self._note("there is no manifest with a schedule yet")
        async with asyncio.TaskGroup() as group:
            while not self._is_stopping:
                for start in self._due():
                    group.create_task(self._perform(self._manifests.schedules[start.manifest], start))
                await self._pause(POLL_S)
        self._save()

    def _due(self) -> tuple[Start, ...]:
        """Read changed manifests, and return the runs to start now."""
        self._ticked_at = self._monotonic()
        if self._manifests.refresh(self._note):
            self._next.clear()
        now = self._now()
        if not self._is_anything_due(now):
            return ()
        decision = decide(self._manifests.schedules, self._progress, now, self._most_running)
        self._progress = dict(decision.progress)
        self._next.clear()
        for skip in decision.skips:
            self._report_skip(skip)
        self._save()
        return decision.starts

    def _is_anything_due(self, now: datetime) -> bool:
        """Return whether to decide again: the times of cron expressions are computed only if a manifest has changed."""
        for manifest, schedule in self._manifests.schedules.items():
            progress = self._progress.get(manifest)
            if progress is None or progress.handled > now or progress.waiting is not None:
                return True
            if progress.retry_at is not None and progress.retry_at <= now:
                return True
            if manifest not in self._next:
                self._next[manifest] = next(schedule.times_after(progress.handled), None)
            due = self._next[manifest]
            if due is not None and due <= now and not (progress.running is not None and schedule.catch_up):
                return True
        return False

    async def _perform(self, schedule: ScheduledManifest, start: Start) -> None:
        self._report(
            ServeMessage("scheduled_start", f"{schedule.name}: started for {_local(schedule, start)}", _fields(start))
        )
        try:
            code = await self._launch(schedule, start)
        except OSError as error:
            self._note(f"{schedule.name} can't be started: {error.strerror or error}")
            code = _CANT_START
        now = self._now()
        is_unfinished = self._is_stopping and (code < 0 or code in _UNFINISHED)
        if not is_unfinished:  # such a run remains in the state file
            self._progress[start.manifest] = ended(self._progress[start.manifest], code, now)
        self._last[start.manifest] = EndedRun(start.scheduled_at, code, now)
        text = f"{schedule.name}: ended with exit code {code}"
        retry_at = self._progress[start.manifest].retry_at
        if retry_at is not None:
            text += f"; started again at {retry_at.astimezone(schedule.zone):%H:%M}"
        self._report(ServeMessage("scheduled_end", text, {**_fields(start), "exit_code": code}))
        self._save()

    def _load(self) -> None:
        if self._state is None:
            return
        try:
            found = read_progress(self._state)
        except ValueError as error:
            self._note(f"{error}; schedules begin now")
            return
        now = self._now()
        self._progress = {manifest: restarted(progress, now) for manifest, progress in found.items()}

    def _save(self) -> None:
        if self._state is None or self._progress == self._saved:
            return
        try:
            write_progress(self._state, self._progress)
        except OSError as error:
            self._note(f"{self._state} can't be written: {error.strerror}; a restart may not know what was started")
        self._saved = dict(self._progress)

    def _report_skip(self, skip: Skip) -> None:
        schedule = self._manifests.schedules[skip.manifest]
        times = f"{skip.count} times" if skip.count > 1 else "one time"
        latest = f"{skip.latest.astimezone(schedule.zone):%Y-%m-%d %H:%M}"
        text = f"{schedule.name}: {times} skipped, {'the latest ' if skip.count > 1 else ''}{latest}: {skip.reason}"
        fields = {
            "manifest": skip.manifest,
            "count": skip.count,
            "latest": skip.latest.isoformat(),
            "reason": skip.reason,
        }
        self._report(ServeMessage("scheduled_skip", text, fields))

    def _note(self, text: str) -> None:
        self._report(ServeMessage("scheduler_note", text, {"message": text}))

    def status(self) -> dict[str, Any]:
        """Return what the health endpoint shows."""
        state = "stopping" if self._is_stopping else "stuck" if self.is_stuck else "ok"
        return {
            "status": state,
            "now": self._now().isoformat(timespec="seconds"),
            "manifests": [self._manifest_status(*each) for each in sorted(self._manifests.schedules.items())],
            "problems": [
                {"manifest": manifest, "problem": problem}
                for manifest, problem in sorted(self._manifests.problems.items())
            ],
        }

    def _manifest_status(self, manifest: str, schedule: ScheduledManifest) -> dict[str, Any]:
        progress = self._progress.get(manifest) or ManifestState(self._now())
        following = next(schedule.times_after(max(progress.handled, self._now())), None)
        last = self._last.get(manifest)
        return {
            "manifest": manifest,
            "name": schedule.name,
            "next": None if following is None else following.astimezone(schedule.zone).isoformat(timespec="seconds"),
            "running": None if progress.running is None else progress.running.scheduled_at.isoformat(),
            "waiting": progress.waiting is not None,
            "retry_at": None if progress.retry_at is None else progress.retry_at.isoformat(timespec="seconds"),
            "last": None
            if last is None
            else {
                "scheduled_at": last.scheduled_at.isoformat(),
                "exit_code": last.exit_code,
                "ended_at": last.at.isoformat(timespec="seconds"),
            },
        }


def _local(schedule: ScheduledManifest, start: Start) -> str:
    return f"{start.scheduled_at.astimezone(schedule.zone):%Y-%m-%d %H:%M}"


def _fields(start: Start) -> dict[str, Any]:
    return {
        "manifest": start.manifest,
        "scheduled_at": start.scheduled_at.isoformat(),
        "catch_up": start.catch_up,
        "attempt": start.attempt,
    }


def read_progress(file: Path) -> dict[str, ManifestState]:
    """Return the progress by manifest; empty without a file. Raises ``ValueError`` if it can't be read."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{file} is not a scheduler's state") from None
    try:
        return {str(path): _progress(str(path), each) for path, each in content["manifests"].items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError(f"{file} is not a scheduler's state") from None


def write_progress(file: Path, progress: Mapping[str, ManifestState]) -> None:
    """Write the progress, completely or not at all. Raises ``OSError``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    manifests = {path: _as_json(each) for path, each in sorted(progress.items())}
    content = {"version": _STATE_VERSION, "manifests": manifests}
    with replacing(file) as target:
        target.write(json.dumps(content, indent=1).encode())


def _as_json(progress: ManifestState) -> dict[str, Any]:
    unfinished = progress.running or progress.waiting or progress.retry
    return {"handled": progress.handled.isoformat()} | (
        {}
        if unfinished is None
        else {
            "unfinished": {
                "scheduled_at": unfinished.scheduled_at.isoformat(),
                "catch_up": unfinished.catch_up,
                "attempt": unfinished.attempt,
            }
        }
    )


def _progress(manifest: str, content: dict[str, Any]) -> ManifestState:
    unfinished = content.get("unfinished")
    start = unfinished and Start(
        _time(unfinished["scheduled_at"]), manifest, int(unfinished["catch_up"]), int(unfinished["attempt"])
    )
    return ManifestState(_time(content["handled"]), waiting=start or None)


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment
