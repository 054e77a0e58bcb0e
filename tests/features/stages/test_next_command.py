"""The next command after a run whose picks name outputs that its jobs do not have."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.core.retry_rule import HOPELESS_CODES
from crucible_batch.report import JobRow
from crucible_batch.report.models import SourceRow
from crucible_batch.runs.next_step import group_failures
from tests.unit.cli.test_summary import RUN, counted, next_step, row


def picked(name: str, source: str, index: int) -> JobRow:
    blocked = row(name, "blocked", "PICK_NOT_FOUND")
    return blocked.model_copy(update={"source": SourceRow(name=source, index=index)})


def test_a_pick_that_names_no_output_is_removed_by_the_next_command_whatever_else_failed() -> None:
    report = counted(failed=1, blocked=2).model_copy(update={"exit_code": 1})
    picks = [picked("final-a.1", "a b", 1), picked("final-c.7", "c", 7)]
    unpick = "crucible-batch pick out 'a b/1' c/7 --remove"

    def step(*rows: JobRow) -> str | None:
        return next_step(
            report, RUN, group_failures(report, rows), run_dir=Path("out"), never=HOPELESS_CODES
        )

    assert step(*picks) == f"{unpick} && {RUN}"
    assert step(*picks, row("d", "failed", "GPU_LOST")) == f"{unpick} && {RUN} --retry-failed"
    assert (
        step(*picks, row("d", "failed", "INVALID_PARAMS"))
        == f"change the failed jobs, then: {unpick} && {RUN}"
    )
    report = counted(blocked=11).model_copy(update={"exit_code": 1})
    many = [picked(f"final-{number}", "a", number) for number in range(11)]
    assert step(*many) == f"correct the picks, then: {RUN}"
