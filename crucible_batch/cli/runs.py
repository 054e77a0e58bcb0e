"""The list of ``status``: the runs below a directory as a table, each with its next command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crucible_batch.cli.command_line import merge_command
from crucible_batch.cli.command_output import CommandOutput, rfc3339
from crucible_batch.cli.status import next_command, show_status
from crucible_batch.cli.terminal import Json, error_json, fact, say, say_note, working
from crucible_batch.cli.units import counted
from crucible_batch.core.credits import format_credits
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.runs.failed_starts import FailedStart
from crucible_batch.runs.run_journal import local_directory
from crucible_batch.runs.run_list import ListedRun, RunDirectories, RunList, RunState, list_runs
from crucible_batch.runs.status import Status
from crucible_batch.shell_command import DEFAULT_DIRECTORY, shell_command

_STYLES = {
    RunState.RUNNING: "busy",
    RunState.PAUSED: "warn",
    RunState.DONE: "good",
    RunState.FAILED_JOBS: "bad",
    RunState.STOPPED: "warn",
    RunState.KILLED: "warn",
    RunState.WAITING: "busy",
    RunState.NOT_STARTED: "bad",
    RunState.UNREADABLE: "bad",
}
_COLUMNS = ("run", "state", "jobs", "credits", "age")
_GAP = 2
_WIDEST = (44, 20, 18, 18, 8)
"""The columns' widths at most; longer text is wrapped."""
_NARROWEST = 12
"""The width that the first column keeps beside the state, which is never left out."""
_AGE_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def show_run_or_runs(output: CommandOutput, directory: Path, *, limit: int) -> None:
    """Show the run in a directory, or list the runs below it if there are any."""
    if directory == DEFAULT_DIRECTORY or set(RunDirectories.below(directory).paths) - {directory}:
        _show_runs(output, directory, limit=limit)
    else:
        show_status(output, local_directory(directory))


def _show_runs(output: CommandOutput, directory: Path, *, limit: int) -> None:
    with working(output.err, "reading the runs"):
        found = list_runs(directory, limit=limit)
        commands = [_next(run) for run in found.runs]
    now = time.time()
    output.data = {
        "directory": str(directory),
        "found": found.found,
        "complete": found.is_complete,
        "runs": [run_json(run, command) for run, command in zip(found.runs, commands, strict=True)],
    }
    if found.runs:
        _print_table(output.out, found, commands, now)
        _print_totals(output.out, found, limit)
    else:
        say(output.out, f"no runs in {clean_path(directory)}")
        say(output.out, ("  start one  ", "label"), ("crucible-batch run MANIFEST", "command"))
    if not found.is_complete:
        say_note(output.err, "too many entries to search all of them; name a directory of runs")


def run_json(run: ListedRun, command: str | None) -> dict[str, Json]:
    """Return a run as JSON. An unreadable one has an error, and null for what can't be read."""
    found: dict[str, Json] = {
        "run_dir": str(run.run_dir),
        "name": None,
        "run_id": None,
        "state": run.state.value,
        "status": None,
        "exit_code": None,
        "counts": None,
        "credits": None,
        "started_at": None,
        "finished_at": None,
        "changed_at": None,
        "pruned": None,
        "next": command,
        "error": error_json(run.failed_start or run.error),
    }
    if run.status is not None:
        found |= _status_json(run.status)
    if run.failed_start is not None:
        found["name"] = run.failed_start.name or None
        found["run_id"] = run.failed_start.run_id or None
    return found


def _status_json(status: Status) -> dict[str, Json]:
    head = status.report
    return {
        "name": head.manifest.name or None,
        "run_id": head.run_id or None,
        "status": head.status,
        "exit_code": head.exit_code,
        **head.model_dump(mode="json", include={"counts", "credits"}),
        "started_at": head.started_at,
        "finished_at": head.finished_at,
        "changed_at": rfc3339(status.changed_at),
        "pruned": status.pruned,
    }


def _next(run: ListedRun) -> str | None:
    """Return the next command; None if there is none.

    Also None if the journal was damaged since the run was listed.
    """
    if run.failed_start is not None:
        return run.failed_start.command
    if run.state is RunState.WAITING:
        return merge_command(run.run_dir)
    if run.status is None:
        return None
    try:
        return next_command(run.status)
    except CrucibleBatchError:
        return None


