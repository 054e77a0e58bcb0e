"""How the end of a command is measured, and what a schedule means for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

from crucible_batch.errors import (
    ConsentError,
    DeadlineError,
    JournalError,
    KeyRefusedError,
    RunBusyError,
    UserError,
)
from crucible_batch.features.telemetry.part import (
    balance_of,
    exit_code_of,
    longest_interval_s,
)
from crucible_batch.manifest import load_manifest
from crucible_batch.report.models import CountsRow, CreditsRow, ManifestRow, PeriodRow, ReportHead
from tests.harness.case_table import each_case

NOW = 1_795_000_000.0  # in November 2026


@each_case(
    "error, code",
    [
        (UserError("x"), 2), (ConsentError("x"), 2), (KeyRefusedError("x", code="x"), 3),
        (DeadlineError(), 5), (JournalError("x"), 5), (RunBusyError("x"), 6),
        (KeyboardInterrupt(), 130), (asyncio.CancelledError(), 130), (SystemExit(1), 143),
        (OSError(28, "full"), 5), (RuntimeError("bug"), 70),
    ],
)  # fmt: skip
def test_an_error_has_the_exit_code_that_the_command_would_have(
    error: BaseException, code: int
) -> None:
    assert exit_code_of(error) == code


def test_without_a_schedule_there_is_no_interval(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("version: 1\nname: a\nworkflow: w\njobs: [{name: a, prompt: a}]\n")
    assert longest_interval_s(load_manifest(path), NOW) is None


def test_a_run_without_telemetry_loads_neither_library() -> None:
    program = (
        "import sys, crucible_batch.runs.running, crucible_batch.cli.run_session;"
        " print(*({'prometheus_client', 'opentelemetry', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == ""


def _head(period: PeriodRow | None) -> ReportHead:
    zero = Decimal(0)
    return ReportHead(
        run_id="r",
        status="succeeded",
        exit_code=0,
        manifest=ManifestRow(name="m", path="m.yaml", sha256="0"),
        started_at="2026-01-01T00:00:00.000Z",
        credits=CreditsRow(
            budget=Decimal(6), spent=Decimal(6), held=zero, jobs=Decimal(6), uploads=zero,
            rebates=zero, refunded=zero, over_budget=zero,
        ),
        counts=CountsRow(total=2, succeeded=2),
        period=period,
    )  # fmt: skip


def test_what_a_period_had_left_is_not_the_budget_of_a_run() -> None:
    """It is used up by a good run, so that the alert for a budget that is nearly used would fire
    each night."""
    period = PeriodRow(
        account="studio",
        per="month",
        limit=Decimal(30),
        spent=Decimal(6),
        set_aside=Decimal(0),
        until="2026-12-01",
    )
    for given, budget in ((None, Decimal(6)), (period, None)):
        assert balance_of(_head(given)).budget == budget
