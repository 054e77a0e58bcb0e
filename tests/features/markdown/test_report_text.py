"""A report as Markdown, of rows that are made here."""

from __future__ import annotations

from decimal import Decimal

from crucible_batch.features.markdown.report_text import report_markdown
from crucible_batch.report import ErrorRow, JobRow, ReportHead
from crucible_batch.report.models import AttemptRow


def head(total: int = 0, **changes: object) -> ReportHead:
    amounts = dict.fromkeys(("jobs", "uploads", "rebates", "over_budget"), "0")
    fields = {
        "run_id": "night",
        "status": "complete",
        "exit_code": 1,
        "manifest": {"name": "spring", "path": "spring.yaml", "sha256": "0" * 64},
        "started_at": "2026-11-26T01:20:00Z",
        "credits": {**amounts, "budget": None, "spent": "7", "held": "1", "refunded": "2"},
        "counts": {"total": total, "failed": total},
        **changes,
    }
    return ReportHead.model_validate(fields)


def row(number: int, workflow: str = "zimage-base", *prices: str) -> JobRow:
    attempts = [
        AttemptRow(
            idempotency_key="k", job_id="j", status="failed", credits=Decimal(price), held_at=1.0
        )
        for price in prices
    ]
    return JobRow(
        name=f"fox-{number}",
        status="failed",
        workflow_id=workflow,
        params={},
        idempotency_key="k",
        attempts=attempts,
        credits=sum((each.credits for each in attempts), Decimal(0)),
        error=ErrorRow(code="GENERATION_FAILED", message="It failed."),
    )


def test_only_the_first_of_many_failed_jobs_are_shown() -> None:
    text = report_markdown(head(1203), map(row, range(1203)))
    assert text.count("| failed | `GENERATION_FAILED` |") == 50
    assert "\n… and 1,153 more jobs: `report.json` has them all\n" in text
    assert "| 0 | 1,203 | 1,203 | 7 | 1 | 2 | none |" in text
    assert "### Jobs that failed" in text
    assert "| workflow |" not in text  # nothing was bought


def test_a_workflow_has_its_lowest_and_its_highest_price() -> None:
    rows = [row(1, "a", "2"), row(2, "a", "2", "3"), row(3, "b|c", "0.5")]
    text = report_markdown(head(3), rows)
    assert "| `a` | 2 | 2 to 3 | 7 |\n" in text
    assert r"| `b\|c` | 1 | 0.5 | 0.5 |" in text


def test_many_workflows_are_cut_too() -> None:
    text = report_markdown(head(60), (row(number, f"w{number}", "1") for number in range(60)))
    assert "… and 10 more workflows: " in text


def test_a_run_that_stopped_has_its_reasons_and_notes() -> None:
    stop = {"code": "HTTP_500", "message": "a | b", "hint": "wait"}
    text = report_markdown(
        head(stops={"*": stop, "w": stop}, notes=["a <b>note</b>"], exit_code=None), ()
    )
    assert "· not ended\n" in text
    assert r"| stopped | `HTTP_500: a \| b` |" in text
    assert text.count("| stopped |") == 1
    assert "| hint | `wait` |" in text
    assert "| note | `a <b>note</b>` |" in text
