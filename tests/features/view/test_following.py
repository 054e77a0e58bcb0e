"""A run in another process, seen while it goes on, after it was killed, and when it continues."""

from __future__ import annotations

import json
import signal
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.features.view.conftest import MANY, Viewer, viewing
from tests.harness.commands import Cli


def follow(viewer: Viewer, key: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    """Put the changes into ``data`` as a page does, until it has to start over, and return them."""
    live, changes = data["live"], []
    address = f"/events/{key}?edition={live['edition']}&after={live['number']}"
    with closing(viewer.events(address)) as events:
        for kind, change in events:
            if kind == "replaced":
                break
            if kind == "pace":
                data["live"]["pace"] = change["pace"]
                continue
            assert kind == "change"
            for place, job in zip(change["places"], change["jobs"], strict=True):
                data["jobs"][place] = job
            data.update(
                {name: value for name, value in change.items() if name not in {"places", "jobs"}}
            )
            changes.append(change)
    return changes


def report_of(cli: Cli, name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(
        (cli.cwd / "outputs" / name / "default" / "report.json").read_text()
    )
    return report


def told(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what is null: a page doesn't carry it."""
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def shown(data: dict[str, Any]) -> dict[str, Any]:
    """What a report says, without what only a page has."""
    jobs = [
        (job["name"], job["status"], job["credits"], job.get("job_id"), told(job["outputs"]))
        for job in data["jobs"]
    ]
    return {
        name: data.get(name) for name in ("counts", "credits", "status", "finished_at", "notes")
    } | {"jobs": jobs}


def wait_until_begun(viewer: Viewer, place: str) -> str:
    """Wait for a run to come up in the list, told by the list's own events; return its key."""
    with closing(viewer.events("/events")) as events:
        for _ in events:
            if f">{place}</span>" in viewer.get("/").text:
                break
    return viewer.key(place)


def test_a_run_comes_up_in_the_list_is_followed_to_its_end_and_is_then_as_its_report_says(
    cli: Cli,
) -> None:
    (cli.cwd / "outputs").mkdir()
    with viewing(cli) as viewer:
        assert "No run yet" in viewer.get("/").text
        run = cli.start("run", cli.write("atlas", MANY))
        key = wait_until_begun(viewer, "atlas/default")
        assert "running now" in viewer.get("/").text
        data = viewer.data(key)
        assert data["live"]["running"] is True
        assert data["counts"]["unknown"] == 0  # what is being sent is on its way, and no trouble
        begun = data["counts"]["succeeded"]
        changes = follow(viewer, key, data)
        run.communicate(timeout=120)
        assert run.returncode == 1
        told = [change["counts"]["succeeded"] for change in changes]
        assert len(changes) >= 3
        assert told == sorted(told)
        assert begun < told[-1] <= 12
        # What changed, and not all again: on a slow machine, all jobs may have changed between two
        # of them.
        assert any(len(change["jobs"]) < 13 for change in changes)
        assert Counter(job["status"] for job in data["jobs"])["succeeded"] == told[-1]
        report, last = report_of(cli, "atlas"), viewer.data(key)
        assert shown(last) == shown(report)
        assert last["live"]["standing"] == "done, some failed"
        path = report["jobs"][0]["outputs"][0]["path"]
        assert (
            viewer.get(f"/runs/{key}/{path}").content
            == (cli.cwd / "outputs/atlas/default" / path).read_bytes()
        )


def test_a_killed_run_is_told_as_killed_and_followed_again_when_the_same_command_continues(
    cli: Cli,
) -> None:
    (cli.cwd / "outputs").mkdir()
    with viewing(cli) as viewer:
        manifest = cli.write("fallen", MANY)
        run = cli.start("run", manifest)
        key = wait_until_begun(viewer, "fallen/default")
        data = viewer.data(key)
        live = data["live"]
        stream = viewer.events(f"/events/{key}?edition={live['edition']}&after={live['number']}")
        next(
            change
            for kind, change in stream
            if kind == "change" and change["counts"]["succeeded"] >= 2
        )
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert [kind for kind, _ in stream][-1] == "replaced"
        dead = viewer.data(key)
        assert dead["live"]["running"] is False
        assert dead["live"]["standing"] == "process exited unexpectedly (killed?)"
        assert dead["advice"]["command"] == f"crucible-batch run {manifest}"
        assert "process exited unexpectedly (killed?)" in viewer.get("/").text
        assert "All runs" in viewer.get(f"/runs/{key}/").text

        again = cli.start("run", manifest)
        assert [
            kind
            for kind, _ in viewer.events(
                f"/events/{key}?edition={dead['live']['edition']}&after={dead['live']['number']}"
            )
        ] == ["replaced"]
        again.communicate(timeout=120)
        assert again.returncode == 1
        assert shown(viewer.data(key)) == shown(report_of(cli, "fallen"))


def test_a_page_that_was_away_is_told_what_it_missed(cli: Cli) -> None:
    assert cli("run", cli.write("missed")).code == 0
    with viewing(cli, "outputs/missed/default") as viewer:
        assert "/runs/" in viewer.url
        key = viewer.url.rstrip("/").rpartition("/")[2]
        data = viewer.data(key)
        stream = viewer.events(f"/events/{key}?edition={data['live']['edition']}&after=0")
        kind, change = next(stream)
        assert (kind, change["places"]) == ("change", [0])
        assert change["jobs"] == data["jobs"]
        stream.close()


def test_ctrl_c_ends_it_at_once_although_a_page_listens(cli: Cli) -> None:
    assert cli("run", cli.write("listening")).code == 0
    with viewing(cli) as viewer:
        stream = viewer.events("/events")
        assert next(stream)[0] == "changed"
        viewer.process.send_signal(signal.SIGINT)
        assert viewer.process.wait(timeout=30) == 0
        stream.close()


def test_what_can_t_be_served_is_exit_2(cli: Cli, tmp_path: Path) -> None:
    assert cli("view", "nowhere").code == 2
    with viewing(cli, str(tmp_path)) as viewer:
        taken = cli("view", str(tmp_path), "--port", viewer.url.rstrip("/").rpartition(":")[2])
    assert taken.code == 2
    assert "another --port" in taken.err
