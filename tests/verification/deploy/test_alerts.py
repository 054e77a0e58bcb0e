"""The alerts in Prometheus' own checker: their syntax, when they fire, and the names of the metrics."""

from __future__ import annotations

import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from crucible_batch.telemetry.cluster_metrics import cluster_registry
from crucible_batch.telemetry.figures import ClusterFigures, RunFigures
from crucible_batch.telemetry.metrics import registry_of

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "docs" / "deploy" / "alerts.yml"
TESTS = tuple(map(Path(__file__).with_name, ("alerts_test.yml", "cluster_alerts_test.yml")))


def promtool(*words: str, text: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run promtool. These tests are about it: without it they fail."""
    found = shutil.which("promtool")
    if found is None:
        pytest.fail("alerts are tested by promtool, which is not installed (Debian: apt-get install promtool)")
    return subprocess.run([found, *words], input=text, capture_output=True, text=True, cwd=cwd, check=False)


def test_the_rules_are_valid() -> None:
    done = promtool("check", "rules", "--lint-fatal", str(ALERTS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "13 rules found" in done.stdout


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.name)
def test_the_rules_fire_when_they_should_and_only_then(tmp_path: Path, tests: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(tests, tmp_path)
    done = promtool("test", "rules", tests.name, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_is_tested_to_fire() -> None:
    rules = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    tests = [test for path in TESTS for test in yaml.safe_load(path.read_text())["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == rules


@pytest.mark.parametrize("broken", ["> 2 * crucible", "for: 1h"])
def test_a_rule_that_fires_earlier_is_noticed(tmp_path: Path, broken: str) -> None:
    text = ALERTS.read_text()
    assert broken in text
    earlier = {"> 2 * crucible": "> 1 * crucible", "for: 1h": "for: 0s"}[broken]
    (tmp_path / ALERTS.name).write_text(text.replace(broken, earlier))
    shutil.copy(TESTS[0], tmp_path)
    assert promtool("test", "rules", TESTS[0].name, cwd=tmp_path).returncode != 0


@pytest.mark.parametrize(
    "rule", ["for: 5m", "> 3600", 'unless ignoring(state) crucible_batch_cluster_workers{state="alive"} > 0']
)
def test_a_rule_of_clusters_that_is_broken_is_noticed(tmp_path: Path, rule: str) -> None:
    text = ALERTS.read_text()
    assert rule in text
    broken = {"for: 5m": "for: 0s", "> 3600": "> 1800"}.get(rule, "")
    (tmp_path / ALERTS.name).write_text(text.replace(rule, broken))
    shutil.copy(TESTS[1], tmp_path)
    assert promtool("test", "rules", TESTS[1].name, cwd=tmp_path).returncode != 0


def test_the_metrics_have_no_problem_that_prometheus_linter_knows() -> None:
    figures = RunFigures(1.0, schedule_interval_s=86400.0)
    figures.finish(2.0, 0)
    cluster = ClusterFigures(1, {"waiting": 1}, {"alive": 1}, 5.0, 1.0, 1.0, Decimal(2))
    for registry in (registry_of("night", figures), cluster_registry("db:5432/batch", cluster, 1.0)):
        done = promtool("check", "metrics", text=generate_latest(registry).decode())
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
