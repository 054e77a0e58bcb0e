"""The last words of a run: twelve lines at most, whatever there is to say."""

import io
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from crucible_batch.cli.render.summary import EarlierRuns, credits_words, show_summary
from crucible_batch.core.account_shortage import CHECK_IT
from crucible_batch.core.outcome import EVERYTHING, IN_DOUBT
from crucible_batch.core.retry_rule import HOPELESS_CODES, first_steps
from crucible_batch.report import JobRow, ReportHead
from crucible_batch.report.models import CountsRow, CreditsRow, ErrorRow, ManifestRow, PeriodRow
from crucible_batch.runs import next_step as steps
from crucible_batch.runs.next_step import FailureGroup, group_failures
from tests.harness.case_table import each_case

ZERO = Decimal(0)
RUN = "crucible-batch run m.yaml"


def next_step(*given: Any, **more: Any) -> str | None:
    """What to do next, in words."""
    found = steps.next_step(*given, **more)
    return None if found is None else str(found)


def next_of_shard(*given: Any) -> str:
    return str(steps.next_of_shard(*given))


def head(stops: int, notes: int, hint: str | None = None) -> ReportHead:
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
        stops={
            f"s{number}": ErrorRow(code=f"STOP_{number}", message="why", hint=hint)
            for number in range(stops)
        },
        notes=[f"note {number}" for number in range(notes)],
    )


@each_case("failures", range(5))
@each_case("stops", range(4))
@each_case("notes", [0, 3])
@each_case("hint", [None, "do it"])
def test_it_has_twelve_lines_at_most_and_ends_with_what_to_type(
    failures: int, stops: int, notes: int, hint: str | None
) -> None:
    stream = io.StringIO()
    groups = [FailureGroup(f"CODE_{number}", "it", ("a",), 9) for number in range(failures)]
    show_summary(
        Console(file=stream, width=200),
        head(stops, notes, hint),
        Path("out"),
        failures=groups,
        next_step=RUN,
        page=Path("p"),
    )
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 12
    assert lines[-1].split(maxsplit=1) == ["next", RUN]
    assert sum("note " in line for line in lines) == min(1 if stops else 2, notes)
    assert [line for line in lines if "hint" in line] == ["  hint     do it"] * bool(stops and hint)
    assert sum("STOP_" in line for line in lines) == min(2, stops)
    assert sum("CODE_" in line for line in lines) == min(3, failures)
    assert ("it" in map(str.strip, lines)) is (failures == 1)


@pytest.mark.parametrize(("succeeded", "is_shown"), [(0, False), (1, True)])
def test_a_run_without_an_output_shows_no_page_of_pictures(succeeded: int, is_shown: bool) -> None:
    stream = io.StringIO()
    report = counted(succeeded=succeeded, failed=2)
    show_summary(
        Console(file=stream),
        report,
        Path("out"),
        failures=[],
        next_step=None,
        page=Path("out/report.html"),
    )
    assert ("pictures" in stream.getvalue()) is is_shown


def row(name: str, status: str, code: str, message: str | None = None) -> JobRow:
    error = ErrorRow(code=code, message=message or f"because of {code}")
    return JobRow(
        name=name,
        status=status,
        workflow_id="w",
        params={},
        idempotency_key="k",
        credits=Decimal(0),
        error=error,
    )


def counted(**counts: int) -> ReportHead:
    whole = head(0, 0)
    total = sum(counts.values())
    return whole.model_copy(
        update={"counts": whole.counts.model_copy(update={"failed": 0, **counts, "total": total})}
    )


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
    groups = group_failures(report, [row("a", "failed", "OUTPUT_UNAVAILABLE")])
    assert next_step(report, "crucible-batch run m.yaml", groups) == "crucible-batch run m.yaml"
    for code in ("OUTPUT_EXISTS", "OUTPUT_CHANGED", "LOST_BY_GATEWAY"):
        groups = group_failures(report, [row("a", "failed", code)])
        step = next_step(report, "crucible-batch run m.yaml", groups)
        (first,) = first_steps({code: f"because of {code}"})
        assert step == f"{first}, then: crucible-batch run m.yaml", (
            "the command changes nothing by itself"
        )
        assert "--retry-failed" not in (step or "")
    groups = group_failures(report, [row("a", "failed", "GPU_LOST")])
    assert (
        next_step(report, "crucible-batch run m.yaml", groups)
        == "crucible-batch run m.yaml --retry-failed"
    )


def test_a_denied_job_is_retried_only_once_there_is_access() -> None:
    step = f"ask the gateway's operator for access, then: {RUN} --retry-failed"
    report = counted(failed=1).model_copy(update={"exit_code": 1})
    for code in ("FORBIDDEN", "HTTP_403", "ACCOUNT_SUSPENDED"):
        assert next_step(report, RUN, group_failures(report, [row("a", "failed", code)])) == step
        stops = {"*": ErrorRow(code=code, message="not for you")}
        stopped = counted(failed=5, pending=2).model_copy(update={"exit_code": 5, "stops": stops})
        assert next_step(stopped, RUN, []) == step
        assert next_step(stopped, f"{RUN} --retry-failed", []) == step


