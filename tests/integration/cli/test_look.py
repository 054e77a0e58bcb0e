"""The commands that look."""

import json
import re
import signal
import time
from datetime import datetime

import jsonschema
import pytest

from tests.harness.commands import Cli


def test_status_and_report_read_a_run_directory(cli: Cli) -> None:
    cli.write("seen")
    assert cli("run", "seen.yaml", "-q").code == 0
    run_dir = cli.cwd / "outputs/seen/default"
    status = cli("status", str(run_dir))
    assert status.code == 0
    assert "1 of 1 jobs succeeded" in status.out
    first = (run_dir / "report.json").read_bytes()
    (run_dir / "report.json").unlink()
    assert cli("report", str(run_dir)).code == 0
    assert (run_dir / "report.json").read_bytes() == first
    jsonschema.Draft202012Validator(json.loads(cli("schema", "--report").out)).validate(
        json.loads(first)
    )


def test_a_run_leaves_a_page_unless_it_is_not_wanted(cli: Cli) -> None:
    cli.write("paged")
    page = cli.cwd / "outputs/paged/default/report.html"
    done = cli("run", "paged.yaml", "--json")
    assert done.envelope["data"]["page"] == str(page.relative_to(cli.cwd))
    assert "report.html" in done.err
    assert "data:image/webp;base64," in page.read_text(encoding="utf-8")
    again = cli("run", "paged.yaml", "--no-html", "--json")
    assert "page" not in again.envelope["data"]
    assert "report.html" not in again.err
    assert not page.exists()  # it would tell of the run before
    made = cli("report", str(page.parent))
    assert made.out.splitlines() == [
        f"✓ {page.parent / name}" for name in ("report.json", "report.html")
    ]
    assert page.exists()
    page.unlink()
    assert cli("report", str(page.parent), "--no-html").out.splitlines() == [
        f"✓ {page.parent / 'report.json'}"
    ]
    assert not page.exists()


def test_a_page_that_cannot_be_made_is_a_note_and_the_run_is_a_success(cli: Cli) -> None:
    cli.write("unpaged")
    in_the_way = cli.cwd / "outputs/unpaged/default/report.html"
    in_the_way.mkdir(parents=True)
    done = cli("run", "unpaged.yaml")
    assert done.code == 0
    assert "report.html can't be written" in done.err
    assert "crucible-batch report outputs/unpaged/default" in done.err
    assert "pictures" not in done.out
    refused = cli("report", str(in_the_way.parent))
    assert refused.code == 2
    assert "report.html can't be written" in refused.err
    assert (in_the_way.parent / "report.json").is_file()


def test_colour_is_used_when_forced_and_never_under_no_color(cli: Cli) -> None:
    plain, coloured = cli("credits"), cli("credits", FORCE_COLOR="1")
    assert "\x1b[" not in plain.out
    assert "\x1b[" in coloured.out
    no_colour = cli("credits", FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[32m" not in no_colour.out


def test_a_workflow_is_shown_with_what_its_parameters_take(cli: Cli) -> None:
    done = cli("workflows", "upscale-2x")
    assert re.search(r"scale\.value +number +2 +1 – 4", done.out)
    known = cli("workflows", "upscale-2x", "--json").envelope["data"]["parameters"]
    assert known["scale.value"] == {"type": "number", "minimum": 1, "maximum": 4, "default": 2}


def test_status_says_where_the_newest_run_chose_only_some_and_what_makes_the_rest(cli: Cli) -> None:
    manifest = cli.write("some", "- {name: fox, prompt: a fox}\n- {name: hen, prompt: a hen}")
    assert cli("run", manifest, "--only", "fox").code == 0
    status = cli("status", "outputs/some/default")
    assert "1 of 2 jobs succeeded, 1 pending" in status.out
    assert "the newest run was limited to some of the jobs" in status.out
    assert f"next     crucible-batch run {manifest}\n" in status.out  # the manifest has the budget
    assert cli("run", manifest, "--only", "fox", "--budget", "90").code == 0
    assert (
        f"next     crucible-batch run {manifest} --budget 90\n"
        in cli("status", "outputs/some/default").out
    )
    assert cli("run", manifest).code == 0
    assert "next" not in cli("status", "outputs/some/default").out


def test_status_shows_how_far_a_run_is_that_is_in_progress_and_what_continues_with_it_afterwards(
    slow_cli: Cli,
) -> None:
    slow_cli.write("going", "- {name: fox, prompt: a fox, repeat: 5}")
    run_dir = "outputs/going/default"
    run = slow_cli.start("run", "going.yaml", "-c", "2", "--display", "none")
    try:
        until = time.monotonic() + 120
        while (status := slow_cli("status", run_dir, "--json")).code or not (
            progress := status.envelope["data"].get("progress", {})
        ).get("oldest"):
            assert time.monotonic() < until, status.out
        assert progress["oldest"][0]["name"] == "fox-1"
        assert datetime.fromisoformat(progress["oldest"][0]["since"]).tzinfo is not None
        assert progress["left_s"] is None
        seen = slow_cli("status", run_dir, COLUMNS="40")
        assert "running now" in seen.out
        assert "with report.json" not in seen.out
        assert any(line.split()[:2] == ["oldest", "fox-1"] for line in seen.out.splitlines())
        assert "  0/5" in seen.out
        assert "next" not in seen.out
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=120)
    finally:
        run.kill()
    killed = slow_cli("status", run_dir)
    assert "killed?" in killed.out
    assert killed.out.splitlines()[-1].split()[1:] == ["crucible-batch", "run", "going.yaml"]


@pytest.mark.parametrize("place", [(), ("--out-dir", "here"), ("--run-id", "again")], ids=str)
def test_status_names_the_command_that_continues(cli: Cli, place: tuple[str, ...]) -> None:
    name = f"on{len(place)}{place[-1] if place else ''}"
    cli.write(name, "- {name: fox, prompt: a fox}\n- {name: bad, prompt: nsfw}")
    assert cli("run", f"{name}.yaml", "-q", *place).code == 1
    run_dir = (
        "here"
        if "here" in place
        else f"outputs/{name}/{'again' if 'again' in place else 'default'}"
    )
    lines = cli("status", run_dir).out.splitlines()
    assert "failed   MODERATION_REFUSED × 1: bad" in lines[1]
    command = " ".join(["crucible-batch run", f"{name}.yaml", *place])
    assert lines[-1].partition("next")[2].strip() == f"change the failed jobs, then: {command}"
