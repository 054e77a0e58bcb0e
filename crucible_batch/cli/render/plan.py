"""A plan as text and JSON: the remaining jobs, their cost as far as it can be known, and the next command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crucible_batch.api import (
    SURGE,
    UPLOADS,
    Certainty,
    Change,
    ChangeCause,
    ChangeKind,
    ComparedJob,
    Comparison,
    Credits,
    PlanGroup,
    PlanSummary,
    PriceLine,
    clean,
    format_credits,
)
from crucible_batch.cli.display.progress_text import shorten
from crucible_batch.cli.terminal import Json, say

_MARKS = {
    ChangeKind.NEW: ("+", "good"),
    ChangeKind.CHANGED: ("~", "warn"),
    ChangeKind.COLLECTED: (">", "busy"),
    ChangeKind.FAILED: ("!", "bad"),
    ChangeKind.DONE: ("=", "quiet"),
    ChangeKind.GONE: ("-", "bad"),
}
_WORDS = {
    ChangeKind.COLLECTED: "to collect",
    ChangeKind.DONE: "done already",
    ChangeKind.GONE: "no longer in the manifest",
}
_WIDEST_HEAD = 36
_NAME = 30
_VALUE = 48
_CONTEXT = 12


def show_comparison(console: Console, found: Comparison) -> None:
    """Print the groups, or every job if all were requested. Jobs that are shown individually are in no group."""
    single = {row.reason.mark for row in found.rows}
    lines = [
        *(_group(group) for group in found.groups if group.mark not in single),
        *((row.reason.mark, clean(row.name, 300), why_words(row)) for row in found.rows),
    ]
    order = list(ChangeKind)
    if not found.is_whole:
        lines.sort(key=lambda line: order.index(line[0]))
    width = min(_WIDEST_HEAD, max((len(head) for _, head, _ in lines), default=0))
    for mark, head, tail in lines:
        sign, style = _MARKS[mark]
        say(console, (f"  {sign} ", style), f"{shorten(head, width):<{width}}  ", (tail, "quiet"))


def count_words(found: Comparison) -> str:
    """Return the number of jobs of each mark; jobs no longer in the manifest come last, separately."""
    words = {mark: f"{count} {_word(mark)}" for mark in ChangeKind if (count := found.counts.get(mark))}
    gone = words.pop(ChangeKind.GONE, None)
    return "; ".join(part for part in (", ".join(words.values()) or "none", gone) if part)


def why_words(row: ComparedJob) -> str:
    """Return why a run would continue a job, or why not."""
    reason = row.reason
    code, cost = clean(reason.code or "an error", 60), format_credits(reason.credits)
    match reason.why:
        case ChangeCause.CHANGED:
            before = f"  (the old one cost {cost})" if reason.credits else ""
            return "; ".join(_change(change) for change in reason.changes) + before
        case ChangeCause.GONE if reason.credits:
            return f"no longer in the manifest; it cost {cost}, and its files stay"
        case ChangeCause.MISSING_OUTPUT:
            more = f" and {len(reason.paths) - 1} more" if len(reason.paths) > 1 else ""
            return f"output missing: {clean(reason.paths[0], 200)}{more} is fetched again, for no credits"
        case ChangeCause.DONE:
            return f"done for {cost}; there is nothing to do"
        case _:
            return _SENTENCES[reason.why].format(code=code)


_SENTENCES = {
    ChangeCause.NEVER_RUN: "never run",
    ChangeCause.NOT_SENT: "begun and never sent ({code}); nothing was bought",
    ChangeCause.RETRIED: "failed with {code}; another attempt is bought",
    ChangeCause.IN_FLIGHT: "in flight since an earlier run; it is awaited, not bought again",
    ChangeCause.NOT_FETCHED: "succeeded; its outputs are fetched, for no credits",
    ChangeCause.UNANSWERED: "sent and never answered; the same key asks again",
    ChangeCause.UNAVAILABLE: "paid for, and its output couldn't be had ({code}); it is asked for again, for no credits",
    ChangeCause.VANISHED: "the gateway no longer knew it; it is asked for again, and not bought again",
    ChangeCause.UNREADABLE: "the journal contradicts itself about it ({code}); nothing more is bought for it",
    ChangeCause.FAILED: "failed with {code}; only --retry-failed buys another attempt",
    ChangeCause.GONE: "no longer in the manifest; nothing was bought for it",
}


def comparison_json(found: Comparison) -> dict[str, Json]:
    """Return a comparison as JSON: counts by mark, groups, and all jobs if requested."""
    data: dict[str, Json] = {
        "diff": {mark.value: found.counts.get(mark, 0) for mark in ChangeKind},
        "groups": [
            {
                "mark": group.mark.value,
                "workflow_id": group.workflow_id,
                "count": group.count,
                "fields": list(group.fields),
                "paid": format_credits(group.credits),
            }
            for group in found.groups
        ],
    }
    if found.is_whole:
        data["jobs"] = [_row_json(row) for row in found.rows]
    return data


def _row_json(row: ComparedJob) -> dict[str, Json]:
    reason = row.reason
    return {
        "name": row.name,
        "workflow_id": row.workflow_id,
        "mark": reason.mark.value,
        "why": reason.why.value,
        "changes": [
            {"field": each.field, "before": _json(each.before), "after": _json(each.after)} for each in reason.changes
        ],
        "code": reason.code,
        "missing": list(reason.paths),
        "paid": format_credits(reason.credits),
    }


def _group(group: PlanGroup) -> tuple[ChangeKind, str, str]:
    names = ", ".join(shorten(clean(name, 300), _NAME) for name in group.names)
    more = f" and {group.count - len(group.names)} more" if group.count > len(group.names) else ""
    paid = f"  ({format_credits(group.credits)} paid)" if group.credits else ""
    head = f"{group.count} {_word(group.mark)}"
    fields = f"  {', '.join(clean(name, 60) for name in group.fields)}" if group.fields else ""
    return group.mark, head, f"{clean(group.workflow_id, 60)}: {names}{more}{fields}{paid}"


def _word(mark: ChangeKind) -> str:
    return _WORDS.get(mark, mark.value)


def _change(change: Change) -> str:
    if change.before is None:
        return f"{change.field}: {_value(change.after)} is given now"
    if change.after is None:
        return f"{change.field}: {_value(change.before)} is no longer given"
    if isinstance(change.before, str) and isinstance(change.after, str):
        before, after = contrast(change.before, change.after)
        return f"{change.field}: {_value(before)} → {_value(after)}"
    return f"{change.field}: {_value(change.before)} → {_value(change.after)}"


def contrast(before: str, after: str) -> tuple[str, str]:
    """Shorten two long texts to the part where they begin to differ."""
    differs = (at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    start = next(differs, min(len(before), len(after))) - _CONTEXT
    if start <= 0 or max(len(before), len(after)) <= _VALUE:
        return before, after
    return f"…{before[start:]}", f"…{after[start:]}"


def _value(value: object) -> str:
    text = clean(value if isinstance(value, str) else repr(value), 10_000)
    text = text if len(text) <= _VALUE else f"{text[: _VALUE - 1]}…"
    return f"'{text}'" if isinstance(value, str) else text


def _json(value: object) -> Json:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _json(item) for name, item in value.items()}
    return str(value)


_HOW_SURE = {
    Certainty.LEARNED: "highest seen",
    Certainty.BOUNDED: "declared ceiling",
    Certainty.UNKNOWN: "unknown: one job first",
}
_NOT_KNOWN = "not known yet"
_WIDE = 78
"""The width of the price table in columns, with all its words."""
_LONGEST_PARAMS = 40

_STATES = ("new", "in_flight", "failed", "done")


def show_plan(console: Console, plan: PlanSummary) -> None:
    """Print a plan."""
    say(console, (clean(plan.manifest_name), "strong"), (f" · {clean(plan.run_id)}", "quiet"))
    say(console, _jobs(plan))
    show_comparison(console, plan.comparison)
    if plan.lines:
        console.print(_prices(plan, is_wide=console.width >= _WIDE))
    facts = Table.grid()
    facts.add_column(style="dim", width=12)
    facts.add_column()
    for label, text in _facts(plan):
        facts.add_row(f"  {label}", text)
    console.print(facts)
    say(console, ("  results   ", "label"), clean(str(plan.run_dir), 4000))


def plan_json(plan: PlanSummary, *, saved: Path | None = None) -> Json:
    """Return a plan as JSON, with credits as decimal text. ``saved`` is the file that it was written to."""
    return {
        "manifest_name": plan.manifest_name,
        "run_id": plan.run_id,
        "run_dir": str(plan.run_dir),
        "total": plan.total,
        "states": {name: plan.states.get(name, 0) for name in _STATES},
        **comparison_json(plan.comparison),
        "prices": [
            {
                "what": line.what,
                "params": {name: str(value) for name, value in line.params.items()},
                "count": line.count,
                "certainty": line.certainty.value,
                "each": _amount(line.each),
                "total": _amount(line.total),
                "bound": _amount(line.bound),
            }
            for line in plan.lines
        ],
        "images": {"to_upload": plan.to_upload, "there_already": plan.reused_images},
        "credits": {
            "estimate": format_credits(plan.estimate),
            "at_least": format_credits(plan.least),
            "at_most": _amount(plan.most),
            "certainty": plan.certainty.value,
            "budget": _amount(plan.budget),
            "spent": format_credits(plan.spent),
            "held": format_credits(plan.held),
            "over_budget": format_credits(plan.over_budget),
            "may_exceed_budget_by": _amount(plan.may_exceed),
            "balance": _amount(plan.balance),
        },
        "notes": list(plan.notes),
        "saved": None if saved is None else str(saved),
        "digest": plan.digest,
    }


def cost_words(lines: Iterable[PriceLine]) -> str:
    """Return the sum of price lines: exact, a range, at least or at most; lines without any price by their names."""
    lines = list(lines)
    priced = [line for line in lines if line.each is not None]
    if not priced:
        return _NOT_KNOWN if lines else "0"
    least = sum((line.least_each * line.count for line in priced), start=Credits(0))
    tops = [None if line.most_each is None else line.most_each * line.count for line in priced]
    known = [top for top in tops if top is not None]
    most = sum(known, start=Credits(0)) if len(known) == len(tops) else None
    return " + ".join([_span(least, most), *(clean(line.what) for line in lines if line.each is None)])


def _span(least: Credits, most: Credits | None) -> str:
    if most is None:
        return f"at least {format_credits(least)}"
    if least == most:
        return format_credits(most)
    return f"{format_credits(least)} to {format_credits(most)}" if least else f"at most {format_credits(most)}"


def _jobs(plan: PlanSummary) -> Text:
    jobs = f"{plan.total} job{'s' if plan.total != 1 else ''}"
    return Text.assemble((jobs, "strong"), ": ", count_words(plan.comparison))


def _prices(plan: PlanSummary, *, is_wide: bool) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 2 if is_wide else 0),
        header_style="dim",
        show_footer=len(plan.lines) > 1,
    )
    table.add_column("to buy", footer="together")
    table.add_column("count", justify="right")
    table.add_column("each", justify="right")
    table.add_column("credits", justify="right", footer=cost_words(plan.lines))
    if is_wide:
        table.add_column("price", style="dim")
        table.add_column("bound", justify="right", style="dim")
    for line in plan.lines:
        each = Text(_NOT_KNOWN, style="dim") if line.each is None else Text(_each(line, line.each))
        total = Text("?" if line.each is None else cost_words([line]))
        bound = "none" if line.bound is None else format_credits(line.bound)
        table.add_row(
            _what(line), str(line.count), each, total, *((_HOW_SURE[line.certainty], bound) if is_wide else ())
        )
    return table


def _each(line: PriceLine, each: Credits) -> str:
    return f"at most {format_credits(each)}" if line.certainty is Certainty.BOUNDED else format_credits(each)


def _what(line: PriceLine) -> Text:
    """Return what is bought: the workflow, and the parameters that distinguish it from others in the plan."""
    params = " ".join(f"{name}={value}" for name, value in sorted(line.params.items()))
    return Text.assemble(clean(line.what), (f" {clean(params, _LONGEST_PARAMS)}" if params else "", "dim"))


def _facts(plan: PlanSummary) -> list[tuple[str, Text]]:
    facts = []
    if plan.to_upload or plan.reused_images:
        there = f", {plan.reused_images} there already" if plan.reused_images else ""
        facts.append(("images", Text(f"{plan.to_upload} to upload{there}")))
    facts.append(("budget", _budget(plan)))
    if plan.blocked is not None and plan.blocked.hint:
        facts.append(("hint", Text(clean(plan.blocked.hint))))
    elif plan.budget is not None and plan.lines:
        facts.append(("cap", cap_words(plan)))
    if plan.balance is not None:
        facts.append(("account", _account(plan, plan.balance)))
    facts += [("note", Text(clean(note), style="yellow")) for note in plan.notes]
    return facts


def _budget(plan: PlanSummary) -> Text:
    if plan.blocked is not None:
        return Text(f"no job can start: {clean(plan.blocked.message)}", style="yellow")
    used = plan.spent + plan.held
    before = f"; {format_credits(used)} spent or held by earlier runs" if used else ""
    if plan.budget is None:
        return Text(f"none{before}")
    text = Text(f"{format_credits(plan.budget)} credits{before}")
    if short := _short_of(plan.budget - used, plan, "falls short by", "may fall short by"):
        text.append(f"; {short}: the run stops there, and goes on with a higher one", style="yellow")
    return text


def cap_words(plan: PlanSummary) -> Text:
    """Return by how much the budget may be exceeded, and what would prevent that."""
    beyond = plan.may_exceed
    open_lines = [line.what == UPLOADS for line in plan.lines if line.ceiling is None]
    if beyond == 0:
        most = f"{SURGE} times the highest seen" if open_lines else "the declared ceilings"
        return Text(f"the budget can't be exceeded at prices up to {most}")
    keys = ["budget.max_credits_per_job"] if False in open_lines else []
    keys += ["budget.max_credits_per_upload"] if True in open_lines else []
    missing = " and ".join(keys)
    what, one = ("job", "a job") if False in open_lines else ("upload", "an upload")
    if beyond is None:
        reason = f"may be exceeded by {one} whose price is unknown, should it cost more than is left"
    else:
        most = format_credits(beyond)
        reason = f"may be exceeded by up to {most}, should the price of the last {what} rise {SURGE} times"
    return Text(f"{reason}; declare {missing} to rule that out")


def _account(plan: PlanSummary, balance: Credits) -> Text:
    text = Text(f"{format_credits(balance)} credits")
    if not plan.lines or plan.blocked is not None:
        return text
    if short := _short_of(balance, plan, "it is too little by", "it may be too little by"):
        return text.append(f"; {short}", style="yellow")
    if plan.most is None:
        return text.append(f" → at most {format_credits(balance - plan.least)} afterwards") if plan.least else text
    return text.append(f" → {_span(balance - plan.most, balance - plan.least)} afterwards")


def _short_of(left: Credits, plan: PlanSummary, surely: str, perhaps: str) -> str:
    """Return by how much ``left`` falls short of the plan's cost, as far as known; '' if it doesn't."""
    if plan.least > left:
        sure = "" if plan.least == plan.most else " or more"
        return f"{surely} {format_credits(plan.least - left)}{sure}"
    if plan.most is not None and plan.most > left:
        return f"{perhaps} up to {format_credits(plan.most - left)}"
    return ""


def _amount(amount: Credits | None) -> str | None:
    return None if amount is None else format_credits(amount)
