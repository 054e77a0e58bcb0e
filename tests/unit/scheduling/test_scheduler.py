"""The loop of a scheduler in virtual time: no test waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from crucible_batch.scheduling.schedules import ManifestFolder, ScheduledManifest
from crucible_batch.scheduling.serve.decision import Start
from crucible_batch.scheduling.serve.scheduler import Scheduler, ServeMessage
from crucible_batch.scheduling.serve.serving import health_app, run_words

from .conftest import at

MANIFEST = """\
version: 1
name: {name}
workflow: zimage-base
budget: {{credits: 10}}
run_id: "{{{{ date }}}}"
schedule: {{cron: "{cron}", catch_up: {catch_up}}}
jobs: [{{name: fox, prompt: a fox}}]
"""


class World:
    """A clock that moves when the scheduler waits, and runs that take as long as a test has them take."""

    def __init__(self, folder: Path, begin: str) -> None:
        self.folder = folder
        self.now = at(begin)
        self.started: list[tuple[str, datetime]] = []
        self.messages: list[ServeMessage] = []
        self.lengths: dict[str, timedelta] = {}
        self.codes: dict[str, list[int]] = {}
        self.active: dict[str, int] = {}
        self.events: list[tuple[datetime, Callable[[], object]]] = []

    def write(self, name: str, cron: str, catch_up: int = 0) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(MANIFEST.format(name=name, cron=cron, catch_up=catch_up))
        return path

    async def launch(self, schedule: ScheduledManifest, start: Start) -> int:
        name = schedule.name
        self.started.append((name, start.scheduled_at))
        self.active[name] = self.active.get(name, 0) + 1
        assert self.active[name] == 1, f"{name} runs twice at once"
        until = self.now + self.lengths.get(name, timedelta())
        while self.now < until:
            await asyncio.sleep(0)
        self.active[name] -= 1
        codes = self.codes.get(name, [])
        return codes.pop(0) if codes else 0

    def at(self, time: str, event: Callable[[], object]) -> None:
        self.events.append((at(time), event))

    def scheduler(self, *, most_running: int = 4, state: Path | None = None) -> Scheduler:
        return Scheduler(
            ManifestFolder([self.folder]),
            self.launch,
            self.messages.append,
            now=lambda: self.now,
            monotonic=lambda: self.now.timestamp(),  # noqa: PLW0108 - the clock moves
            pause=self._pause(),
            most_running=most_running,
            state=state,
        )

    def _pause(self) -> Callable[[float], Awaitable[None]]:
        async def pause(_seconds: float) -> None:
            self.now += timedelta(seconds=20)
            for event in [each for each in self.events if each[0] <= self.now]:
                self.events.remove(event)
                event[1]()
            for _ in range(5):
                await asyncio.sleep(0)

        return pause

    async def serve(self, until: str, **options: int | Path | None) -> Scheduler:
        scheduler = self.scheduler(**options)  # type: ignore[arg-type]
        self.at(until, scheduler.stop)
        await scheduler.run()
        return scheduler

    def times(self, name: str) -> list[str]:
        return [f"{moment:%d %H:%M}" for found, moment in self.started if found == name]

    def texts(self, kind: str) -> list[str]:
        return [message.text for message in self.messages if message.kind == kind]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "26 00:00")


async def test_two_manifests_are_run_at_their_times(world: World) -> None:
    world.write("foxes", "15 3 * * *")
    world.write("owls", "0 */6 * * *")
    await world.serve("28 00:10")
    assert world.times("foxes") == ["26 03:15", "27 03:15"]
    assert world.times("owls")[:3] == ["26 06:00", "26 12:00", "26 18:00"]
    assert world.times("owls")[3:] == ["27 00:00", "27 06:00", "27 12:00", "27 18:00", "28 00:00"]
    assert world.texts("scheduled_skip") == []


async def test_a_changed_a_new_and_a_removed_manifest_are_noticed(world: World) -> None:
    path = world.write("foxes", "15 3 * * *")
    world.at("26 02:00", lambda: world.write("foxes", "30 4 * * *"))
    world.at("26 05:00", lambda: world.write("owls", "0 7 * * *"))
    world.at("26 08:00", path.unlink)
    await world.serve("27 09:00")
    assert world.times("foxes") == ["26 04:30"]
    assert world.times("owls") == ["26 07:00", "27 07:00"]


async def test_an_invalid_manifest_keeps_its_last_schedule_and_is_reported_once(world: World) -> None:
    path = world.write("foxes", "15 3 * * *")
    world.at("26 01:00", lambda: path.write_text("version: 1\nname: [\n"))
    scheduler = await world.serve("26 04:00")
    assert world.times("foxes") == ["26 03:15"]
    assert (
        len([text for text in world.texts("scheduler_note") if "invalid; its last valid schedule is kept" in text]) == 1
    )
    assert [problem["manifest"] for problem in scheduler.status()["problems"]] == [str(path)]


async def test_other_yaml_files_are_not_taken_for_manifests(world: World) -> None:
    (world.folder / "compose.yaml").write_text("version: '3'\nservices: {}\n")
    scheduler = await world.serve("26 00:10")
    assert scheduler.status()["problems"] == []
    assert world.texts("scheduler_note") == ["there is no manifest with a schedule yet"]


@pytest.mark.parametrize(
    ("catch_up", "started"), [(0, ["26 01:00", "26 04:00"]), (1, ["26 01:00", "26 03:00", "26 04:00"])]
)
async def test_a_manifest_never_overlaps_itself(world: World, catch_up: int, started: list[str]) -> None:
    world.write("foxes", "0 1-4 * * *", catch_up)
    world.lengths["foxes"] = timedelta(hours=2, minutes=30)
    scheduler = world.scheduler()
    world.at("26 02:00", lambda: world.lengths.update(foxes=timedelta()))  # of later runs
    world.at("26 04:30", scheduler.stop)
    await scheduler.run()
    assert world.times("foxes") == started


async def test_a_run_that_could_not_finish_is_started_again_and_a_failed_one_is_not(world: World) -> None:
    world.write("foxes", "0 1 * * *")
    world.write("owls", "0 1 * * *")
    world.codes = {"foxes": [5, -9, 0], "owls": [1]}
    await world.serve("26 06:00")
    assert world.times("foxes") == ["26 01:00"] * 3
    assert world.times("owls") == ["26 01:00"]


async def test_no_more_runs_than_the_limit_and_none_is_lost(world: World) -> None:
    for number in range(5):
        world.write(f"batch-{number}", "0 1 * * *")
        world.lengths[f"batch-{number}"] = timedelta(minutes=30)
    most = 0

    def count() -> None:
        nonlocal most
        most = max(most, sum(world.active.values()))
        world.at(f"{world.now + timedelta(minutes=1):%d %H:%M}", count)

    world.at("26 00:01", count)
    await world.serve("26 06:00", most_running=2)
    assert most == 2
    assert sorted(name for name, _ in world.started) == [f"batch-{number}" for number in range(5)]


async def test_a_suspended_computer_reports_what_it_skips(world: World) -> None:
    world.write("foxes", "15 3 * * *")
    world.write("owls", "15 3 * * *", catch_up=1)

    def sleep() -> None:
        world.now = at("28 12:00")

    world.at("26 01:00", sleep)
    await world.serve("28 13:00")
    assert world.times("foxes") == []
    assert world.times("owls") == ["28 03:15"]
    assert [text.partition(":")[0] for text in world.texts("scheduled_skip")] == ["foxes", "owls"]


async def test_a_clock_that_jumps_to_and_fro_starts_no_time_twice(world: World) -> None:
    world.write("foxes", "15 3 * * *")

    def jump(hours: int) -> None:
        world.now += timedelta(hours=hours)

    for time, hours in (("26 03:16", -1), ("26 04:00", -3), ("26 04:20", 2)):
        world.at(time, lambda hours=hours: jump(hours))  # type: ignore[misc]
    await world.serve("27 04:00")
    assert world.times("foxes") == ["26 03:15", "27 03:15"]


async def test_a_restart_starts_nothing_twice_and_resumes_what_was_stopped(world: World, tmp_path: Path) -> None:
    state = tmp_path / "state" / "state.json"
    world.write("foxes", "15 3 * * *")
    world.write("owls", "10 3 * * *")
    world.codes["foxes"] = [143]
    world.lengths["foxes"] = timedelta(minutes=10)
    scheduler = world.scheduler(state=state)
    world.at("26 03:20", scheduler.stop)
    await asyncio.wait_for(_stopping(scheduler, world), 30)
    assert json.loads(state.read_text())["version"] == 1
    world.events.clear()
    await world.serve("26 09:00", state=state)
    assert world.times("foxes") == ["26 03:15", "26 03:15"]
    assert world.times("owls") == ["26 03:10"]


async def _stopping(scheduler: Scheduler, world: World) -> None:
    """Serve, and let time pass while the scheduler waits for its last runs."""
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(scheduler.run())
        while not serving.done():
            if scheduler.status()["status"] == "stopping":
                world.now += timedelta(seconds=20)
            await asyncio.sleep(0)


async def test_a_start_is_in_the_state_file_before_its_run_begins(world: World, tmp_path: Path) -> None:
    """Otherwise a scheduler that is killed while the run is active would not know of it."""
    state, handled = tmp_path / "state.json", list[str]()
    launch = world.launch

    async def launch_and_look(schedule: ScheduledManifest, start: Start) -> int:
        handled.extend(each["handled"] for each in json.loads(state.read_text())["manifests"].values())
        return await launch(schedule, start)

    world.launch = launch_and_look  # type: ignore[method-assign]
    world.write("foxes", "15 3 * * *")
    await world.serve("26 04:00", state=state)
    assert handled == [start.isoformat() for _, start in world.started] != []


async def test_a_damaged_state_file_is_reported_and_schedules_begin_now(world: World, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text("{")
    world.write("foxes", "15 3 * * *")
    await world.serve("26 04:00", state=state)
    assert world.times("foxes") == ["26 03:15"]
    assert any("is not a scheduler's state" in text for text in world.texts("scheduler_note"))


async def test_a_run_that_can_not_be_started_does_not_end_the_scheduler(world: World) -> None:
    world.write("foxes", "0 1,2 * * *")

    async def launch(_schedule: ScheduledManifest, _start: Start) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    world.launch = launch  # type: ignore[method-assign]
    scheduler = await world.serve("26 03:00")
    assert len([text for text in world.texts("scheduler_note") if "can't be started" in text]) == 2
    assert scheduler.status()["manifests"][0]["last"]["exit_code"] == 70


async def test_the_health_endpoint_shows_the_state_and_notices_a_stuck_loop(world: World) -> None:
    world.write("foxes", "15 3 * * *")
    world.codes["foxes"] = [4]
    scheduler = world.scheduler()
    seen: list[dict[str, Any]] = []
    world.at("26 04:00", lambda: seen.append(scheduler.status()))
    world.at("26 05:00", scheduler.stop)
    await scheduler.run()
    at_four = await _health(lambda: seen[0])
    assert at_four.status_code == 200
    (shown,) = at_four.json()["manifests"]
    assert shown["next"] == "2026-11-27T03:15:00+00:00"
    assert shown["last"]["exit_code"] == 4
    assert (await _health(scheduler.status)).status_code == 503  # stopping
    idle = world.scheduler()
    assert (await _health(idle.status)).status_code == 200
    world.now += timedelta(seconds=31)
    stuck = await _health(idle.status)
    assert (stuck.status_code, stuck.json()["status"]) == (503, "stuck")


async def test_an_invalid_manifest_makes_it_not_ready_but_no_reason_to_restart_it(world: World) -> None:
    world.write("foxes", "15 3 * * *")
    broken = world.folder / "broken.yaml"
    broken.write_text("version: 1\nschedule: [\n")
    scheduler = world.scheduler()
    world.at("26 04:00", scheduler.stop)
    seen: list[dict[str, Any]] = []
    world.at("26 03:10", lambda: seen.append(scheduler.status()))
    world.at("26 03:20", broken.unlink)
    world.at("26 03:30", lambda: seen.append(scheduler.status()))
    await scheduler.run()
    first, then = seen
    assert [each["manifest"] for each in first["problems"]] == [str(broken)]
    codes = [(await _health(lambda: first, path)).status_code for path in ("/health", "/ready")]
    assert codes == [200, 503]
    assert (await _health(lambda: then, "/ready")).status_code == 200
    assert (await _health(scheduler.status, "/ready")).status_code == 503  # stopping


async def _health(status: Callable[[], dict[str, Any]], path: str = "/health") -> httpx.Response:
    transport = httpx.ASGITransport(app=health_app(status))
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler") as client:
        return await client.get(path)


def test_a_run_gets_its_time_and_never_waits_for_another(world: World) -> None:
    path = world.write("foxes", "15 3 * * *")
    folder = ManifestFolder([world.folder])
    folder.refresh(lambda _text: None)
    words = run_words(folder.schedules[str(path)], Start(at("26 03:15"), str(path), 2), ["--env-file", "/etc/batch"])
    assert words[1:] == [
        "run", str(path), "--scheduled-at", "2026-11-26T03:15:00+00:00", "--if-running", "skip", "--catch-up", "2",
        "--log-format", "text", "--env-file", "/etc/batch",
    ]  # fmt: skip
