"""Plans, runs and reports as Markdown, from the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options

from tests.harness.commands import Cli, check_stream, running_sandbox

HOSTILE = r"""
- {name: fox, prompt: "a fox"}
- name: "{{ bad }}"
  prompt: "a | b </td><script>alert(1)</script> @octocat [x](https://example.com) `y`"
  matrix: {bad: [one]}
"""
VARIABLE = "GITHUB_STEP_SUMMARY"


def rendered(text: str) -> str:
    return cmarkgfm.github_flavored_markdown_to_html(text, options=Options.CMARK_OPT_UNSAFE)


def check_harmless(text: str) -> None:
    """Check that all tags are those of our tables and headings."""
    tags = set(re.findall(r"</?([a-z0-9]+)", rendered(text)))
    ours = {"h2", "h3", "p", "strong", "code", "table", "thead", "tbody", "tr", "th", "td"}
    assert tags <= ours, text


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Cli]:
    """A command whose gateway fails each job."""
    options = ("--time-scale", "0", "--faults", "generate.fail:1")
    with running_sandbox(*options) as url:
        yield Cli(tmp_path, url)


def test_a_plan_as_markdown_has_prices_and_budget(cli: Cli) -> None:
    manifest = cli.write("spring-plan", "- {name: fox, prompt: a fox, repeat: 3}")
    plan = cli("plan", manifest, "--markdown")
    assert plan.code == 0, plan.err
    assert plan.out.startswith("## Plan of `spring-plan` · `default`\n\n**3 jobs**: 3 new\n")
    assert "| `zimage-base` | 3 | not known yet | ? | none |\n" in plan.out
    assert "| budget | `100 credits` |\n" in plan.out
    assert "| `+ 3 new` | `zimage-base: fox-1, fox-2, fox-3` |\n" in plan.out
    assert "next" not in plan.out
    check_harmless(plan.out)


def test_only_the_first_of_many_changes_are_shown(cli: Cli) -> None:
    manifest = cli.write("many-new", "- {name: fox, prompt: a fox, repeat: 60}")
    plan = cli("plan", manifest, "--markdown", "-v")
    assert plan.out.count("\n| `+ fox-") == 50
    assert "\n… and 10 more rows: `plan --json` has them all\n" in plan.out


def test_a_report_as_markdown_has_totals_and_prices(cli: Cli) -> None:
    manifest = cli.write("spring-report", "- {name: fox, prompt: a fox, repeat: 3}")
    assert cli("run", manifest, "-q").code == 0
    report = cli("report", "outputs/spring-report/default", "--markdown")
    assert report.code == 0, report.err
    assert "**3 of 3 jobs succeeded** · exit code 0\n" in report.out
    assert (
        "| succeeded | failed | jobs | spent | held | refunded | budget |\n"
        "| --: | --: | --: | --: | --: | --: | --: |\n"
        "| 3 | 0 | 3 | 6 | 0 | 0 | 100 |\n"
    ) in report.out
    assert "| `zimage-base` | 3 | 2 | 6 |\n" in report.out
    assert "failed\n\n" not in report.out
    check_harmless(report.out)


def test_failed_jobs_are_named_and_hostile_prompts_are_shown_as_they_are(failing: Cli) -> None:
    manifest = failing.write("hostile", HOSTILE, head="retry: {attempts: 1}\n")
    assert failing("run", manifest, "-q").code == 1
    report = failing("report", "outputs/hostile/default", "--markdown")
    assert "### Jobs that failed\n" in report.out
    assert "| `fox` | failed | `GENERATION_FAILED` | " in report.out
    assert r"`` a \| b </td><script>alert(1)</script> @octocat [x](https://example.com) `y` ``" in (
        report.out
    )
    check_harmless(report.out)
    assert rendered(report.out).count("<tr>") == 2 + 2 + 3 + 2
    plan = failing("plan", manifest, "--markdown")
    assert "**2 jobs**: 2 failed\n" in plan.out
    assert "| `! fox` | `failed with GENERATION_FAILED; " in plan.out
    check_harmless(plan.out)


def test_each_command_adds_to_the_summary_of_its_step_once(cli: Cli) -> None:
    manifest, summary = cli.write("stepped"), cli.cwd / "summary.md"
    step = {VARIABLE: str(summary)}
    plan = cli("plan", manifest, "-q", **step)
    assert (plan.out, plan.err) == ("", "")
    run = cli("run", manifest, **step)
    assert "1 of 1 jobs succeeded" in run.out
    assert "##" not in run.out
    text = summary.read_text()
    assert re.findall("^## .*$", text, re.MULTILINE) == [
        "## Plan of `stepped` · `default`",
        "## Run of `stepped` · `default`",
    ]
    report = cli("report", "outputs/stepped/default", **step)
    assert report.out.startswith("✓ ")
    assert summary.read_text().count("## Run of ") == 2
    check_harmless(summary.read_text())


def test_what_is_printed_is_what_is_added(cli: Cli) -> None:
    manifest, summary = cli.write("printed"), cli.cwd / "summary.md"
    plan = cli("plan", manifest, "--markdown", **{VARIABLE: str(summary)})
    assert summary.read_text() == plan.out


def test_with_json_the_markdown_is_on_stderr(cli: Cli) -> None:
    manifest = cli.write("json-plan")
    plan = cli("plan", manifest, "--markdown", "--json")
    assert check_stream(plan, "plan")["data"]["total"] == 1
    assert "## Plan of `json-plan`" in plan.err


def test_a_summary_that_cannot_be_written_fails_nothing(cli: Cli) -> None:
    manifest = cli.write("unwritable")
    step = {VARIABLE: str(cli.cwd / "missing" / "summary.md")}
    for words in (("plan", manifest), ("run", manifest), ("report", "outputs/unwritable/default")):
        done = cli(*words, **step)
        assert done.code == 0
        assert "the step summary" in done.err
        assert "can't be written: No such file or directory" in " ".join(done.err.split())
