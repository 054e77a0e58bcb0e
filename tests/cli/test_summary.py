"""The last words of a run: ten lines at most, whatever there is to say."""

import io
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from crucible_batch.cli.render.summary import (
    Earlier,
    FailureGroup,
    credits_words,
    group_failures,
    next_step,
    show_summary,
)
from crucible_batch.report import JobRow, ReportHead
from crucible_batch.report.models import CountsRow, CreditsRow, ErrorRow, ManifestRow

ZERO = Decimal(0)


def head(stops: int, notes: int) -> ReportHead:
    return ReportHead(
        run_id="r",
        status="stopped",
        exit_code=5,
        manifest=ManifestRow(name="m", path="m.yaml", sha256="0"),
        started_at="2026-01-01T00:00:00.000Z",
        credits=CreditsRow(
            budget=None,
            spent=ZERO,
            held=ZERO,
            jobs=ZERO,
            uploads=ZERO,
            rebates=ZERO,
            refunded=ZERO,
            over_budget=ZERO,
        ),
        counts=CountsRow(total=9, failed=9),
        stops={f"s{number}": ErrorRow(code=f"STOP_{number}", message="why") for number in range(stops)},
        notes=[f"note {number}" for number in range(notes)],
    )


@pytest.mark.parametrize("failures", range(5))
@pytest.mark.parametrize("stops", range(4))
@pytest.mark.parametrize("notes", [0, 3])
def test_it_has_ten_lines_at_most_and_ends_with_what_to_type(failures: int, stops: int, notes: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    groups = [FailureGroup(f"CODE_{number}", "it failed", ("a", "b"), 2) for number in range(failures)]
    show_summary(console, head(stops, notes), Path("out"), failures=groups, next_step="crucible-batch run m.yaml")
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 10
    assert lines[-1].split(maxsplit=1) == ["next", "crucible-batch run m.yaml"]
    assert sum("STOP_" in line for line in lines) == min(2, stops)
    assert sum("note " in line for line in lines) <= min(2, notes)
    if failures + stops < 2:
        assert sum("note " in line for line in lines) == min(2, notes)


def row(name: str, status: str, code: str) -> JobRow:
    error = ErrorRow(code=code, message=f"because of {code}")
    return JobRow(
        name=name, status=status, workflow_id="w", params={}, idempotency_key="k", credits=Decimal(0), error=error
    )


def counted(**counts: int) -> ReportHead:
    whole = head(0, 0)
    total = sum(counts.values())
    return whole.model_copy(update={"counts": whole.counts.model_copy(update={"failed": 0, **counts, "total": total})})


def test_a_job_whose_fate_is_unknown_has_its_reason_and_the_way_out() -> None:
    report = counted(unknown=1, succeeded=1).model_copy(update={"exit_code": 5})
    groups = group_failures(report, [row("a", "unknown", "KEY_MAY_BE_FORGOTTEN")])
    assert [(group.status, group.code, group.names) for group in groups] == [
        ("unknown", "KEY_MAY_BE_FORGOTTEN", ("a",))
    ]
    step = next_step(report, "crucible-batch run m.yaml", groups)
    assert step is not None
    assert step.startswith("crucible-batch run m.yaml --resubmit-unknown ")
    assert next_step(report, "crucible-batch run m.yaml --resubmit-unknown", groups) == (
        "crucible-batch run m.yaml --resubmit-unknown"
    )


def test_what_is_paid_for_already_is_not_offered_another_attempt() -> None:
    report = counted(failed=1).model_copy(update={"exit_code": 1})
    for code in ("OUTPUT_EXISTS", "IDEMPOTENCY_KEY_REUSED", "OUTPUT_UNAVAILABLE", "LOST_BY_GATEWAY"):
        groups = group_failures(report, [row("a", "failed", code)])
        assert next_step(report, "crucible-batch run m.yaml", groups) == "crucible-batch run m.yaml"
    groups = group_failures(report, [row("a", "failed", "GPU_LOST")])
    assert next_step(report, "crucible-batch run m.yaml", groups) == "crucible-batch run m.yaml --retry-failed"


def test_what_was_found_again_is_not_called_spent_by_this_run() -> None:
    report = head(0, 0)
    books = report.credits.model_copy(update={"spent": Decimal(24), "jobs": Decimal(24), "reused": Decimal(24)})
    words = credits_words(report.model_copy(update={"credits": books}), Earlier(2, Decimal(4)))
    assert "24 of it found again, not bought" in words
    assert "by this run" not in words
