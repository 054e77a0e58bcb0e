"""What all runs have spent, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crucible_batch.cli.command_output import CommandOutput, rfc3339
from crucible_batch.cli.terminal import Json, fact, say, say_more, say_note, working
from crucible_batch.core.credits import format_credits
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import UserError
from crucible_batch.features.spend.options import SpendBy
from crucible_batch.features.spend.places import RunPlaces
from crucible_batch.features.spend.reading import Remark, read_spending
from crucible_batch.features.spend.summing import GatewaySums, PriceChange, Sum
from crucible_batch.scheduled_time import read_timezone

_SHOWN = 10


def show_spending(
    output: CommandOutput, directory: Path | None, *, by: SpendBy, timezone: str
) -> None:
    """Show the sums of all runs that are known, or that are below a directory."""
    zone = _zone(timezone)
    remarks: list[Remark] = []
    sums: dict[str, GatewaySums] = {}
    with working(output.err, "reading the journals"):
        places = RunPlaces.known(directory)
        for found in read_spending(places.paths):
            if isinstance(found, Remark):
                remarks.append(found)
                continue
            gateway = found.binding.gateway
            sums.setdefault(gateway, GatewaySums(gateway, by, zone)).add(found)
    gateways = [sums[gateway] for gateway in sorted(sums)]
    output.data = {
        "directory": None if directory is None else str(directory),
        "by": by.value,
        "timezone": timezone,
        "complete": places.is_complete and not any(remark.is_missing for remark in remarks),
        "gateways": [_gateway_json(each) for each in gateways],
        "remarks": [_remark_json(remark) for remark in remarks],
    }
    if not gateways and not remarks:
        say(output.out, "no runs were found")
        say(output.out, ("  name a directory  ", "label"), ("crucible-batch spend DIR", "command"))
    _show(output, gateways, timezone, zone)
    _show_remarks(output, remarks, is_complete=places.is_complete)


def _zone(name: str) -> tzinfo:
    try:
        return read_timezone(name)
    except ValueError as error:
        raise UserError(f"--timezone: {error}") from None


# -- JSON


def _gateway_json(sums: GatewaySums) -> Json:
    return {
        "gateway": sums.gateway,
        "sums": [{"key": key, **_sum_json(each)} for key, each in sums.sums()],
        "total": _sum_json(sums.total),
        "unanswered": format_credits(sums.unanswered),
        "found": format_credits(sums.found),
        "price_changes": [
            {
                "what": change.shape.name,
                "before": format_credits(change.before),
                "after": format_credits(change.after),
                "at": rfc3339(change.at),
                "run": change.run,
                "changes": change.changes,
            }
            for change in sums.price_changes()
        ],
    }


def _sum_json(each: Sum) -> dict[str, Json]:
    return {
        "credits": format_credits(each.credits),
        "refunded": format_credits(each.refunded),
        "jobs": each.jobs,
        "uploads": each.uploads,
        "runs": len(each.runs),
    }


def _remark_json(remark: Remark) -> Json:
    return {
        "run_dir": remark.location,
        "reason": remark.reason,
        "missing": remark.is_missing,
    }


# -- text


def _show(
    output: CommandOutput, gateways: Sequence[GatewaySums], timezone: str, zone: tzinfo
) -> None:
    for sums in gateways:
        head = f"spent by {sums.by.value}"
        if sums.by is SpendBy.MONTH:
            head += f", {clean(timezone)}"
        say(output.out, (head, "strong"), (f"   {clean(sums.gateway, 300)}", "quiet"))
        output.out.print(_table(sums))
        _show_facts(output.out, sums, zone)


def _table(sums: GatewaySums) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_footer=True)
    table.add_column(sums.by.value, footer="total")
    total = _cells(sums.total)
    for heading, footer in zip(("runs", "jobs", "refunded", "credits"), total, strict=True):
        table.add_column(heading, footer=footer, justify="right")
    for key, each in sums.sums():
        name = Text("without a tag", style="dim")
        if key is not None:
            name = Text(clean(key, 80))
        table.add_row(name, *_cells(each))
    return table


def _cells(each: Sum) -> list[str]:
    refunded, credits = format_credits(each.refunded), format_credits(each.credits)
    return [f"{len(each.runs):,}", f"{each.jobs:,}", refunded, credits]


def _show_facts(console: Console, sums: GatewaySums, zone: tzinfo) -> None:
    changes = sums.price_changes()
    for change in changes[:_SHOWN]:
        fact(console, "price", (_change_words(change, zone), "warn"))
    say_more(console, len(changes) - _SHOWN)
    if sums.unanswered:
        unit = "credit" if sums.unanswered == 1 else "credits"
        words = "for requests without an answer, and not in the sums"
        fact(console, "held", f"{format_credits(sums.unanswered)} {unit} {words}")
    if sums.found:
        words = "credits for jobs that were found at the gateway count where they were bought"
        fact(console, "found", f"{format_credits(sums.found)} {words}")


def _change_words(change: PriceChange, zone: tzinfo) -> str:
    before, after = format_credits(change.before), format_credits(change.after)
    day = f"{datetime.fromtimestamp(change.at, zone):%Y-%m-%d}"
    words = f"{clean(change.shape.name, 80)}: {before} → {after} since {day}"
    words += f" (run {clean(change.run, 80)})"
    if change.changes > 1:
        words += f", {change.changes:,} changes"
    return words


def _show_remarks(output: CommandOutput, remarks: Sequence[Remark], *, is_complete: bool) -> None:
    for remark in remarks[:_SHOWN]:
        say_note(output.err, f"{clean_path(remark.location)}: {clean(remark.reason)}")
    say_more(output.err, len(remarks) - _SHOWN)
    if not is_complete:
        say_note(output.err, "too many entries to search all of them; name a directory of runs")
