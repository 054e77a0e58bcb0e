"""Saved plans from the command line: made, run, killed in the middle, refused in words."""

import json
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema

from tests.harness.commands import Cli, check_stream
from tests.harness.sandbox_audit import with_audit

Report = Callable[[Path], dict[str, Any]]
SIX = "- {name: fox, prompt: a fox, repeat: 6}"


def judged(url: str) -> dict[str, Any]:
    """What the sandbox knows: its own books, whatever the client believes."""
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        return with_audit(json.load(answer))


def test_a_plan_is_saved_and_run_without_saying_anything_again(cli: Cli, report_of: Report) -> None:
    cli.write("saved", SIX)
    made = cli("plan", "saved.yaml", "--budget", "20", "--only", "fox-[12]", "-o", "plan.json")
    assert made.code == 0, made.err
    assert "  saved     plan.json" in made.out
    assert made.out.splitlines()[-1].split() == ["next", "crucible-batch", "run", "plan.json"]
    document = json.loads((cli.cwd / "plan.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(cli("schema", "--plan").out)).validate(document)
    done = cli("run", "plan.json")
    assert done.code == 0, done.err
    report = report_of(cli.cwd / "outputs/saved/default")
    assert report["counts"]["succeeded"] == 2
    assert report["credits"]["budget"] == "20"
    assert "0 spent by this run" in cli("run", "plan.json").out


def test_a_run_of_a_plan_may_have_another_pace(cli: Cli) -> None:
    cli.write("paced", SIX, head="concurrency: 2\ndeadline: 1h\n")
    assert cli("plan", "paced.yaml", "-q", "-o", "plan.json").code == 0
    assert cli("run", "plan.json", "-c", "4", "--deadline", "2h", "-q").code == 0


def test_a_plan_is_told_by_its_content_and_held_up_by_dry_runs(cli: Cli) -> None:
    cli.write("named", budget="")
    assert cli("plan", "named.yaml", "-q", "-o", "plan.yaml").out == ""
    for command in (("run", "plan.yaml", "-n"), ("plan", "plan.yaml")):
        done = cli(*command)
        assert done.code == 0, done.err
        assert "crucible-batch run plan.yaml\n" in done.out
    assert not (cli.cwd / "outputs").exists()
    assert cli("run", "plan.yaml").code == 2
    assert cli("run", "plan.yaml", "--yes", "-q").code == 0


def test_what_moved_is_named_and_nothing_is_spent(cli: Cli, gateway: str) -> None:
    cli.write("moving", "- {name: hero, prompt: a fox}\n- {name: old, prompt: a cat}")
    assert cli("plan", "moving.yaml", "-q", "-o", "plan.json").code == 0
    cli.write("moving", "- {name: hero, prompt: a vixen}\n- {name: young, prompt: a kitten}")
    before = judged(gateway)["audit"]["entries"]
    done = cli("run", "plan.json")
    assert done.code == 2
    assert "  ~ hero: prompt.text: 'a fox' → 'a vixen'\n" in done.err
    assert "  + young: not in the plan\n" in done.err
    assert "  - old: no longer in the manifest\n" in done.err
    assert "3 changes; nothing was spent" in done.err
    assert "crucible-batch plan moving.yaml -o plan.json" in done.err
    envelope = check_stream(cli("run", "plan.json", "--json"), "run")
    assert envelope["error"]["code"] == "STALE_PLAN"
    assert {"kind": "new", "name": "young", "message": "not in the plan"} in envelope["data"][
        "moved"
    ]
    assert judged(gateway)["audit"]["entries"] == before
    assert not (cli.cwd / "outputs").exists()


def test_an_option_that_contradicts_the_plan_is_exit_2(cli: Cli) -> None:
    cli.write("contrary")
    assert cli("plan", "contrary.yaml", "-q", "--budget", "5", "-o", "plan.json").code == 0
    done = cli("run", "plan.json", "--budget", "50")
    assert done.code == 2
    assert "plan.json was made with: --budget 5" in done.err
    assert cli("run", "plan.json", "--budget", "5", "--run-id", "default", "-q").code == 0


def test_a_plan_that_ran_out_of_budget_says_how_to_make_a_wider_one(cli: Cli) -> None:
    cli.write("short", SIX)
    assert cli("plan", "short.yaml", "-q", "--budget", "4", "-o", "plan.json").code == 0
    done = cli("run", "plan.json")
    assert done.code == 4
    remake = "crucible-batch plan short.yaml -o plan.json --budget 12"
    assert f"next     {remake}\n" in done.out
    assert cli(*remake.split()[1:], "-q").code == 0
    assert cli("run", "plan.json", "-q").code == 0


def test_a_plan_and_its_manifest_run_from_another_directory(cli: Cli) -> None:
    (cli.cwd / "here").mkdir()
    here = Cli(cli.cwd / "here", cli.url)
    here.write("carried")
    assert here("plan", "carried.yaml", "-q", "-o", "plan.json").code == 0
    shutil.copytree(cli.cwd / "here", cli.cwd / "there")
    shutil.rmtree(cli.cwd / "here")
    assert cli("run", "there/plan.json", "-q").code == 0
    assert (cli.cwd / "there/outputs/carried/default/report.json").is_file()
    assert not (cli.cwd / "outputs").exists()
