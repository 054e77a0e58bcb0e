"""The last words of a run: ten lines at most, whatever there is to say."""

import io
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from crucible_batch.cli.render.summary import FailureGroup, show_summary
from crucible_batch.report import ReportHead
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
