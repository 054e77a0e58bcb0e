"""A plan as text and JSON: the remaining jobs, their cost as far as it can be known, and the next command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crucible_batch.api import (
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
from crucible_batch.cli.render.limits import cap_words, period_json, period_words
from crucible_batch.cli.render.paid import paid_facts, paid_json
from crucible_batch.cli.render.shards import shards_json, show_shards
from crucible_batch.cli.render.stages import stage_facts, stage_shortfall, stages_json
from crucible_batch.cli.terminal import Json, fact, say

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
    ChangeKind.DONE: "already done",
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
            return f"no longer in the manifest; it cost {cost}, and its files are kept"
        case ChangeCause.MISSING_OUTPUT:
            return f"output missing: {_paths(reason.missing + reason.resized)} downloaded again at no cost"
        case ChangeCause.CHANGED_OUTPUT:
            return f"output changed: {_paths(reason.resized)} downloaded again at no cost; the changed file is kept"
        case ChangeCause.DONE:
            return f"done for {cost}; there is nothing to do"
        case _:
            return _SENTENCES[reason.why].format(code=code)


def _paths(paths: Sequence[str]) -> str:
    """Return the subject and the verb of a sentence on outputs."""
    return f"{clean(paths[0], 200)} is" if len(paths) == 1 else f"{clean(paths[0], 200)} and {len(paths) - 1} more are"


_SENTENCES = {
    ChangeCause.NEVER_RUN: "never run",
    ChangeCause.NOT_SENT: "started but never sent ({code}); nothing was bought",
    ChangeCause.RETRIED: "failed with {code}; another attempt is bought",
    ChangeCause.IN_FLIGHT: "in flight since an earlier run; resumed, not bought again",
    ChangeCause.NOT_FETCHED: "succeeded; its outputs are downloaded at no cost",
    ChangeCause.UNANSWERED: "sent but never answered; sent again with the same idempotency key",
    ChangeCause.UNAVAILABLE: "paid for, but its output couldn't be downloaded ({code}); retried at no cost",
    ChangeCause.VANISHED: "the gateway had no record of it; polled again, not bought again",
    ChangeCause.UNREADABLE: "its journal entries contradict each other ({code}); nothing more is bought for it",
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
        "missing": list(reason.missing),
        "resized": list(reason.resized),
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
        return f"{change.field}: {_value(change.after)} added"
    if change.after is None:
        return f"{change.field}: {_value(change.before)} removed"
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
    Certainty.UNKNOWN: "known after the first",
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
    fact(console, "results", clean(str(plan.run_dir), 4000), width=9)
    if plan.shards:
        show_shards(console, plan)


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
                "last_paid": paid_json(line),
            }
            for line in plan.lines
        ],
        "stages": stages_json(plan),
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
        "period": period_json(plan.period),
        "notes": list(plan.notes),
        "division": shards_json(plan),
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
    table.add_column("to buy", footer="total")
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
    facts += stage_facts(plan)
    facts.append(("budget", _budget(plan)))
    if plan.period is not None:
        facts.append(("period", period_words(plan.period)))
    if plan.blocked is not None and plan.blocked.hint:
        facts.append(("hint", Text(clean(plan.blocked.hint))))
    elif plan.budget is not None and plan.lines:
        facts.append(("cap", cap_words(plan)))
    facts += paid_facts(plan.lines)
    if plan.balance is not None:
        facts.append(("account", _account(plan, plan.balance)))
    facts += [("note", Text(clean(note), style="yellow")) for note in plan.notes]
    return facts


def _budget(plan: PlanSummary) -> Text:
    if plan.blocked is not None:
        return Text(f"no job can start: {clean(plan.blocked.message)}", style="yellow")
    used = plan.spent + plan.held
    before = f"; {format_credits(used)} spent or held by earlier runs" if used else ""
    allowance = "" if plan.period is None else ", the allowance of this run"  # the next fact has the period's budget
    text = Text(f"{'none' if plan.budget is None else f'{format_credits(plan.budget)} credits{allowance}'}{before}")
    if plan.budget is None or not (plan.lines or plan.later_lines):  # without lines there is nothing to buy
        return text
    short = _short_by(plan.budget - used, plan.least, plan.most, "falls short by", "may fall short by")
    if with_stages := stage_shortfall(plan):
        short = f"{short}, and {with_stages}" if plan.least > plan.budget - used else with_stages
    if short or (short := _known_prices_above(plan.budget - used, plan, "is left" if used else "the budget")):
        more = "a higher budget" if plan.period is None else "the credits of the next period"
        text.append(f"; {short}: the run stops there, and resumes with {more}", style="yellow")
    return text


def _known_prices_above(left: Credits, plan: PlanSummary, than: str) -> str:
    """Return by how much the known prices alone exceed ``left`` if others are unknown; '' if they don't."""
    known = plan.estimate
    if known <= left or all(line.each is not None for line in plan.lines):
        return ""
    return (
        f"the known prices alone are at most {format_credits(known)}, {format_credits(known - left)} more than {than}"
    )


def _account(plan: PlanSummary, balance: Credits) -> Text:
    """Return what the account has, and whether that is too little for what the budget lets the run spend."""
    text = Text(f"{format_credits(balance)} credits")
    if not (plan.lines or plan.later_lines) or plan.blocked is not None:
        return text
    left = None if plan.budget is None else plan.budget - plan.spent - plan.held
    if left is not None and plan.least > left:  # the budget ends the run first
        if left > balance:
            text.append(f"; it may be too little by up to {format_credits(left - balance)}", style="yellow")
        return text
    most = plan.most_with_stages
    most = most if left is None or most is None else min(most, left)
    if short := _short_by(balance, plan.least, most, "it is too little by", "it may be too little by"):
        return text.append(f"; {short}", style="yellow")
    if most is None:
        return text.append(f" → at most {format_credits(balance - plan.least)} afterwards") if plan.least else text
    return text.append(f" → {_span(balance - most, balance - plan.least)} afterwards")


def _short_by(left: Credits, least: Credits, most: Credits | None, surely: str, perhaps: str) -> str:
    """Return by how much ``left`` falls short of a cost between ``least`` and ``most``; '' if it doesn't."""
    if least > left:
        return f"{surely} {format_credits(least - left)}{'' if least == most else ' or more'}"
    if most is not None and most > left:
        return f"{perhaps} up to {format_credits(most - left)}"
    return ""


def _amount(amount: Credits | None) -> str | None:
    return None if amount is None else format_credits(amount)
