"""The figures of a run, from a sequence of messages."""

from __future__ import annotations

from decimal import Decimal

from crucible_batch.core.job import Phase
from crucible_batch.core.progress import (
    GatewayBack,
    GatewayUnreachable,
    JobsAdded,
    Message,
    Retrying,
)
from crucible_batch.features.telemetry.figures import RunFigures
from tests.features.telemetry.messages import (
    accepted,
    balance,
    began,
    ended,
    failed,
    held,
    interleaved,
    made,
    refused,
    resumed,
    saved,
    whole_job,
)
from tests.harness.replacing import replace


def figures_of(*messages: Message) -> RunFigures:
    figures = RunFigures(90.0)
    for message in messages:
        figures.notify(message)
    return figures


def outcomes(figures: RunFigures) -> dict[str, int]:
    return {outcome.value: count for outcome, count in figures.counts.items() if count}


def test_the_saved_outputs_are_counted() -> None:
    figures = figures_of(began(100, 2), *interleaved([whole_job("a", 100), whole_job("b", 110)]))
    assert (figures.outputs, figures.byte_size) == (2, 2000)


def test_jobs_are_counted_by_outcome_while_the_run_is_active() -> None:
    start = began(100, 5, succeeded=1, unknown=1, blocked=1)
    assert outcomes(figures_of(start)) == {"succeeded": 1, "pending": 4}
    half = figures_of(start, *whole_job("a"), held("b", 100), refused("b", 101), held("c", 102))
    assert outcomes(half) == {"succeeded": 2, "failed": 1, "pending": 2}


def test_jobs_that_are_added_are_pending() -> None:
    assert outcomes(figures_of(began(1, 1), JobsAdded(2, 3, "a"), *whole_job("b"))) == {
        "succeeded": 1,
        "pending": 3,
    }


def test_an_attempt_that_failed_is_not_a_failed_job() -> None:
    figures = figures_of(began(1, 1), held("a", 1), accepted("a", 2), failed("a", 3, is_last=False))
    assert outcomes(figures) == {"pending": 1}
    figures.notify(held("a", 4, 2))
    figures.notify(accepted("a", 5))
    figures.notify(failed("a", 6, is_last=True))
    assert outcomes(figures) == {"failed": 1}


def test_a_job_that_is_only_collected_is_not_one_of_the_runs_jobs() -> None:
    beside = [
        replace(message, beside=True) for message in (made("old", 3), saved("old", 5, is_last=True))
    ]
    figures = figures_of(began(1, 1), resumed(2, "old", Phase.IN_FLIGHT), *beside)
    assert outcomes(figures) == {"pending": 1}
    assert figures.outputs == 1


def test_the_end_has_the_last_word_on_outcomes_and_credits() -> None:
    figures = figures_of(
        began(1, 3, spent=7), held("a", 1), ended(9, spent=9, held=2, blocked=2, pending=1)
    )
    assert outcomes(figures) == {"blocked": 2, "pending": 1}
    assert figures.balance == balance(9, 2)
    assert figures.spent == Decimal(2)


def test_the_reports_credits_replace_those_of_the_last_message() -> None:
    figures = figures_of(began(1, 1, spent=7), ended(9, spent=9))
    figures.finish(10, 0, balance("8.5"))
    assert figures.spent == Decimal("1.5")


def test_only_exit_code_0_is_a_success() -> None:
    for code in (1, 2, 3, 4, 5, 6, 70, 130, 143):
        failing = figures_of()
        failing.finish(10, code)
        assert (failing.succeeded_at, failing.ended_at, failing.exit_code) == (None, 10, code)
    good = figures_of()
    good.finish(10, 0)
    assert good.succeeded_at == 10


def test_a_run_that_fails_before_it_begins_has_no_credits_and_no_jobs() -> None:
    figures = figures_of()
    figures.finish(10, 2)
    assert (figures.total, figures.balance, figures.spent) == (0, None, None)


def test_retries_and_outages_are_counted() -> None:
    again = Retrying(1, "generate", 1, 0.5, "RATE_LIMITED", "host")
    figures = figures_of(
        began(1, 1), again, again, Retrying(1, "job", 1, 0.5, "NO_ANSWER"),
        GatewayUnreachable(4, 60, 600, "no"),
        GatewayUnreachable(5, 120, 600, "no"), GatewayBack(6, 130),
    )  # fmt: skip
    assert figures.retries == {"generate": 2, "job": 1}
    assert figures.outage_s == 130
    figures.notify(GatewayUnreachable(9, 60, 600, "no"))
    assert figures.outage_s == 190, "a run may end during an outage"
