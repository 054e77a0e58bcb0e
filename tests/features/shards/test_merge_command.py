"""Shards are merged by the command: as one run on one machine, and refused in words otherwise."""

import json
import shlex
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli, running_sandbox
from tests.harness.features import has_feature

Report = Callable[[Path], dict[str, Any]]
JOBS = """- name: "fox-{{ style }}"
  prompt: "a fox in {{ style }}"
  matrix: {style: [ink, oil, chalk]}
  repeat: 3
- {name: edit, prompt: at night, workflow: qwen-edit, image: a.png, repeat: 2}"""
BUDGET = "{credits: 120, max_credits_per_job: 8, max_credits_per_upload: 1}"
SIDECARS = "provenance: {sidecar: true}\n"
FOXES = "- {name: fox, prompt: a fox, repeat: 8}"


@pytest.fixture
def own_gateway() -> Iterator[str]:
    with running_sandbox("--time-scale", "0", "--credits", "1000") as url:
        yield url


@pytest.fixture
def own_cli(tmp_path: Path, own_gateway: str) -> Cli:
    return Cli(tmp_path, own_gateway)


def picture(path: Path, colour: str = "teal") -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), colour).save(path)


def divided(
    cli: Cli,
    name: str,
    jobs: str = "- {name: fox, prompt: a fox, repeat: 8}",
    *,
    budget: str = BUDGET,
    shards: int = 4,
    head: str = "",
) -> Path:
    """Plan shards; return the main run directory."""
    picture(cli.cwd / "a.png")
    cli.write(name, jobs, budget=budget, head=head)
    probe = ("--probe",) if "image:" in jobs else ()
    done = cli("plan", f"{name}.yaml", "--shards", str(shards), *probe, "-o", "plan.json")
    assert done.code == 0, done.err
    return cli.cwd / "outputs" / name / "default"


def run_shards(cli: Cli, *numbers: int) -> None:
    """Run the shards with these numbers, by default all."""
    count = len(plan_of(cli)["shards"])
    for number in numbers or range(1, count + 1):
        done = cli("run", "plan.json", "--shard", f"{number}/{count}", "-q")
        assert done.code in {0, 4}, done.err