def _print_table(
    console: Console, found: RunList, commands: Sequence[str | None], now: float
) -> None:
    """Print a row for each run.

    A command has a line of its own, which is never broken, so that it can be copied.
    """
    rows = [_cells(run, now) for run in found.runs]
    head = [Text(name, style="label") for name in _COLUMNS]
    widths = _widths([head, *rows], console.width)
    console.print(_row(head, widths))
    for run, cells, command in zip(found.runs, rows, commands, strict=True):
        console.print(_row(cells, widths))
        if run.status is not None and run.run_dir != found.directory / cells[0].plain:
            fact(console, "in", (clean(str(run.run_dir), 300), "quiet"), width=5)
        error = run.error or run.failed_start
        if error is not None:
            say(console, "  ", (clean(error.message, 300), "quiet"))
        if run.failed_start is not None and run.failed_start.hint:
            fact(console, "hint", run.failed_start.hint, width=5)
        if command is not None:
            fact(console, "next", (command, "command"), width=5)


def _widths(rows: Sequence[Sequence[Text]], room: int) -> list[int]:
    """Return the width of each column: that of its widest line.

    The last columns are left out where names lack room.
    """
    lines = [
        [max(map(cell_len, row[at].plain.split("\n"))) for row in rows]
        for at in range(len(_COLUMNS))
    ]
    widths = [min(most, max(found)) for most, found in zip(_WIDEST, lines, strict=True)]
    while len(widths) > 2 and sum(widths) + _GAP * (len(widths) - 1) > room:
        widths.pop()
    return [min(widths[0], max(_NARROWEST, room - _GAP - widths[1])), *widths[1:]]


def _row(cells: Sequence[Text], widths: Sequence[int]) -> Table:
    row = Table.grid(padding=(0, _GAP, 0, 0))
    for width in widths:
        row.add_column(width=width, overflow="fold")
    row.add_row(*cells[: len(widths)])
    return row


def _cells(run: ListedRun, now: float) -> list[Text]:
    if run.failed_start is not None:
        return _cells_of_failed_start(run, run.failed_start, now)
    state = Text(run.state.label, style=_STYLES[run.state])
    if run.status is None:
        return [Text(clean(str(run.run_dir), 300)), state, Text(), Text(), Text()]
    head = run.status.report
    for code in list(dict.fromkeys(stop.code for stop in head.stops.values()))[:1]:
        state.append(f"\n{clean(code, 60)}", style="quiet")
    if run.status.pruned is not None:
        state.append(f"\npruned {clean(run.status.pruned, 20)}", style="quiet")
    return [
        Text(clean(f"{head.manifest.name}/{head.run_id}", 300), style="strong"),
        state,
        _jobs(run.status),
        _credits(run.status),
        Text(age(now - run.status.changed_at)),
    ]


def _cells_of_failed_start(run: ListedRun, failed: FailedStart, now: float) -> list[Text]:
    name = clean(str(failed.manifest), 300)
    if failed.name:
        name = f"{failed.name}/{failed.run_id}"
    style = _STYLES[run.state]
    state = Text(f"{failed.at:%H:%M} {run.state.label}\n{failed.code}", style=style)
    return [
        Text(name, style="strong"),
        state,
        Text(),
        Text(),
        Text(age(now - failed.at.timestamp())),
    ]


def _jobs(status: Status) -> Text:
    counts = status.report.counts
    text = Text(f"{counts.succeeded:,} of {counts.total:,}")
    for word, style in (("failed", "bad"), ("unknown", "warn"), ("blocked", "warn")):
        count = getattr(counts, word)
        if count:
            text.append(f"\n{count:,} {word}", style=style)
    return text


def _credits(status: Status) -> Text:
    amounts = status.report.credits
    text = Text(format_credits(amounts.spent))
    if amounts.budget is not None:
        text.append(f" of {format_credits(amounts.budget)}")
    if amounts.held:
        text.append(f"\n{format_credits(amounts.held)} held", style="quiet")
    return text


def age(seconds: float) -> str:
    """Format an age in one unit: ``42 s``, ``3 min``, ``5 h``, ``12 d``.

    A clock that was set back gives ``0 s``.
    """
    size, unit = next((each for each in _AGE_UNITS if seconds >= each[0]), _AGE_UNITS[-1])
    return f"{max(0, int(seconds // size))} {unit}"


def _print_totals(console: Console, found: RunList, limit: int) -> None:
    heads = [run.status.report for run in found.runs if run.status is not None]
    succeeded = sum(head.counts.succeeded for head in heads)
    total = sum(head.counts.total for head in heads)
    spent = format_credits(sum((head.credits.spent for head in heads), start=Decimal(0)))
    shown = len(found.runs)
    runs = counted(shown, "run")
    jobs = f"{succeeded:,} of {total:,} jobs succeeded"
    say(console, (f"{runs} · {jobs} · {spent} credits spent", "quiet"))
    if found.found > shown:
        more = shell_command("status", found.directory, "--limit", str(max(2 * limit, 1)))
        hidden = found.found - shown
        words = f"{hidden:,} older runs are"
        if hidden == 1:
            words = "1 older run is"
        say(console, (f"{words} not shown: ", "quiet"), (more, "command"))
