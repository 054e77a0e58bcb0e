"""The commands that are printed lead from a few jobs to all jobs."""

from __future__ import annotations

import json
import shlex

from tests.harness.commands import Cli, check_stream
from tests.harness.features import has_feature

FOXES = """\
- name: "fox-{{ n }}"
  prompt: "fox {{ n }}"
  matrix: {n: [1, 2, 3, 4, 5, 6]}
  params: {size.width: 64, size.height: 64}
"""


def next_command(out: str) -> list[str]:
    (line,) = (line for line in out.splitlines() if line.strip().startswith("next "))
    return shlex.split(line.split("next", 1)[1])[1:]


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_sample_says_what_all_jobs_cost_and_its_next_command_runs_them(cli: Cli) -> None:
    manifest = cli.write("sampled", FOXES, budget="{credits: 7}")
    plan = cli("plan", manifest, "--sample", "2")
    assert plan.code == 0, plan.err
    assert "--sample 2: 2 of 6 jobs are planned" in words(plan.out)
    done = cli(*next_command(plan.out))
    assert done.code == 0, done.err
    assert "2 of 2 selected jobs succeeded" in done.out
    assert "all jobs about 12 credits for 6 jobs: 8 more than so far, in " in words(done.out)
    # The budget is not enough for all jobs.
    assert next_command(done.out) == ["run", manifest, "--budget", "12"]
    status = cli("status", "outputs/sampled/default")
    assert "all jobs about 12 credits for 6 jobs" in words(status.out)
    assert next_command(status.out) == ["run", manifest, "--budget", "12"]
    page = (cli.cwd / "outputs/sampled/default/report.html").read_text()
    assert f"crucible-batch run {manifest} --budget 12" in page
    entire = cli(*next_command(done.out))
    assert entire.code == 0, entire.err
    assert "6 of 6 jobs succeeded, 2 of them earlier" in entire.out
    assert "all jobs" not in words(entire.out)
    assert "8 spent by this run · 12 by all runs" in entire.out
    if has_feature("check"):
        assert cli("check", "outputs/sampled/default").code == 0


def test_a_budget_that_is_enough_stays_as_it_was(cli: Cli) -> None:
    manifest = cli.write("enough", FOXES, budget="")
    done = cli("run", manifest, "--first=1", "--budget", "12", "--no-html")
    assert next_command(done.out) == ["run", manifest, "--budget", "12", "--no-html"]
    report = json.loads((cli.cwd / "outputs/enough/default/report.json").read_text())
    assert report["all_jobs"]["option"] == "--first"
    assert [row["name"] for row in report["jobs"] if row["status"] == "succeeded"] == ["fox-1"]


def test_the_json_has_what_all_jobs_cost(cli: Cli) -> None:
    manifest = cli.write("json-all", FOXES)
    result = check_stream(cli("run", manifest, "--sample", "1", "--json"), "run")
    entire = result["data"]["all_jobs"]
    assert entire.pop("more_seconds") >= 0
    assert entire == {
        "option": "--sample",
        "number": 1,
        "jobs": 6,
        "credits": "12",
        "more_credits": "10",
        "unknown_prices": [],
    }


def test_a_saved_sample_leads_to_a_saved_plan_of_all_jobs(cli: Cli) -> None:
    manifest = cli.write("saved-sample", FOXES)
    plan = cli("plan", manifest, "--sample", "1", "-o", "few.json")
    done = cli(*next_command(plan.out))
    assert done.code == 0, done.err
    again = cli(*next_command(done.out))
    assert again.code == 0, again.err
    entire = cli(*next_command(again.out))
    assert entire.code == 0, entire.err
    assert "6 of 6 jobs succeeded, 1 of them earlier" in entire.out


def test_a_sample_of_all_jobs_is_a_usual_run(cli: Cli) -> None:
    manifest = cli.write("all-sampled", FOXES)
    done = cli("run", manifest, "--sample", "100")
    assert "6 of 6 jobs succeeded" in done.out
    assert "all jobs" not in words(done.out)
    assert "next" not in words(done.out)


def test_no_jobs_and_both_options_are_refused(cli: Cli) -> None:
    manifest = cli.write("refused")
    assert cli("run", manifest, "--sample", "0").code == 2
    both = cli("run", manifest, "--sample", "1", "--first", "1")
    assert (both.code, "exclude each other" in both.err) == (2, True)
    assert not (cli.cwd / "outputs").exists()


def test_the_next_command_has_a_budget_that_is_enough_at_the_highest_prices(cli: Cli) -> None:
    """The estimate fits in the budget, and the last job could cost more than is left."""
    manifest = cli.write("nearly", FOXES, budget="{credits: 12, max_credits_per_job: 3}")
    done = cli("run", manifest, "--first", "1")
    assert "about 12 credits" in words(done.out)
    entire = cli(*next_command(done.out))
    assert entire.code == 0, entire.err
    assert "6 of 6 jobs succeeded" in entire.out


def test_more_than_all_jobs_are_all(cli: Cli) -> None:
    manifest = cli.write("every", FOXES, budget="{credits: 20}")
    for option in ("--first", "--sample"):
        done = cli("plan", manifest, option, "99999999999999999999", "--json")
        assert (done.code, done.envelope["data"]["total"]) == (0, 6)
