"""The metrics of a run: their names, values and labels, and the docs, alerts and dashboard that use
them.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from crucible_batch.features.telemetry.figures import RunFigures
from crucible_batch.features.telemetry.metrics import METRICS, registry_of
from crucible_batch.report import PeriodRow
from tests.features.telemetry.messages import balance, began, ended, held, whole_job
from tests.harness.case_table import each_case

DOCS = Path(__file__).parents[3] / "docs"
NAMES = {metric.name for metric in METRICS}
SAMPLE = re.compile(r"\bcrucible_batch_[a-z_]+")


def values(figures: RunFigures, manifest: str = "night") -> dict[str, float]:
    """Each sample as text, without the label that all have."""
    text = generate_latest(registry_of(manifest, figures)).decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("manifest") == manifest
            assert sample.timestamp is None
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[
                f"{sample.name.removeprefix('crucible_batch_')}{{{labels}}}"
                if labels
                else sample.name[15:]
            ] = sample.value
    return found


def test_a_run_is_reported() -> None:
    figures = RunFigures(100.0, schedule_interval_s=86400.0)
    for message in (
        began(101, 3, spent=5),
        *whole_job("a", 110),
        held("b", 140),
        ended(150, spent=9, held=2, code=5),
    ):
        figures.notify(message)
    figures.finish(152, 5, balance(9, 2))
    found = values(figures)
    expected = {
        "running": 0, "last_start_timestamp_seconds": 100, "last_end_timestamp_seconds": 152,
        "duration_seconds": 52, "last_success_timestamp_seconds": 0, "exit_code": 5,
        "budget_credits": 20, "spent_credits": 9, "held_credits": 2, "run_spent_credits": 4,
        "outputs": 1, "output_bytes": 1000, "retries{operation=generate}": 0,
        "schedule_interval_seconds": 86400, "jobs{outcome=succeeded}": 0, "outage_seconds": 0,
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected


def test_an_active_run_has_neither_end_nor_exit_code() -> None:
    figures = RunFigures(100.0)
    figures.notify(began(101, 2))
    found = values(figures)
    assert found["running"] == 1
    assert found["jobs{outcome=pending}"] == 2
    assert not {"exit_code", "last_end_timestamp_seconds", "duration_seconds"} & set(found)


def test_what_is_not_known_is_missing_and_not_0() -> None:
    figures = RunFigures(100.0)
    figures.finish(101, 2)
    found = values(figures)
    assert found["exit_code"] == 2
    for name in (
        "budget_credits",
        "spent_credits",
        "held_credits",
        "run_spent_credits",
        "schedule_interval_seconds",
    ):
        assert name not in found
    assert not [name for name in found if name.startswith("jobs")]


def test_the_budget_of_a_period_is_that_of_its_account_also_if_its_end_is_not_known() -> None:
    figures = RunFigures(100.0)
    period = PeriodRow(
        account="studio", per="month", limit=Decimal(30), spent=Decimal("6.5"),
        set_aside=Decimal(2), until="2026-12-01", ends_at="1970-01-01T00:33:20Z",
    )  # fmt: skip
    figures.finish(101, 0, balance(9, 2), period)
    found = values(figures)
    assert {
        name.removesuffix("{account=studio}"): each
        for name, each in found.items()
        if "account" in name
    } == {
        "period_limit_credits": 30,
        "period_spent_credits": 6.5,
        "period_set_aside_credits": 2,
        "period_end_timestamp_seconds": 2000,
    }
    figures.finish(101, 0, balance(9, 2), period.model_copy(update={"ends_at": None}))
    found = values(figures)
    assert len([name for name in found if name.startswith("period")]) == 3
    assert not [name for name in found if name.startswith("period_end")]
    figures.finish(102, 0, balance(9, 2))
    assert not [name for name in values(figures) if name.startswith("period")]


def test_no_metric_has_the_run_id_or_the_name_of_a_job_as_a_label() -> None:
    """Each value of a label is a time series for ever."""
    assert {label for metric in METRICS for label in metric.labels} == {
        "version", "outcome", "operation", "account",
    }  # fmt: skip


def test_the_table_in_the_docs_has_each_metric() -> None:
    table = re.findall(
        r"^\| `(crucible_batch_\w+)` \| (.*?) \| (.+) \|$", _page(), flags=re.MULTILINE
    )
    assert table == [
        (metric.name, " ".join(f"`{label}`" for label in metric.labels), metric.meaning)
        for metric in METRICS
    ]


def _page() -> str:
    return (DOCS / "metrics.md").read_text(encoding="utf-8")


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DOCS / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _queries() -> list[str]:
    board = json.loads((DOCS / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    panels = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return [
        *panels,
        *(
            variable["query"]
            for variable in board["templating"]["list"]
            if variable["type"] == "query"
        ),
    ]


@each_case("rule", _rules())
def test_an_alert_uses_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert set(SAMPLE.findall(rule["expr"])) <= NAMES
    assert SAMPLE.findall(rule["expr"])
    assert rule["annotations"]["summary"]
    assert f"`{rule['alert']}`" in _page(), "each alert is explained"


def test_the_dashboard_uses_metrics_that_exist() -> None:
    queries = _queries()
    assert len(queries) > 8
    for query in queries:
        assert set(SAMPLE.findall(query)) <= NAMES, query
        assert SAMPLE.findall(query), query


def test_the_dashboard_names_no_data_source_of_its_author() -> None:
    board = json.loads((DOCS / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    sources = {panel["datasource"]["uid"] for panel in board["panels"] if "datasource" in panel}
    assert sources == {"${datasource}"}
    assert board["id"] is None
