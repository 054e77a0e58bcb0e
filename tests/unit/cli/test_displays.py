"""The displays without a terminal: the tally that they show, and the lines of the plain one."""

import io
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from crucible_batch.cli.display.json_lines import event_of
from crucible_batch.cli.display.live import LiveDisplay
from crucible_batch.cli.display.plain import PlainDisplay
from crucible_batch.cli.display.progress_state import ProgressState
from crucible_batch.cli.display.progress_text import GAP, bar, money_parts, stage_bars
from crucible_batch.core.events import Failed, Saved
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Phase
from crucible_batch.core.outcome import Ending, Outcome, RunStatus
from crucible_batch.core.pace import Pace
from crucible_batch.core.progress import (
    Balance,
    Controlled,
    JobAdvanced,
    Retrying,
    RunBegan,
    RunEnded,
    Stopping,
    TakenUp,
    Throttled,
)
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event, saved_event
from tests.harness.replacing import replace

BALANCE = Balance(Decimal(80), Decimal("12.5"), Decimal(4))


def began(total: int, **counts: int) -> RunBegan:
    return RunBegan(0.0, total, {Outcome(word): count for word, count in counts.items()}, BALANCE)


def accepted(name: str) -> JobAdvanced:
    event = accepted_event(2, "1")
    return JobAdvanced(0.0, name, name, event, Phase.SUBMITTING, Phase.IN_FLIGHT, BALANCE)


def saved(name: str) -> JobAdvanced:
    event = saved_event(0, "p")
    return JobAdvanced(0.0, name, name, event, Phase.FETCHING, Phase.SUCCEEDED, BALANCE)


def failed(name: str, phase: Phase = Phase.FAILED) -> JobAdvanced:
    event = Failed(at=0.0, error=ErrorInfo("BOOM", "it went [red]boom\x1b[31m"))
    return JobAdvanced(0.0, name, name, event, Phase.IN_FLIGHT, phase, BALANCE)


def counts(tally: ProgressState) -> tuple[int, int, int, int]:
    return (
        tally.counts[Outcome.SUCCEEDED],
        tally.counts[Outcome.FAILED],
        tally.in_flight,
        tally.waiting,
    )


def test_the_tally_follows_jobs_through_their_states() -> None:
    tally = ProgressState()
    tally.take(began(5, succeeded=1, pending=4), 10.0)
    assert counts(tally) == (1, 0, 0, 4)
    for name in ("a", "b", "c"):
        tally.take(accepted(name), 11.0)
    assert counts(tally) == (1, 0, 3, 1)
    tally.take(saved("a"), 12.0)
    tally.take(failed("b"), 13.0)
    tally.take(failed("c", Phase.READY), 14.0)
    assert counts(tally) == (2, 1, 0, 2)


def test_the_rate_and_the_rest_follow_from_what_was_finished() -> None:
    tally = ProgressState()
    tally.take(began(4), 0.0)
    assert tally.rate_per_min(1.0) is None
    tally.take(saved("a"), 5.0)
    tally.take(saved("b"), 10.0)
    assert tally.rate_per_min(10.0) == 12
    left = tally.left(10.0)
    assert left is not None
    assert left.likely_s == 10


def test_a_failure_is_notable_and_clean_and_a_retry_is_told_apart() -> None:
    tally = ProgressState()
    end, again = tally.take(failed("b"), 0.0), tally.take(failed("c", Phase.READY), 0.0)
    assert end is not None
    assert again is not None
    assert (end.code, end.message, end.retry, again.retry) == (
        "BOOM",
        "it went [red]boom",
        False,
        True,
    )


@each_case("done", [(0, 0), (1, 0), (0, 1), (99_999, 1), (50_000, 1)])
def test_the_bar_is_as_wide_as_it_may_be_and_shows_a_single_failure(done: tuple[int, int]) -> None:
    tally = ProgressState()
    tally.take(began(100_000, succeeded=done[0], failed=done[1]), 0.0)
    drawn = bar(tally, 56)
    assert drawn.cell_len == 56
    assert any(span.style == "red" and span.end > span.start for span in drawn.spans) is bool(
        done[1]
    )


def test_the_bar_tells_its_stages_apart_without_colours() -> None:
    tally = ProgressState()
    tally.take(began(10, succeeded=2), 0.0)
    tally.take(accepted("a"), 0.0)
    assert bar(tally, 46).plain == "━" * 8 + "╍" * 4 + "─" * 28 + "  2/10"


