"""The displays without a terminal: the tally that they show, and the lines of the plain one."""

import io
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from crucible_batch.api import Balance, JobAdvanced, Outcome, Phase, Retrying, RunBegan, RunEnded, Throttled
from crucible_batch.cli.display.json_lines import event_of
from crucible_batch.cli.display.live import LiveDisplay, bar, money
from crucible_batch.cli.display.plain import PlainDisplay
from crucible_batch.cli.display.tally import Tally
from crucible_batch.core.answers import ErrorInfo
from crucible_batch.core.ending import Ending, RunStatus
from crucible_batch.core.events import Accepted, Failed, Saved

BALANCE = Balance(Decimal(80), Decimal("12.5"), Decimal(4))


def began(total: int, **counts: int) -> RunBegan:
    return RunBegan(0.0, total, {Outcome(word): count for word, count in counts.items()}, BALANCE)


def accepted(name: str) -> JobAdvanced:
    event = Accepted(at=0.0, job_id="1", credits=Decimal(2), reused=False)
    return JobAdvanced(0.0, name, name, event, Phase.SUBMITTING, Phase.IN_FLIGHT, BALANCE)


def saved(name: str) -> JobAdvanced:
    event = Saved(at=0.0, index=0, path="p", sha256="0", byte_size=1, mime_type="image/png", width=1, height=1)
    return JobAdvanced(0.0, name, name, event, Phase.FETCHING, Phase.SUCCEEDED, BALANCE)


def failed(name: str, phase: Phase = Phase.FAILED) -> JobAdvanced:
    event = Failed(at=0.0, error=ErrorInfo("BOOM", "it went [red]boom\x1b[31m"))
    return JobAdvanced(0.0, name, name, event, Phase.IN_FLIGHT, phase, BALANCE)


def counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.succeeded, tally.failed, tally.in_flight, tally.waiting


def test_the_tally_follows_jobs_through_their_states() -> None:
    tally = Tally()
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
    tally = Tally()
    tally.take(began(4), 0.0)
    assert tally.rate_per_min(1.0) is None
    tally.take(saved("a"), 5.0)
    tally.take(saved("b"), 10.0)
    assert tally.rate_per_min(10.0) == 12
    assert tally.left_s(10.0) == 10


def test_a_failure_is_notable_and_clean_and_a_retry_is_told_apart() -> None:
    tally = Tally()
    end, again = tally.take(failed("b"), 0.0), tally.take(failed("c", Phase.READY), 0.0)
    assert end is not None
    assert again is not None
    assert (end.code, end.message, end.retry, again.retry) == ("BOOM", "it went [red]boom", False, True)


@pytest.mark.parametrize("done", [(0, 0), (1, 0), (0, 1), (99_999, 1), (50_000, 1)])
def test_the_bar_is_as_wide_as_it_may_be_and_shows_a_single_failure(done: tuple[int, int]) -> None:
    tally = Tally()
    tally.take(began(100_000, succeeded=done[0], failed=done[1]), 0.0)
    drawn = bar(tally, 56)
    assert drawn.cell_len == 56
    assert any(span.style == "red" and span.end > span.start for span in drawn.spans) is bool(done[1])


def test_money_says_what_the_budget_leaves() -> None:
    tally = Tally()
    tally.take(began(1), 0.0)
    assert money(tally) == "12.5 spent · 4 held · 63.5 left of 80"


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
    jobs: list[tuple[float, Any]] = [(0.01 * number, saved(str(number))) for number in range(1, 400)]
    lines = plain([(0.0, began(1000)), *jobs, (4.0, failed("bad"))])
    assert lines[0].startswith("0/1000")
    assert [line.partition(" ")[0] for line in lines[1:-1]] == ["200/1000", "FAILED"]
    assert "bad  BOOM: it went [red]boom" in lines[2]


def test_plain_lines_grow_rarer() -> None:
    retries: list[tuple[float, Any]] = [(float(second), accepted(str(second))) for second in range(1, 3601)]
    assert 20 < len(plain([(0.0, began(100_000)), *retries])) < 120


def test_the_live_panel_shows_the_last_failures_and_the_retry_for_a_while() -> None:
    now = [0.0]
    stream = io.StringIO()
    console = Console(file=stream, width=70)
    display = LiveDisplay(console, "x.yaml", clock=lambda: now[0])
    messages = [began(9), *(failed(f"bad-{number}") for number in range(5)), Retrying(0.0, "job", 1, 2.0, "HTTP 429")]
    for message in messages:
        display.notify(message)
    console.print(display._draw())
    assert "bad-1 " not in stream.getvalue()
    assert all(f"✗ bad-{number}  BOOM" in stream.getvalue() for number in (2, 3, 4))
    assert "HTTP 429; again in 2.0 s" in stream.getvalue()
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
    assert "at once" not in shown(display, console, stream)
    display.notify(Throttled(0.0, 1, 24, "RATE_LIMITED"))
    assert "slower   at most one job at once  RATE_LIMITED" in shown(display, console, stream)
    display.notify(Throttled(0.0, 2, 24, None))
    assert "slower   at most 2 jobs at once  RATE_LIMITED" in shown(display, console, stream)
    display.notify(Throttled(0.0, 24, 24, None))
    assert "at once" not in shown(display, console, stream)


def test_plain_lines_tell_of_a_limit_that_falls_and_not_of_one_that_rises() -> None:
    lines = plain([(0.0, began(9)), (1.0, Throttled(0.0, 6, 24, "HTTP_503")), (1.1, Throttled(0.0, 12, 24, None))])
    assert lines[1:] == ["slower  at most 6 jobs at once: HTTP_503"]


def test_a_limit_is_a_line_of_json() -> None:
    assert event_of(Throttled(0.0, 6, 24, "BUSY")) == ("throttled", {"limit": 6, "ceiling": 24, "reason": "BUSY"})


def test_the_end_has_the_last_word() -> None:
    tally = Tally()
    tally.take(began(2), 0.0)
    tally.take(accepted("a"), 0.0)
    ending = Ending(RunStatus.SUCCEEDED, 0)
    tally.take(RunEnded(0.0, ending, {Outcome.SUCCEEDED: 2}, BALANCE), 1.0)
    assert counts(tally) == (2, 0, 0, 0)
