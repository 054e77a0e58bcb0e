"""A run in words and one bar: what the panel, the plain lines and ``status`` have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.cells import cell_len, chop_cells
from rich.filesize import decimal as format_bytes
from rich.text import Text

from crucible_batch.api import Phase, format_credits
from crucible_batch.cli.display.progress_state import ProgressState, Task, TimeLeft
from crucible_batch.cli.units import format_left

LABEL = 9
"""Columns of a row's label."""

NARROW = 56
"""Columns below which words are left out, and rows are broken."""

_DOING = {Phase.PREPARING: "uploading", Phase.SUBMITTING: "submitting", Phase.FETCHING: "downloading"}
_GAP = " · "
_DONE, _AT_WORK, _WAITING = "━", "╍", "─"
"""A bar's strokes: they tell the stages apart where there are no colours."""


def bar(tally: ProgressState, width: int) -> Text:
    """Draw the jobs by stage as one bar, and how many are done."""
    figures = f"  {tally.done}/{tally.total}"
    cells = max(10, width - len(figures))
    text = Text(no_wrap=True)
    used = 0
    edge = 0
    for count, word, style in _stages(tally):
        edge += count
        upto = min(cells, edge * cells // tally.total) if tally.total else 0
        if count and upto == used < cells:
            upto = used + 1  # a single failure among thousands is worth a cell
        text.append((_DONE if word in _ENDS else _AT_WORK) * (upto - used), style=style)
        used = max(used, upto)
    text.append(_WAITING * (cells - used), style="bright_black")
    return text.append(figures, style="bold")


def stage_bars(tally: ProgressState, width: int) -> list[Text]:
    """Draw a bar for each stage that a job has behind it: sent to the gateway, made there, done.

    Where one lags behind the one above it, there the time goes. What is collected beside the run's own jobs fills none.
    """
    at_work = Counter(task.phase for task in tally.tasks() if not task.beside)
    made = tally.done + at_work[Phase.FETCHING]
    ends = ((tally.failed, "red"), (tally.unknown, "yellow"))
    return [
        _stage_bar("sent", [(made + at_work[Phase.IN_FLIGHT], "magenta")], tally.total, width),
        _stage_bar("made", [(made, "cyan")], tally.total, width),
        _stage_bar("done", [(tally.succeeded, "green"), *ends], tally.total, width),
    ]


def _stage_bar(label: str, counts: Sequence[tuple[int, str]], total: int, width: int) -> Text:
    reached = sum(count for count, _ in counts)
    figures = f"  {reached:>{len(str(total))}}/{total}"
    cells = max(10, width - LABEL - len(figures))
    text = Text.assemble((f"{label:<{LABEL}}", "dim"), no_wrap=True)
    used = edge = 0
    for count, style in counts:
        edge += count
        upto = max(min(cells, edge * cells // max(1, total)), min(cells, used + bool(count)))
        text.append(_DONE * (upto - used), style=style)
        used = upto
    text.append(_WAITING * (cells - used), style="bright_black")
    return text.append(figures, style="bold")


def states(tally: ProgressState) -> Text:
    """Say how many jobs are in which stage, in the bar's colours; those without any are left out, but for the first."""
    return _GAP_TEXT.join(state_parts(tally))


def state_parts(tally: ProgressState) -> list[Text]:
    """Return the words of ``states`` one by one."""
    stages = [*_stages(tally), (tally.waiting, "waiting", "")]
    return [Text(f"{count} {word}", style=style) for at, (count, word, style) in enumerate(stages) if count or not at]


_ENDS = {"succeeded", "failed", "unknown"}


def _stages(tally: ProgressState) -> list[tuple[int, str, str]]:
    """The stages in the order of the bar; jobs that are collected beside the others are in flight too."""
    at_work, checking = tally.stages(), tally.checking
    return [
        (tally.succeeded, "succeeded", "green"),
        (tally.failed, "failed", "red"),
        (tally.unknown, "unknown", "yellow"),
        (checking, "checking", "blue"),
        (max(0, at_work[Phase.FETCHING] - checking), "downloading", "blue"),
        (at_work[Phase.SUBMITTING] + at_work[Phase.IN_FLIGHT], "in flight", "cyan"),
        (at_work[Phase.PREPARING], "uploading", "magenta"),
    ]


def money(tally: ProgressState) -> str:
    """Say what was spent, what is held, and what the budget leaves."""
    return _GAP.join(money_parts(tally))


def money_parts(tally: ProgressState) -> list[str]:
    """Return the words of ``money`` one by one."""
    balance = tally.balance
    parts = [f"{format_credits(balance.spent)} spent"]
    if balance.held:
        parts.append(f"{format_credits(balance.held)} held")
    if balance.budget is not None and balance.held and balance.left is not None and balance.left <= 0:
        # A hold is no expense: most of one that holds all the rest comes back with the answer.
        parts.append(f"budget {format_credits(balance.budget)}")
    elif balance.budget is not None and balance.left is not None:
        left = max(balance.left, Decimal(0))
        parts.append(f"{format_credits(left)} left of {format_credits(balance.budget)}")
    return parts


def pace(tally: ProgressState, now: float) -> str:
    """Say how fast it goes and how long the rest will take, as far as that is known."""
    return _GAP.join(pace_parts(tally, now))


def pace_parts(tally: ProgressState, now: float) -> list[str]:
    """Return the words of ``pace`` one by one, the more important last."""
    rate = tally.rate_per_min(now)
    if rate is None:
        return []
    left = tally.left(now)
    speed = f"{rate:.0f} jobs/min" if rate >= 10 else f"{rate:.1f} jobs/min"
    return [speed] if left is None else [speed, left_words(left)]


def left_words(left: TimeLeft) -> str:
    """Say how long the rest will take, and how unsure that is: ``~4 min (3-6) left``."""
    return f"{format_left(left.likely_s, left.low_s, left.high_s)} left"


def image_parts(tally: ProgressState, now: float) -> list[str]:
    """Say what became of the input images, in bytes too; nothing where there are none."""
    parts = [
        f"{count} {word}"
        for count, word in (
            (tally.uploaded, "uploaded"),
            (tally.uploading, "on its way" if tally.uploading == 1 else "on their way"),
            (tally.found, "there already"),
        )
        if count
    ]
    return [*parts, *_bytes(tally.up.total, tally.up.per_s(now))]


def output_parts(tally: ProgressState, now: float) -> list[str]:
    """Say what was downloaded, in files and bytes; nothing where nothing was."""
    if not tally.down.total:
        return []
    return [
        f"{tally.outputs} file{'s' if tally.outputs != 1 else ''}",
        *_bytes(tally.down.total, tally.down.per_s(now)),
    ]


def _bytes(total: int, per_s: float) -> list[str]:
    if not total:
        return []
    return [format_bytes(total) + (f" at {format_bytes(round(per_s))}/s" if per_s >= 1 else "")]


def error_parts(tally: ProgressState) -> list[str]:
    """Say which errors there were so far, the most frequent first."""
    found = sorted(tally.errors.items(), key=lambda item: -item[1])
    more = [f"{len(found) - 3} more kinds"] if len(found) > 4 else []
    return [f"{code} × {count}" for code, count in found[: 3 if more else 4]] + more


def task_row(task: Task, now: float, width: int) -> Text:
    """Say of a job at work how far it is and how long it has been there, its name cut to what is left of the width."""
    is_narrow = width < NARROW - LABEL
    percent = f" {100 * task.received // task.byte_size} %" if task.byte_size and not is_narrow else ""
    doing = "checking" if task.is_checking else _DOING.get(task.phase, "in flight")
    what = f"{doing}{percent}".ljust(11 if is_narrow else 16)
    age = elapsed(now - task.since)
    room = min(40, max(8, width - len(what) - 9))
    name = Text(shorten(task.name, room))
    name.pad_right(max(0, room - name.cell_len))
    return Text.assemble(name, ("  " + what, "cyan"), (age.rjust(7), "dim"), no_wrap=True, overflow="ellipsis")


def rows(label: str, parts: Sequence[str | Text], width: int, style: str = "") -> list[Text]:
    """Lay words out behind a label, broken between them where the width asks for it."""
    lines: list[Text] = []
    line = Text.assemble((f"{label:<{LABEL}}", "dim"), no_wrap=True, overflow="ellipsis")
    is_empty = True
    for part in (Text(part, style=style) if isinstance(part, str) else part for part in parts):
        if not is_empty and line.cell_len + len(_GAP) + part.cell_len > width:
            lines.append(line)
            line, is_empty = Text(" " * LABEL, no_wrap=True, overflow="ellipsis"), True
        if not is_empty:
            line.append(_GAP, style="dim")
        line.append_text(part)
        is_empty = False
    return [*lines, line]


def shorten(name: str, width: int) -> str:
    """Cut a name in the middle: what tells jobs of one kind apart is mostly at its end."""
    if cell_len(name) <= width:
        return name
    tail = max(1, (width - 1) // 2)
    end = chop_cells(name[::-1], tail)[0][::-1]
    return f"{chop_cells(name, width - 1 - cell_len(end))[0]}…{end}"


def elapsed(seconds: float) -> str:
    """Write a time as a clock does: ``0:42``, ``12:07``, ``1:02:03``."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fitting(parts: Iterable[str], width: int) -> str:
    """Join words, the first left out where there are too many for the width."""
    kept = [part for part in parts if part]
    while len(kept) > 1 and len(_GAP.join(kept)) > width:
        kept.pop(0)
    return _GAP.join(kept)


_GAP_TEXT = Text(_GAP, style="dim")