def test_each_stage_has_a_bar_of_the_jobs_that_have_it_behind_them() -> None:
    tally = ProgressState()
    tally.take(began(10, succeeded=2), 0.0)
    for name in ("a", "b", "c"):
        tally.take(accepted(name), 0.0)
    tally.take(failed("a"), 1.0)
    tally.take(TakenUp(0.0, "b", "b", Phase.FETCHING, 0.0), 1.0)
    tally.take(TakenUp(0.0, "other", "other", Phase.IN_FLIGHT, 0.0, beside=True), 1.0)
    lines = stage_bars(tally, 36)
    assert [line.plain for line in lines] == [
        "sent     ━━━━━━━━━━──────────   5/10",
        "made     ━━━━━━━━────────────   4/10",
        "done     ━━━━━━──────────────   3/10",
    ]
    assert ("red", 2) in {(str(span.style), span.end - span.start) for span in lines[2].spans}


def test_money_says_what_the_budget_leaves() -> None:
    tally = ProgressState()
    tally.take(began(1), 0.0)
    assert GAP.join(money_parts(tally)) == "12.5 spent · 4 held · 63.5 left of 80"
    tally.balance = Balance(Decimal(80), Decimal("80.5"), Decimal(0))
    assert GAP.join(money_parts(tally)) == "80.5 spent · 0 left of 80"


def test_money_says_of_which_budget_an_allowance_is() -> None:
    tally = ProgressState()
    tally.balance = Balance(Decimal(12), Decimal(2), Decimal(0), "studio, this month")
    assert (
        GAP.join(money_parts(tally)) == "2 spent · 10 left of the allowance 12 (studio, this month)"
    )
    tally.balance = replace(tally.balance, held=Decimal(10))
    assert GAP.join(money_parts(tally)) == "2 spent · 10 held · allowance 12 (studio, this month)"
    assert "allowance_of" not in event_of(replace(began(1), balance=tally.balance))[1]["balance"]


def test_a_job_that_is_sent_alone_is_shown_as_a_canary_until_it_is_accepted() -> None:
    tally = ProgressState()
    tally.take(RunBegan(0.0, 3, {}, Balance(Decimal(40), Decimal(0), Decimal(0))), 0.0)
    held = held_event(40, alone=True)
    all_held = Balance(Decimal(40), Decimal(0), Decimal(40))
    tally.take(JobAdvanced(0.0, "1", "a", held, Phase.READY, Phase.SUBMITTING, all_held), 0.0)
    assert GAP.join(money_parts(tally)) == (
        "0 spent · 40 held · "
        "one job holds the rest of the budget until its price is confirmed · budget 40"
    )
    event = accepted_event(2, "1")
    answered = Balance(Decimal(40), Decimal(0), Decimal(2))
    tally.take(JobAdvanced(1.0, "1", "a", event, Phase.SUBMITTING, Phase.IN_FLIGHT, answered), 1.0)
    assert GAP.join(money_parts(tally)) == "0 spent · 2 held · 38 left of 40"


def test_money_does_not_call_the_budget_used_up_while_the_rest_is_only_held() -> None:
    tally = ProgressState()
    tally.balance = Balance(Decimal(60), Decimal(36), Decimal(24))
    assert GAP.join(money_parts(tally)) == "36 spent · 24 held · budget 60"


def in_phase(name: str, event: Any) -> JobAdvanced:
    return JobAdvanced(0.0, name, name, event, Phase.FETCHING, Phase.FETCHING, BALANCE)


def output(index: int) -> Saved:
    return saved_event(index, "p")


def plain(messages: list[tuple[float, Any]]) -> list[str]:
    """Show messages at moments of their own, without an event loop's timer."""
    stream = io.StringIO()
    now = [0.0]
    display = PlainDisplay(Console(file=stream, width=200), clock=lambda: now[0])
    display._keep_beating = lambda: None  # type: ignore[method-assign]
    for at, message in messages:
        now[0] = at
        display.notify(message)
    return [line.partition("  ")[2] for line in stream.getvalue().splitlines()]


def test_plain_lines_come_every_two_seconds_at_most_and_each_failure_has_one() -> None:
    jobs: list[tuple[float, Any]] = [
        (0.01 * number, saved(str(number))) for number in range(1, 400)
    ]
    lines = plain([(0.0, began(1000)), *jobs, (4.0, failed("bad"))])
    assert lines[0].startswith("0/1000")
    assert [line.partition(" ")[0] for line in lines[1:-1]] == ["200/1000", "FAILED"]
    assert "bad  BOOM: it went [red]boom" in lines[2]