def test_what_a_lost_directory_has_bought_is_bought_again_only_with_a_word_about_it() -> None:
    report = counted(failed=2).model_copy(update={"exit_code": 1})
    for others in ([], ["GPU_LOST"], ["OUTPUT_EXISTS"]):
        rows = [
            row("a", "failed", "IDEMPOTENCY_KEY_REUSED"),
            *(row("b", "failed", code) for code in others),
        ]
        step = next_step(report, RUN, group_failures(report, rows), never=HOPELESS_CODES) or ""
        command, _, comment = step.partition("   # ")
        assert command == f"{RUN} --retry-failed --resubmit-unknown"
        assert (
            comment
            == "buys again what a lost run directory bought; with a copy of it, that is free"
        )


def test_a_run_that_recovered_nothing_is_continued_without_the_option() -> None:
    stop = ErrorRow(code="NOT_REMEMBERED", message="it was bought now")
    report = counted(succeeded=1).model_copy(update={"exit_code": 5, "stops": {"": stop}})
    assert next_step(report, f"{RUN} --recover -c 4", []) == f"{RUN} -c 4   # buys the missing jobs"


def test_blocked_jobs_name_what_has_to_be_changed() -> None:
    report = counted(blocked=1).model_copy(update={"exit_code": 1})
    invalid = group_failures(report, [row("a", "blocked", "DERIVED_JOB_INVALID")])
    assert next_step(report, RUN, invalid) == f"change the entry of the blocked jobs, then: {RUN}"
    orphans = group_failures(report, [row("a", "blocked", "SOURCE_FAILED")])
    command = f"{RUN} --only 'final*' --budget 3 --only=x"
    assert next_step(report, command, orphans) == f"{RUN} --budget 3 --retry-failed"


def test_an_attempt_that_cannot_change_anything_is_not_proposed() -> None:
    report = counted(failed=2).model_copy(update={"exit_code": 1})
    hopeless = group_failures(
        report, [row("a", "failed", "INVALID_PARAMS"), row("b", "failed", "Nsfw_Content")]
    )
    assert (
        next_step(report, RUN, hopeless, never=HOPELESS_CODES)
        == f"change the failed jobs, then: {RUN}"
    )
    mixed = group_failures(
        report, [row("a", "failed", "INVALID_PARAMS"), row("b", "failed", "GPU_LOST")]
    )
    assert next_step(report, RUN, mixed, never=HOPELESS_CODES) == f"{RUN} --retry-failed"
    assert next_step(report, RUN, mixed, never={"INVALID_PARAMS", "GPU_LOST"}) == (
        f"change the failed jobs, then: {RUN}"
    )
    paid = group_failures(
        report, [row("a", "failed", "INVALID_PARAMS"), row("b", "failed", "OUTPUT_EXISTS")]
    )
    assert "--retry-failed" not in (next_step(report, RUN, paid, never=HOPELESS_CODES) or "")


def test_what_was_found_again_is_not_called_spent_by_this_run() -> None:
    report = head(0, 0)
    books = report.credits.model_copy(
        update={"spent": Decimal(24), "jobs": Decimal(24), "reused": Decimal(24)}
    )
    words = credits_words(report.model_copy(update={"credits": books}), EarlierRuns(2, Decimal(4)))
    assert not re.search(r"24 spent(?! by all)", words)
    assert re.search(r"\b0 (spent|paid|bought)|nothing (was )?(spent|paid|bought)", words)
    assert re.search(r"24\b[^·]*reused|reused[^·]*24", words)


def blocked(code: str, budget: str = "4") -> ReportHead:
    report = head(0, 0)
    stop = ErrorRow(code=code, message="why", hint="raise the budget")
    return report.model_copy(
        update={
            "exit_code": 4,
            "stops": {"workflow:w": stop},
            "credits": report.credits.model_copy(update={"budget": Decimal(budget)}),
        }
    )


@each_case(
    "command, enough, step",
    [
        (RUN, "14", f"{RUN} --budget 14"),
        (f"{RUN} --budget 4 -c 2", "14", f"{RUN} -c 2 --budget 14"),
        (f"{RUN} --budget=4", "14.5", f"{RUN} --budget 14.5"),
        (f"{RUN} --max-cost 4", "14", f"{RUN} --budget 14"),
        ("crucible-batch run 'a b.yaml'", "14", "crucible-batch run 'a b.yaml' --budget 14"),
        (f"{RUN} --budget 4", "4", f"{RUN} --budget 4"),
        (f"{RUN} --budget 4", None, f"set budget.max_credits_per_upload, then: {RUN} --budget 4"),
        (RUN, None, f"set budget.max_credits_per_upload, then: {RUN}"),
    ],
)
def test_the_command_after_a_budget_that_was_too_small_names_one_that_is_enough(
    command: str, enough: str | None, step: str
) -> None:
    found = next_step(
        blocked("BUDGET_EXHAUSTED"),
        command,
        [],
        enough=enough and Decimal(enough),  # type: ignore[arg-type]
    )
    assert found == step


