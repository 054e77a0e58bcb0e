"""A run's state as text and a bar, shared by the panel, the plain lines and ``status``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.cells import cell_len, chop_cells
from rich.filesize import decimal as format_bytes
from rich.text import Text

from crucible_batch.cli.display.progress_state import ProgressState, Task
from crucible_batch.cli.units import counted, format_left, held_words, paid_before
from crucible_batch.core.credits import format_credits
from crucible_batch.core.job import Phase
from crucible_batch.core.outcome import Outcome
from crucible_batch.core.progress import Balance
from crucible_batch.core.redaction import clean

LABEL = 9
"""The width of a row's label in columns."""

NARROW = 56
"""The width in columns below which words are left out, and rows are broken."""

_DOING = {
    Phase.PREPARING: "uploading",
    Phase.SUBMITTING: "submitting",
    Phase.FETCHING: "downloading",
}
GAP = " · "
_DONE, _AT_WORK, _WAITING = "━", "╍", "─"
"""A bar's characters, which distinguish the stages without colours."""


def bar(state: ProgressState, width: int) -> Text:
    pieces = [
        (count, _DONE if word in _ENDS else _AT_WORK, style)
        for count, word, style in _stages(state)
    ]
    return _drawn(one_line(), pieces, state.total, f"  {state.done}/{state.total}", width)