@pytest.mark.parametrize("name", ["slower", "waiting", "resumed", "paused", "control", "stopping"])
def test_a_failed_job_is_shown_as_such_even_if_its_name_is_that_of_a_state_of_the_run(
    name: str,
) -> None:
    assert plain([(0.0, began(9)), (1.0, failed(name))])[1:] == [
        f"FAILED  {name}  BOOM: it went [red]boom"
    ]
    display = LiveDisplay(Console(file=io.StringIO()), "x.yaml", clock=lambda: 0.0)
    for message in (began(9), failed(name)):
        display.notify(message)
    assert f"✗ {name}  BOOM" in display._lines(0.0, 96, 36)[-1].plain


def test_the_live_panel_shows_the_last_failures_and_the_retry_for_a_while() -> None:
    now = [0.0]
    stream = io.StringIO()
    console = Console(file=stream, width=70)
    display = LiveDisplay(console, "x.yaml", clock=lambda: now[0])
    messages = [
        began(9),
        *(failed(f"bad-{number}") for number in range(5)),
        Retrying(0.0, "job", 1, 2.0, "HTTP 429", "g.test"),
    ]
    for message in messages:
        display.notify(message)
    console.print(display._draw())
    assert "bad-1 " not in stream.getvalue()
    assert all(f"✗ bad-{number}  BOOM" in stream.getvalue() for number in (2, 3, 4))
    assert "HTTP 429; again in 2.0 s (g.test)" in stream.getvalue()
    now[0] = 60.0
    console.print(display._draw())
    assert stream.getvalue().count("HTTP 429") == 1


def shown(display: LiveDisplay, console: Console, stream: io.StringIO) -> str:
    stream.truncate(0)
    console.print(display._draw())
    return stream.getvalue()


def test_the_live_panel_shows_a_limit_that_fell_until_it_is_back() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=70)
    display = LiveDisplay(console, "x.yaml", clock=lambda: 0.0)
    display.notify(began(9))
    display.notify(Throttled(0.0, 8, 24, None))
    assert "slower" not in shown(display, console, stream)
    display.notify(Throttled(0.0, 1, 24, "RATE_LIMITED"))
    assert "slower   at most 1 job at a time  RATE_LIMITED" in shown(display, console, stream)
    display.notify(Throttled(0.0, 2, 24, None))
    assert "slower   at most 2 jobs at a time  RATE_LIMITED" in shown(display, console, stream)
    display.notify(Throttled(0.0, 24, 24, None))
    assert "slower" not in shown(display, console, stream)


def test_plain_lines_tell_of_a_limit_that_falls_and_not_of_one_that_rises() -> None:
    lines = plain(
        [
            (0.0, began(9)),
            (1.0, Throttled(0.0, 6, 24, "HTTP_503")),
            (1.1, Throttled(0.0, 12, 24, None)),
        ]
    )
    assert lines[1:] == ["slower  at most 6 jobs at a time: HTTP_503"]


def test_a_command_is_a_line_of_json_with_its_names_as_a_list() -> None:
    kind, fields = event_of(
        Controlled(0.0, "retry", "anna@host", "terminal", 2, None, ("hero-*", "fox"), 1)
    )
    assert (kind, fields["names"], fields["in_flight"], fields["saving"]) == (
        "control",
        ["hero-*", "fox"],
        2,
        1,
    )
    assert event_of(Controlled(0.0, "pause", "anna@host", "page", 0))[1]["names"] == []


def test_the_end_has_the_last_word() -> None:
    tally = ProgressState()
    tally.take(began(2), 0.0)
    tally.take(accepted("a"), 0.0)
    ending = Ending(RunStatus.SUCCEEDED, 0)
    tally.take(RunEnded(0.0, ending, {Outcome.SUCCEEDED: 2}, BALANCE), 1.0)
    assert counts(tally) == (2, 0, 0, 0)


