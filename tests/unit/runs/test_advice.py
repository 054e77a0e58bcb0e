"""What the page of a run proposes to do next."""

from __future__ import annotations

from typing import Any

from crucible_batch.report.models import WaitingRow
from crucible_batch.runs.next_step import NextStep, advice
from tests.harness.case_table import each_case
from tests.unit.cli.test_summary import RUN, head

PICKS = WaitingRow(name="final", sources="draft*", pick="picks.txt", choices=4)


@each_case(
    "more, step, text, command",
    [
        ({}, NextStep(RUN), "Continue with:", RUN),
        ({}, NextStep(RUN, "add credits"), "Add credits, then run:", RUN),
        ({}, NextStep(RUN, comment="later"), "Continue with (later):", RUN),
        ({}, None, "All jobs are complete. Nothing is left to do.", None),
        ({"shard": "3/8"}, NextStep(RUN), "The same command resumes shard 3/8.", None),
        ({"status": "succeeded", "waiting": [PICKS]}, None, "All jobs so far are complete.", RUN),
    ],
)
def test_the_page_proposes_the_next_step_of_the_terminal(
    more: dict[str, Any], step: NextStep | None, text: str, command: str | None
) -> None:
    found = advice(head(0, 0).model_copy(update=more), RUN, step)
    assert found.text.startswith(text)
    assert found.command == command


def test_the_words_are_those_of_the_page() -> None:
    found = advice(
        head(0, 0).model_copy(update={"status": "succeeded", "waiting": [PICKS]}), RUN, None
    )
    assert "waits for picks.txt. Pick its pictures, select Save picks, then run:" in found.text