def plan_of(cli: Cli) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((cli.cwd / "plan.json").read_text(encoding="utf-8"))
    return plan


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a report without what another gateway, or another time, makes differently."""
    row = {
        key: value for key, value in row.items() if key not in {"job_id", "attempts", "image_files"}
    }
    row["outputs"] = [
        {key: value for key, value in output.items() if key not in {"saved_at"}}
        for output in row["outputs"]
    ]
    return row


def spent_at(url: str | None) -> Decimal:
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        rows = json.load(answer, parse_float=Decimal)["ledger"]
    return 1000 - Decimal(rows[-1]["balance_after"])


def test_four_shards_are_merged_to_the_report_of_one_run(
    own_cli: Cli, report_of: Report, tmp_path: Path
) -> None:
    cli = own_cli
    jobs = JOBS.replace("image: a.png, repeat: 2", "image: a.png")
    main = divided(cli, "same", jobs, head=SIDECARS)
    run_shards(cli)
    done = cli("merge", "outputs/same/default")
    assert done.code == 0, done.err
    assert "10 of 10 jobs succeeded" in done.out
    assert "shards 1, 2, 3, 4 merged" in done.out
    merged = report_of(main)

    alone = tmp_path / "alone"
    alone.mkdir()
    with running_sandbox("--time-scale", "0", "--credits", "1000") as url:
        one = Cli(alone, url)
        picture(alone / "a.png")
        one.write("same", jobs, budget=BUDGET, head=SIDECARS)
        assert one("run", "same.yaml", "-q").code == 0
        assert spent_at(url) == spent_at(cli.url) == Decimal(merged["credits"]["spent"])
    single = report_of(alone / "outputs/same/default")
    assert [told(row) for row in merged["jobs"]] == [told(row) for row in single["jobs"]]
    assert merged["credits"] == single["credits"]
    assert merged["counts"] == single["counts"]
    assert merged["notes"] == single["notes"]
    assert (merged["status"], merged["shard"]) == ("succeeded", None)
    for row in merged["jobs"]:
        for output in row["outputs"]:
            content = (main / output["path"]).read_bytes()
            assert content == (alone / "outputs/same/default" / output["path"]).read_bytes()
            assert (
                json.loads((main / f"{output['path']}.json").read_text())["output"]["sha256"]
                == output["sha256"]
            )
    if has_feature("check"):
        checked = cli("check", "outputs/same/default", "--json")
        assert (checked.code, checked.envelope["data"]["ledger"]["differences"]) == (0, [])
    assert "nothing to run" in cli("plan", "same.yaml").out
    again = cli("run", "same.yaml")
    assert (again.code, spent_at(cli.url)) == (0, Decimal(merged["credits"]["spent"]))


def test_an_abandoned_shard_returns_its_credits(cli: Cli, report_of: Report) -> None:
    main = divided(cli, "abandoned")
    run_shards(cli, 1, 2, 4)
    refused = cli("merge", "outputs/abandoned/default", "--abandon", "3", "--abandon", "1")
    assert (refused.code, "shard 1/4 can't be abandoned" in refused.err) == (2, True)
    done = cli("merge", "outputs/abandoned/default", "--abandon", "3/4")
    assert done.code == 5
    assert "shard 3 abandoned" in done.out
    assert report_of(main)["counts"]["pending"] == 2
    run_again = cli("run", "plan.json", "--shard", "3/4")
    assert run_again.code == 2, run_again.out
    assert cli("run", "abandoned.yaml").code == 0
    assert report_of(main)["counts"]["succeeded"] == 8


@pytest.mark.parametrize("value", ["three", "0", "-1", "1.5", ""])
def test_a_number_that_is_no_shard_is_refused(lonely_cli: Cli, value: str) -> None:
    done = lonely_cli("merge", "outputs/x/default", f"--abandon={value}")
    assert (done.code, "is not the number of a shard" in done.err) == (2, True)


def test_nothing_runs_in_the_main_directory_until_the_merge(cli: Cli) -> None:
    divided(cli, "waiting", shards=2)
    refused = cli("run", "waiting.yaml", "--json")
    assert (refused.code, refused.envelope["error"]["code"]) == (2, "SHARDS_OUTSTANDING")
    assert "crucible-batch merge outputs/waiting/default" in refused.envelope["error"]["hint"]
    run_shards(cli)
    assert cli("run", "waiting.yaml").code == 2
    note = cli("plan", "waiting.yaml")
    assert "not merged yet: 1, 2 of 2" in " ".join(note.out.split())
    assert note.out.splitlines()[-1].split("next")[-1].split("#")[0].strip() == (
        "crucible-batch merge outputs/waiting/default"
    )
    listed = cli("status", "--json").envelope["data"]["runs"]
    # The refused runs are listed too, as runs that have not started.
    assert [
        (run["state"], run["next"].split("   ")[0])
        for run in listed
        if run["state"] != "not_started"
    ] == [("waiting", "crucible-batch merge outputs/waiting/default")]
    assert cli("merge", "outputs/waiting/default", "-q").code == 0
    states = [run["state"] for run in cli("status", "--json").envelope["data"]["runs"]]
    assert set(states) - {"not_started"} == {"done"}
    assert cli("run", "waiting.yaml").code == 0


def test_status_names_the_shards_that_are_not_merged(cli: Cli) -> None:
    cli.write("probed", FOXES, budget=BUDGET)
    assert cli("run", "probed.yaml", "--only", "fox-1", "-q").code == 0
    assert cli("plan", "probed.yaml", "--shards", "2", "-o", "plan.json").code == 0
    status = cli("status", "outputs/probed/default")
    assert "not merged yet: 1, 2 of 2" in status.out
    assert "crucible-batch merge outputs/probed/default" in status.out
    data = cli("status", "outputs/probed/default", "--json").envelope["data"]
    assert (data["shards"]["missing"], data["shards"]["count"]) == ([1, 2], 2)


def test_a_merge_needs_neither_a_key_nor_a_network_and_succeeds_again(cli: Cli) -> None:
    main = divided(cli, "again", shards=2)
    run_shards(cli)
    assert Cli(cli.cwd, None)("merge", "outputs/again/default", "--no-html").code == 0
    assert not (main / "report.html").exists()
    repeated = cli("merge", "outputs/again/default", "--json")
    assert (repeated.code, repeated.envelope["data"]["merge"]["repeated"]) == (0, True)
    assert "were merged before" in cli("merge", "outputs/again/default").out


def test_shards_that_ran_on_other_machines_are_merged(
    cli: Cli, tmp_path: Path, report_of: Report
) -> None:
    """Each machine has plan and manifest; their results are copied back beside each other."""
    main = divided(cli, "machines", shards=2)
    for number in (1, 2):
        there = tmp_path / f"machine-{number}"
        there.mkdir()
        for name in ("plan.json", "machines.yaml"):
            shutil.copy(cli.cwd / name, there / name)
        ran = Cli(there, cli.url)(
            "run", "plan.json", "--shard", f"{number}/2", "--out-dir", "results", "-q"
        )
        assert ran.code == 0, ran.err
    given = [f"machine-{number}/results" for number in (1, 2)]
    unknown = cli("merge", *given)
    assert (unknown.code, "--out-dir" in unknown.err) == (2, True)
    assert cli("merge", *given, "--out-dir", "outputs/machines/default").code == 0
    assert report_of(main)["counts"]["succeeded"] == 8
    if has_feature("check"):
        assert cli("check", "outputs/machines/default").code == 0


def test_jobs_whose_images_can_not_be_paid_for_are_no_success_of_the_merge(
    own_cli: Cli, report_of: Report
) -> None:
    """They are in no shard, since no shard uploads images; the budget is what they lack."""
    cli = own_cli
    for number in range(8):
        picture(cli.cwd / f"{number}.png", f"#{number:02x}8040")
    jobs = "\n".join(
        f"- {{name: p{n}, prompt: x, workflow: qwen-edit, image: {n}.png}}" for n in range(8)
    )
    main = divided(
        cli,
        "photos",
        jobs,
        budget="{credits: 16, max_credits_per_job: 4, max_credits_per_upload: 1}",
    )
    run_shards(cli)
    done = cli("merge", "outputs/photos/default")
    report = report_of(main)
    counts = report["counts"]
    assert 0 < counts["succeeded"] < counts["total"] == 8
    assert (done.code, report["exit_code"], report["status"]) == (4, 4, "blocked")
    assert counts["blocked"] == 8 - counts["succeeded"]
    assert "✓" not in done.out.splitlines()[0]
    assert "BUDGET_EXHAUSTED" in done.out
    assert spent_at(cli.url) == Decimal(report["credits"]["spent"]) <= 16
    command = done.out.splitlines()[-1].partition("next")[2].split()
    assert command[:2] == ["crucible-batch", "run"]
    assert cli(*command[1:]).code == 0
    assert report_of(main)["counts"]["succeeded"] == 8


def test_the_command_that_finishes_a_job_before_a_division_names_the_run_directory(
    tmp_path: Path,
) -> None:
    """Its budget ended while jobs had attempts left.

    Without --out-dir, the command would buy all of them again.
    """
    with running_sandbox("--time-scale", "0", "--credits", "1000", "--faults", "fail=2") as url:
        cli = Cli(tmp_path, url)
        budget = "{credits: 7, max_credits_per_job: 2, max_credits_per_upload: 1}"
        cli.write("half", FOXES, budget=budget, head="retry: {attempts: 3}\n")
        assert cli("run", "half.yaml", "--out-dir", "my runs/half").code == 4
        plan = (
            "plan",
            "half.yaml",
            "--out-dir",
            "my runs/half",
            "--budget",
            "20",
            "--shards",
            "2",
            "-o",
            "plan.json",
        )
        refused = cli(*plan, "--json")
        assert refused.code == 2
        error = refused.envelope["error"]
        assert "with another attempt to make" in error["message"]
        command = shlex.split(error["hint"].partition(": ")[2])
        assert command[:3] == ["crucible-batch", "run", "half.yaml"]
        assert command[command.index("--out-dir") + 1] == "my runs/half"
        finished = cli(*command[1:])
        assert finished.code == 0, finished.err
        assert not (tmp_path / "outputs").exists()
        assert spent_at(url) == 16
