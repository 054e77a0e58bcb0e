"""The steps of an exported GitHub workflow show plan and report in their summaries."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.harness.commands import Cli
from tests.harness.forked_commands import COMMAND

HEAD = 'run_id: "{{ date }}"\nschedule: {cron: "15 3 * * *"}\n'


def _step(cli: Cli, step: dict[str, Any], summary: Path) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does: each has a summary of its own."""
    environment = {
        **cli.environment,
        "PATH": f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(summary),
        "MANIFEST": step["env"]["MANIFEST"],
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(
        command, cwd=cli.cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_plan_and_report_are_in_the_summaries_of_their_steps(cli: Cli) -> None:
    (cli.cwd / ".git").mkdir()
    manifest = cli.write("spring-night", head=HEAD)
    exported = cli("schedule", "export", manifest, "--to", "github-actions")
    assert exported.code == 0, exported.err
    steps = yaml.safe_load(exported.out)["jobs"]["run"]["steps"]
    plan, run = (each for each in steps if "MANIFEST" in each.get("env", ()))
    assert plan["continue-on-error"] is True
    summaries = [cli.cwd / "1.md", cli.cwd / "2.md"]
    for step, summary in zip((plan, run), summaries, strict=True):
        done = _step(cli, step, summary)
        assert done.returncode == 0, done.stderr
    planned, reported = (summary.read_text() for summary in summaries)
    assert planned.startswith("## Plan of `spring-night` · `")
    assert "| `zimage-base` | 1 | not known yet | ? | none |" in planned
    assert reported.startswith("## Run of `spring-night` · `")
    assert "**1 of 1 jobs succeeded** · exit code 0" in reported
    assert (planned.count("## "), reported.count("## ")) == (1, 1)