def test_a_saved_plan_whose_budget_was_too_small_is_made_again_with_one_that_is_enough() -> None:
    remake = "crucible-batch plan m.yaml --budget 4 -o plan.json"
    step = next_step(
        blocked("BUDGET_EXHAUSTED"), f"{RUN} plan.json", [], remake=remake, enough=Decimal(12)
    )
    assert step == "crucible-batch plan m.yaml -o plan.json --budget 12"


def in_doubt(code: str, **stops: str) -> ReportHead:
    """A run that could not send a submit in doubt again."""
    report = blocked(code)
    why = {key: ErrorRow(code=other, message="why") for key, other in stops.items()}
    return report.model_copy(
        update={"exit_code": 5, "stops": {IN_DOUBT: report.stops["workflow:w"], **why}}
    )


def test_a_submit_in_doubt_that_the_budget_keeps_back_is_sent_with_a_larger_one() -> None:
    report = in_doubt("BUDGET_EXHAUSTED")
    assert report.is_short_of_budget
    assert next_step(report, f"{RUN} --budget 4", [], enough=Decimal(8)) == f"{RUN} --budget 8"
    assert (
        next_step(report, RUN, [], enough=Decimal(4)) == f"raise the budget, then: {RUN}"
    )  # the stop says why
    assert next_of_shard(report, RUN, [], "merge it") == "merge it   # once all shards have ended"


def test_a_run_that_something_else_stopped_too_is_resumed_by_the_same_command() -> None:
    report = in_doubt("BUDGET_EXHAUSTED", **{EVERYTHING: "DEADLINE"})
    assert not report.is_short_of_budget
    assert next_step(report, RUN, []) == next_of_shard(report, RUN, [], "merge it") == RUN


@each_case(
    "code, first",
    [
        ("INSUFFICIENT_CREDITS", "add credits to the account"),
        ("PRICE_ABOVE_CEILING", "raise the ceiling in the manifest"),
        ("PRICE_ROSE", "check the price"),
    ],
)
def test_a_command_that_would_be_blocked_again_is_never_printed_by_itself(
    code: str, first: str
) -> None:
    assert next_step(blocked(code), RUN, [], enough=Decimal(14)) == f"{first}, then: {RUN}"
    assert next_step(in_doubt(code), RUN, [], enough=Decimal(14)) == f"{first}, then: {RUN}"


def test_an_account_that_shows_enough_credits_after_a_402_is_checked_and_not_filled() -> None:
    report = blocked("INSUFFICIENT_CREDITS")
    stop = report.stops["workflow:w"].model_copy(
        update={"hint": f"{CHECK_IT} with the gateway's operator"}
    )
    report = report.model_copy(update={"stops": {"workflow:w": stop}})
    assert next_step(report, RUN, []) == f"{CHECK_IT}, then: {RUN}"


def test_a_run_that_its_period_ended_continues_in_the_next_one() -> None:
    period = PeriodRow(
        account="studio",
        per="month",
        limit=Decimal(50),
        spent=Decimal(46),
        set_aside=Decimal(4),
        until="2026-12-01 00:00 Europe/Berlin",
        exhausted=True,
    )
    stop = ErrorRow(code="BUDGET_EXHAUSTED", message="budget studio: 50 of 50 credits used")
    report = counted(blocked=1).model_copy(
        update={"exit_code": 4, "period": period, "stops": {"w": stop}}
    )
    assert (
        next_step(report, RUN, [], enough=Decimal(90))
        == f"{RUN}   # from 2026-12-01 00:00 Europe/Berlin"
    )
    assert not report.is_short_of_budget
    assert credits_words(report).endswith(" · studio: 46 of 50 spent this month, 4 set aside")
    books = report.credits.model_copy(update={"budget": Decimal(6)})
    allowed = credits_words(report.model_copy(update={"credits": books}))
    assert " · allowance 6 within the budget of the month · studio: 46 of 50" in allowed
    assert " budget 6" not in allowed
    assert " · budget 6" in credits_words(
        report.model_copy(update={"credits": books, "period": None})
    )
    own = report.model_copy(update={"period": period.model_copy(update={"exhausted": False})})
    assert next_step(own, RUN, [], enough=Decimal(90)) == f"{RUN} --budget 90"
    assert own.is_short_of_budget