def drawn(display: LiveDisplay, width: int, height: int = 24) -> list[str]:
    """A frame's lines, without the one on which the cursor rests."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height)
    display._console = console
    console.print(display._draw())
    return stream.getvalue().splitlines()[:-1]


def busy(clock: list[float]) -> LiveDisplay:
    """A display with something in every row."""
    display = LiveDisplay(Console(file=io.StringIO()), "x.yaml", clock=lambda: clock[0])
    display.notify(began(100, succeeded=10))
    for number in range(6):
        display.notify(accepted(f"a-rather-long-name-of-a-job-{number}"))
        clock[0] += 1
    messages = [
        saved("done"),
        *(failed(f"bad-{number}") for number in range(5)),
        failed("again", Phase.READY),
    ]
    for message in [
        *messages,
        Retrying(0.0, "job", 1, 2.0, "HTTP 429"),
        Throttled(0.0, 6, 24, "HTTP_503"),
    ]:
        display.notify(message)
    return display


@each_case("width", [20, 40, 55, 80, 120])
def test_no_line_of_the_panel_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(busy([0.0]), width)
    assert {Text(line).cell_len for line in lines} == {min(width, 100)}


@each_case("height", [6, 8, 10, 24])
def test_the_panel_is_never_higher_than_the_terminal_and_keeps_what_matters_most(
    height: int,
) -> None:
    lines = drawn(busy([0.0]), 80, height)
    assert len(lines) < height
    assert any("16/100" in line for line in lines)


def test_a_narrow_panel_breaks_its_rows_between_words_and_keeps_both_ends_of_a_name() -> None:
    text = "\n".join(drawn(busy([0.0]), 40))
    assert "63.5 left of 80" in text
    assert "a-ra" in text
    assert "job-0  in flight" in text


def test_the_oldest_jobs_at_work_are_shown_with_their_age_and_the_rest_is_counted() -> None:
    clock = [0.0]
    display = busy(clock)
    clock[0] = 75.0
    lines = [line for line in drawn(display, 80) if "in flight  " in line]
    assert [
        "a-rather-long-name-of-a-job-0" in lines[0],
        "1:15" in lines[0],
        "1:12" in lines[3],
    ] == [True] * 3
    assert any("and 2 more" in line for line in drawn(display, 80))


def test_a_job_of_an_earlier_run_is_as_old_as_its_hold() -> None:
    tally = ProgressState()
    tally.take(began(2), 100.0)
    tally.take(TakenUp(5000.0, "old", "old", Phase.IN_FLIGHT, 4880.0), 100.0)
    tally.take(accepted("young"), 101.0)
    assert [(task.name, 101.0 - task.since) for task in tally.oldest(5)] == [
        ("old", 121.0),
        ("young", 0.0),
    ]


def test_what_is_collected_beside_a_runs_own_jobs_fills_no_bar() -> None:
    tally = ProgressState()
    tally.take(began(2), 0.0)
    tally.take(TakenUp(0.0, "other", "other", Phase.IN_FLIGHT, 0.0, beside=True), 0.0)
    assert counts(tally) == (0, 0, 1, 2)
    tally.take(replace(saved("other"), beside=True), 1.0)
    assert counts(tally) == (0, 0, 0, 2)
    assert tally.rate_per_min(2.0) is None


def test_errors_are_counted_by_code_over_the_whole_run() -> None:
    text = "\n".join(drawn(busy([0.0]), 80))
    assert "errors   BOOM × 6" in text
    assert "retries  1" in text


@each_case("ends, low_s, high_s", [(1, 26, None), (4, 37, 167), (25, 48, 81), (200, 55, 66)])
def test_the_more_has_happened_the_surer_is_the_time_left(
    ends: int, low_s: float, high_s: float | None
) -> None:
    pace = Pace(0.0)
    assert pace.left(ends, 60.0) is None
    for number in range(ends):
        pace.ended(float(number))
    left = pace.left(ends, 60.0)
    assert left is not None
    assert left.likely_s == 60
    assert round(left.low_s) == low_s
    assert (left.high_s if left.high_s is None else round(left.high_s)) == high_s


def test_a_run_that_stops_says_what_it_waits_for_and_that_nothing_is_lost() -> None:
    lines = plain(
        [
            (0.0, began(9)),
            (0.1, accepted("a")),
            (0.2, Stopping(0.0, "INTERRUPTED", "by a signal", 30.0)),
        ]
    )
    assert lines[-1] == (
        "stop  stopping  INTERRUPTED: waiting up to 30 s for 1 job in flight; "
        "Ctrl-C again exits now; nothing is lost"
    )
    clock = [0.0]
    display = busy(clock)
    display.notify(Stopping(0.0, "INTERRUPTED", "by a signal", 30.0))
    clock[0] += 12
    text = "\n".join(drawn(display, 100))
    assert (
        "stopping waiting up to 18 s for 6 jobs in flight · "
        "Ctrl-C again exits now · nothing is lost"
    ) in text
    assert "left ·" not in text  # what waits won't be started: nobody can say when
