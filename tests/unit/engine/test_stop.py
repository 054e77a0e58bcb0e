"""What a run's reasons to stop make of its exit code."""

from __future__ import annotations

import pytest

from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.outcome import Ending, Outcome, conclude
from crucible_batch.engine.shutdown import Shutdown


def ending_of(stop: Shutdown, counts: dict[Outcome, int]) -> Ending:
    return conclude(counts, stop.stops, stop.reasons)


@pytest.mark.parametrize(
    ("counts", "code"),
    [
        ({Outcome.SUCCEEDED: 1, Outcome.FAILED: 1}, 1),
        ({Outcome.SUCCEEDED: 1, Outcome.BLOCKED: 1}, 4),
        ({Outcome.FAILED: 1, Outcome.BLOCKED: 1}, 4),
    ],
)
def test_a_stop_for_want_of_credits_ends_with_4_only_where_a_job_is_blocked_in_the_end(
    counts: dict[Outcome, int], code: int
) -> None:
    stop = Shutdown()
    stop.block("workflow:w", ErrorInfo("BUDGET_EXHAUSTED", "too dear"))
    assert stop.blocked("workflow:w")
    assert ending_of(stop, counts).exit_code == code