def _drawn(
    text: Text, pieces: Iterable[tuple[int, str, str]], total: int, figures: str, width: int
) -> Text:
    """Append a bar of counts to ``text``, and figures that end at ``width``.

    Each piece is a count with its character and style.
    """
    cells = max(10, width - text.cell_len - len(figures))
    used = reached = 0
    for count, character, style in pieces:
        reached += count
        # Even a single failure among thousands gets a cell.
        upto = min(cells, max(reached * cells // max(1, total), used + bool(count)))
        text.append(character * (upto - used), style=style)
        used = upto
    text.append(_WAITING * (cells - used), style="bright_black")
    return text.append(figures, style="bold")


def one_line(*parts: str | Text | tuple[str, str]) -> Text:
    """Return a line that is cut at the width of the terminal."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def stage_bars(state: ProgressState, width: int) -> list[Text]:
    """Return a bar for each completed stage: sent to the gateway, made there, done.

    A bar that lags behind the one above it shows where the time is spent. Jobs that are collected
    in addition to the run's own aren't counted.
    """
    at_work = Counter(task.phase for task in state.tasks() if not task.beside)
    made = state.done + at_work[Phase.FETCHING]
    ends = ((state.counts[Outcome.FAILED], "red"), (state.counts[Outcome.UNKNOWN], "yellow"))
    return [
        _stage_bar("sent", [(made + at_work[Phase.IN_FLIGHT], "magenta")], state.total, width),
        _stage_bar("made", [(made, "cyan")], state.total, width),
        _stage_bar("done", [(state.counts[Outcome.SUCCEEDED], "green"), *ends], state.total, width),
    ]


def _stage_bar(label: str, counts: Sequence[tuple[int, str]], total: int, width: int) -> Text:
    figures = f"  {sum(count for count, _ in counts):>{len(str(total))}}/{total}"
    pieces = ((count, _DONE, style) for count, style in counts)
    return _drawn(one_line((f"{label:<{LABEL}}", "dim")), pieces, total, figures, width)


def state_parts(state: ProgressState) -> list[Text]:
    """Return the number of jobs per stage in the bar's colours.

    Stages without jobs are left out, except the first.
    """
    # Of the active jobs of other machines, only the ends are reported.
    stages = [*_stages(state), (state.waiting, "waiting", "")]
    return [
        Text(f"{count} {word}", style=style)
        for at, (count, word, style) in enumerate(stages)
        if count or not at
    ]


_ENDS = {"succeeded", "failed", "unknown"}


def _stages(state: ProgressState) -> list[tuple[int, str, str]]:
    """Return the stages in the order of the bar.

    They include jobs that are collected in addition to the run's own.
    """
    at_work = state.stages()
    return [
        (state.counts[Outcome.SUCCEEDED], "succeeded", "green"),
        (state.counts[Outcome.FAILED], "failed", "red"),
        (state.counts[Outcome.UNKNOWN], "unknown", "yellow"),
        (at_work[Phase.FETCHING], "downloading", "blue"),
        (at_work[Phase.SUBMITTING] + at_work[Phase.IN_FLIGHT], "in flight", "cyan"),
        (at_work[Phase.PREPARING], "uploading", "magenta"),
    ]


def money_parts(state: ProgressState) -> list[str]:
    balance = state.balance or Balance(None, Decimal(0), Decimal(0))
    parts = [f"{format_credits(balance.bought)} spent"]
    if balance.reused:
        parts.append(paid_before(balance.reused))
    if balance.held:
        parts.append(held_words(balance.held, balance.refunds))
    if state.has_canary:
        parts.append("one job holds the rest of the budget until its price is confirmed")
    if balance.budget is None or balance.left is None:
        return parts
    if balance.held and balance.left <= 0:
        # A hold is not an expense: most of a hold on everything that is left is released with the
        # gateway's response.
        parts.append(budget_words(balance))
        return parts
    budget = format_credits(balance.budget)
    if balance.allowance_of is not None:
        budget = f"the {budget_words(balance)}"
    left = max(balance.left, Decimal(0))
    parts.append(f"{format_credits(left)} left of {budget}")
    return parts


def budget_words(balance: Balance) -> str:
    """Return the budget of a run in words.

    An allowance is shown with the budget of the period that it is part of.
    """
    if balance.budget is None:
        return "no budget"
    if balance.allowance_of is None:
        return f"budget {format_credits(balance.budget)}"
    return f"allowance {format_credits(balance.budget)} ({clean(balance.allowance_of, 80)})"


def pace_parts(state: ProgressState, now: float) -> list[str]:
    """Return the rate and the estimated time left, if known, as in ``~4 min (3-6) left``.

    The more important one is the last.
    """
    rate = state.rate_per_min(now)
    if rate is None or state.paused is not None:
        return []
    decimals = 0 if rate >= 10 else 1
    parts = [f"{rate:.{decimals}f} jobs/min"]
    left = state.left(now)
    if left is not None:
        parts.append(f"{format_left(left.likely_s, left.low_s, left.high_s)} left")
    return parts


def image_parts(state: ProgressState) -> list[str]:
    return [
        f"{count} {word}"
        for count, word in (
            (state.uploaded, "uploaded"),
            (state.uploading, "uploading"),
            (state.found, "there already"),
        )
        if count
    ]


def output_parts(state: ProgressState) -> list[str]:
    if not state.outputs:
        return []
    return [counted(state.outputs, "file"), format_bytes(state.byte_size)]


def error_parts(state: ProgressState) -> list[str]:
    found = sorted(state.errors.items(), key=lambda item: -item[1])
    parts = [f"{code} × {count}" for code, count in found]
    if len(parts) <= 4:
        return parts
    return [*parts[:3], f"{len(parts) - 3} more kinds"]


def task_row(task: Task, now: float, width: int) -> Text:
    """Return the row of an active job: its name, shortened to fit, its state and its age."""
    what = _DOING.get(task.phase, "in flight").ljust(11)
    age = elapsed(now - task.since)
    room = min(40, max(8, width - len(what) - 9))
    name = Text(shorten(task.name, room))
    name.pad_right(max(0, room - name.cell_len))
    return one_line(name, ("  " + what, "cyan"), (age.rjust(7), "dim"))


def rows(label: str, parts: Sequence[str | Text], width: int, style: str = "") -> list[Text]:
    """Return rows of a label and ``parts``, broken between parts if the width requires it."""
    lines: list[Text] = []
    line = one_line((f"{label:<{LABEL}}", "dim"))
    is_empty = True
    for given in parts:
        part = Text(given, style=style) if isinstance(given, str) else given
        if not is_empty and line.cell_len + len(GAP) + part.cell_len > width:
            lines.append(line)
            line, is_empty = one_line(" " * LABEL), True
        if not is_empty:
            line.append(GAP, style="dim")
        line.append_text(part)
        is_empty = False
    return [*lines, line]


def shorten(name: str, width: int) -> str:
    """Shorten a name in the middle, since similar jobs mostly differ at the end of their names."""
    if cell_len(name) <= width:
        return name
    tail = max(1, (width - 1) // 2)
    end = chop_cells(name[::-1], tail)[0][::-1]
    return f"{chop_cells(name, width - 1 - cell_len(end))[0]}…{end}"


def elapsed(seconds: float) -> str:
    """Format a duration like a clock: ``0:42``, ``12:07``, ``1:02:03``."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}"


def fitting(parts: Iterable[str], width: int) -> str:
    """Join parts; if they don't fit the width, the first ones are left out."""
    kept = [part for part in parts if part]
    while len(kept) > 1 and len(GAP.join(kept)) > width:
        kept.pop(0)
    return GAP.join(kept)
