"""The alerts in Prometheus' own checker: their syntax, when they fire, and the names of the
metrics.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from crucible_batch.features.telemetry.figures import RunFigures
from crucible_batch.features.telemetry.metrics import registry_of

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "docs" / "deploy" / "alerts.yml"
TESTS = Path(__file__).with_name("alerts_test.yml")


def promtool(*words: str, text: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run promtool. These tests are about it: without it they fail."""
    found = shutil.which("promtool")
    if found is None:
        pytest.fail(
            "alerts are tested by promtool, which is not installed "
            "(Debian: apt-get install promtool)"
        )
    return subprocess.run(
        [found, *words], input=text, capture_output=True, text=True, cwd=cwd, check=False
    )


def test_the_rules_are_valid() -> None:
    done = promtool("check", "rules", "--lint-fatal", str(ALERTS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 rules found" in done.stdout


def test_the_rules_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(TESTS, tmp_path)
    done = promtool("test", "rules", TESTS.name, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_is_tested_to_fire() -> None:
    rules = {
        rule["alert"]
        for group in yaml.safe_load(ALERTS.read_text())["groups"]
        for rule in group["rules"]
    }
    tests = yaml.safe_load(TESTS.read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == rules


def test_the_metrics_have_no_problem_that_prometheus_linter_knows() -> None:
    figures = RunFigures(1.0, schedule_interval_s=86400.0)
    figures.finish(2.0, 0)
    done = promtool(
        "check", "metrics", text=generate_latest(registry_of("night", figures)).decode()
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
