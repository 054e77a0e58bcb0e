"""A plan as text and JSON: the remaining jobs, their cost as far as it can be known, and the
budget.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crucible_batch.cli.command_output import rfc3339
from crucible_batch.cli.render.comparison import comparison_json, count_words, show_comparison
from crucible_batch.cli.terminal import Json, fact, say
from crucible_batch.cli.units import counted
from crucible_batch.core.credits import Credits, format_credits
from crucible_batch.core.prices import SURGE, Certainty
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.features import found
from crucible_batch.runs.plan_rows import UPLOADS, PriceLine
from crucible_batch.runs.plan_summary import PlannedPeriod, PlanSummary, StagePreview

_HOW_SURE = {
    Certainty.LEARNED: "highest seen",
    Certainty.BOUNDED: "declared ceiling",
    Certainty.UNKNOWN: "known after the first",
}
_NOT_KNOWN = "not known yet"
_WIDE = 78
"""The width of the price table in columns, with all its words."""
_LONGEST_PARAMS = 40
_PRICES_SHOWN = 8
_STATES = ("new", "in_flight", "failed", "done")


def show_plan(console: Console, plan: PlanSummary) -> None:
    say(console, (clean(plan.manifest_name), "strong"), (f" · {clean(plan.run_id)}", "quiet"))
    say(console, _jobs(plan))
    show_comparison(console, plan.comparison)
    if plan.lines:
        console.print(_prices(plan, is_wide=console.width >= _WIDE))
    facts = Table.grid()
    facts.add_column(style="dim", width=12)
    facts.add_column()
    for label, text in plan_facts(plan):
        facts.add_row(f"  {label}", text)
    console.print(facts)
    fact(console, "results", clean_path(plan.run_dir), width=9)
    for view in found("plan_view"):
        view.show(console, plan)


def plan_json(plan: PlanSummary, *, saved: Path | None = None) -> Json:
    """Return a plan as JSON, with credits as decimal text.

    ``saved`` is the file that it was written to.
    """
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
                "last_paid": _paid_json(line),
            }
            for line in plan.lines
        ],
        "stages": _stages_json(plan),
        "images": {"to_upload": plan.to_upload, "there_already": plan.reused_images},
        "credits": {
            "estimate": _estimate(plan),
            "at_least": format_credits(plan.least),
            "at_most": _amount(plan.most_with_stages),
            "certainty": plan.certainty.value,
            "budget": _amount(plan.budget),
            "spent": format_credits(plan.spent),
            "held": format_credits(plan.held),
            "over_budget": format_credits(plan.over_budget),
            "may_exceed_budget_by": _amount(plan.may_exceed),
            "balance": _amount(plan.balance),
        },
        "period": _period_json(plan.period),
        "notes": list(plan.notes),
        **_of_features(plan),
        "saved": str(saved) if saved is not None else None,
        "digest": plan.digest,
    }


def _estimate(plan: PlanSummary) -> str | None:
    """Return the estimate; None if a price is not known, since the sum would lack it."""
    return None if plan.certainty is Certainty.UNKNOWN else format_credits(plan.estimate)


def _of_features(plan: PlanSummary) -> dict[str, Json]:
    return {
        name: value for view in found("plan_view") for name, value in view.as_json(plan).items()
    }


def cost_words(lines: Iterable[PriceLine]) -> str:
    """Return the sum of price lines: exact, a range, at least or at most; lines without any price
    by their names.
    """
    lines = list(lines)
    priced = [line for line in lines if line.each is not None]
    if not lines:
        return "0"
    if not priced:
        return _NOT_KNOWN
    least = sum((line.least_each * line.count for line in priced), start=Credits(0))
    tops = [line.most_each * line.count for line in priced if line.most_each is not None]
    most = None
    if len(tops) == len(priced):
        most = sum(tops, start=Credits(0))
    unpriced = [clean(line.what) for line in lines if line.each is None]
    return " + ".join([_span(least, most), *unpriced])


def _span(least: Credits, most: Credits | None) -> str:
    if most is None:
        return f"at least {format_credits(least)}"
    if least == most:
        return format_credits(most)
    if not least:
        return f"at most {format_credits(most)}"
    return f"{format_credits(least)} to {format_credits(most)}"


def _jobs(plan: PlanSummary) -> Text:
    return Text.assemble((counted(plan.total, "job"), "strong"), ": ", count_words(plan.comparison))


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
        cells = price_cells(line)
        if is_wide:
            cells += [Text(_HOW_SURE[line.certainty]), Text(_amount(line.bound) or "none")]
        table.add_row(*cells)
    return table


def price_cells(line: PriceLine) -> list[Text]:
    """Return what is bought, how many, at how much each, and the sum."""
    cells = [_what(line), Text(str(line.count))]
    if line.each is None:
        return [*cells, Text(_NOT_KNOWN, style="dim"), Text("?")]
    return [*cells, Text(_each(line, line.each)), Text(cost_words([line]))]


def _each(line: PriceLine, each: Credits) -> str:
    if line.certainty is Certainty.BOUNDED:
        return f"at most {format_credits(each)}"
    return format_credits(each)


def _what(line: PriceLine) -> Text:
    """Return what is bought: the workflow, and the parameters that distinguish it from others in
    the plan.
    """
    text = Text(clean(line.what))
    params = _params(line)
    if params:
        text.append(f" {clean(params, _LONGEST_PARAMS)}", style="dim")
    return text


def _params(line: PriceLine) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(line.params.items()))


def plan_facts(plan: PlanSummary) -> list[tuple[str, Text]]:
    """Return what is known beside jobs and prices, each fact with its label: budget, account,
    notes.
    """
    facts = []
    if any(line.ceiling is None and line.bound is not None for line in plan.lines):
        facts.append(("bound", Text(f"{SURGE} times the highest seen, the most that one may cost")))
    if plan.to_upload or plan.reused_images:
        images = f"{plan.to_upload} to upload"
        if plan.reused_images:
            images += f", {plan.reused_images} there already"
        facts.append(("images", Text(images)))
    facts += _stage_facts(plan)
    facts.append(("budget", _budget(plan)))
    if plan.period is not None:
        facts.append(("period", _period_words(plan.period)))
    if plan.blocked is not None and plan.blocked.hint:
        facts.append(("hint", Text(clean(plan.blocked.hint))))
    elif plan.budget is not None and plan.lines:
        facts.append(("cap", cap_words(plan)))
    facts += _paid_facts(plan.lines)
    if plan.balance is not None:
        facts.append(("account", _account(plan, plan.balance)))
    facts += [("note", Text(clean(note), style="yellow")) for note in plan.notes]
    return facts


def _budget(plan: PlanSummary) -> Text:
    if plan.blocked is not None:
        return Text(f"no job can start: {clean(plan.blocked.message)}", style="yellow")
    used = plan.spent + plan.held
    text = Text(_budget_words(plan))
    if used:
        text.append(f"; {format_credits(used)} spent or held by earlier runs")
    if plan.budget is None or not _has_anything_to_buy(plan):
        return text
    short = _shortfall(plan, plan.budget - used)
    if short:
        more = "a higher budget"
        if plan.period is not None:
            more = "the credits of the next period"
        text.append(f"; {short}: the run stops there, and resumes with {more}", style="yellow")
    return text


def _budget_words(plan: PlanSummary) -> str:
    if plan.budget is None:
        return "none"
    words = f"{format_credits(plan.budget)} credits"
    if plan.period is not None:  # the next fact has the period's budget
        words += ", the allowance of this run"
    return words


def _has_anything_to_buy(plan: PlanSummary) -> bool:
    return bool(plan.lines or plan.later_lines)


def _shortfall(plan: PlanSummary, left: Credits) -> str:
    """Return by how much what is left of the budget falls short of the plan; '' if it doesn't."""
    short = _short_by(left, plan.least, plan.most, "falls short by", "may fall short by")
    with_stages = _stage_shortfall(plan)
    if with_stages and plan.least > left:
        return f"{short}, and {with_stages}"
    if with_stages or short:
        return with_stages or short
    than = "the budget"
    if plan.spent + plan.held:
        than = "is left"
    return _known_prices_above(left, plan, than)


def _known_prices_above(left: Credits, plan: PlanSummary, than: str) -> str:
    """Return by how much the known prices alone exceed ``left`` if others are unknown; '' if they
    don't."""
    known = plan.estimate
    if known <= left or all(line.each is not None for line in plan.lines):
        return ""
    more = format_credits(known - left)
    return f"the known prices alone are at most {format_credits(known)}, {more} more than {than}"


def _account(plan: PlanSummary, balance: Credits) -> Text:
    """Return what the account has, and whether that is too little for what the budget lets the run
    spend."""
    text = Text(f"{format_credits(balance)} credits")
    if plan.blocked is not None or not _has_anything_to_buy(plan):
        return text
    most = plan.most_with_stages
    if plan.budget is not None:
        left = plan.budget - plan.spent - plan.held
        if plan.least > left:  # the budget ends the run first
            if left > balance:
                short = f"it may be too little by up to {format_credits(left - balance)}"
                text.append(f"; {short}", style="yellow")
            return text
        if most is not None:
            most = min(most, left)
    short = _short_by(balance, plan.least, most, "it is too little by", "it may be too little by")
    if short:
        return text.append(f"; {short}", style="yellow")
    if most is None:
        if plan.least:
            text.append(f" → at most {format_credits(balance - plan.least)} afterwards")
        return text
    return text.append(f" → {_span(balance - most, balance - plan.least)} afterwards")


def _short_by(
    left: Credits, least: Credits, most: Credits | None, surely: str, perhaps: str
) -> str:
    """Return by how much ``left`` falls short of a cost between ``least`` and ``most``; '' if it
    doesn't."""
    if least > left:
        short = f"{surely} {format_credits(least - left)}"
        if least == most:
            return short
        return f"{short} or more"
    if most is not None and most > left:
        return f"{perhaps} up to {format_credits(most - left)}"
    return ""


def _period_words(period: PlannedPeriod) -> Text:
    parts = [
        f"{format_credits(period.spent)} of {format_credits(period.limit)} spent {period.words}"
    ]
    if period.set_aside:
        parts.append(f"{format_credits(period.set_aside)} set aside")
    parts.append(f"{format_credits(period.left)} left until {period.until}")
    return Text(f"{period.account}: {', '.join(parts)}")


def _period_json(period: PlannedPeriod | None) -> Json:
    """Return the budget of a period as in ``report.json``; None if there is none."""
    if period is None:
        return None
    return {
        "account": period.account,
        "per": period.per,
        "limit": format_credits(period.limit),
        "spent": format_credits(period.spent),
        "set_aside": format_credits(period.set_aside),
        "left": format_credits(period.left),
        "until": period.until,
    }


def cap_words(plan: PlanSummary) -> Text:
    """Return by how much the budget may be exceeded, and what would prevent that."""
    beyond = plan.may_exceed
    without_ceiling = {line.what for line in plan.lines if line.ceiling is None}
    if beyond == 0:
        most = "the declared ceilings"
        if without_ceiling:
            most = f"{SURGE} times the highest seen"
        return Text(f"the budget can't be exceeded at prices up to {most}")
    keys = []
    what, one = "upload", "an upload"
    if without_ceiling - {UPLOADS}:
        keys.append("budget.max_credits_per_job")
        what, one = "job", "a job"
    if UPLOADS in without_ceiling:
        keys.append("budget.max_credits_per_upload")
    missing = " and ".join(keys)
    if beyond is None:
        reason = f"may be exceeded by {one} whose price is unknown, if it costs more than is left"
    else:
        most = format_credits(beyond)
        reason = (
            f"may be exceeded by up to {most}, if the price of the last {what} rises {SURGE} times"
        )
    return Text(f"{reason}; declare {missing} to prevent that")


def _paid_facts(lines: Sequence[PriceLine]) -> list[tuple[str, Text]]:
    """Return a fact for each price that an earlier run paid, the first ones if there are many."""
    known = [line for line in lines if line.paid is not None]
    facts = [("estimate", _paid_words(line)) for line in known[:_PRICES_SHOWN]]
    more = len(known) - _PRICES_SHOWN
    if more > 0:
        facts.append(("estimate", Text(f"and {more} more")))
    return facts


def _paid_words(line: PriceLine) -> Text:
    assert line.paid is not None  # the caller's choice
    each, day = line.paid.credits, time.strftime("%Y-%m-%d", time.localtime(line.paid.at))
    what = clean(f"{line.what} {_params(line)}".strip(), 60)
    total = f"{line.count} × {format_credits(each)} = {format_credits(each * line.count)}"
    last = f"last paid {format_credits(each)} on {day} (run {clean(line.paid.run, 80)})"
    return Text(f"{what}: {total}; {last}")


def _paid_json(line: PriceLine) -> Json:
    """Return what an earlier run paid for one, when, and in which run; None if nothing is
    remembered."""
    paid = line.paid
    if paid is None:
        return None
    return {"credits": format_credits(paid.credits), "at": rfc3339(paid.at), "run": paid.run}


def _stage_facts(plan: PlanSummary) -> Iterator[tuple[str, Text]]:
    """Yield a line for each stage to which the run may add jobs, or which waits for its picks."""
    for preview in plan.stages:
        stage = preview.stage
        if stage.jobs or stage.is_waiting:
            style = "yellow" if stage.is_waiting else ""
            yield "stage", Text(_stage_words(preview), style=style)


def _stage_words(preview: StagePreview) -> str:
    stage = preview.stage
    name, sources = clean(stage.name, 80), clean(stage.sources, 80)
    jobs, prices = counted(stage.jobs, "more job"), ", ".join(map(_price_words, preview.lines))
    words = f"{name}: up to {jobs} from {sources}, {prices}"
    if stage.is_waiting:
        return f"{words}; not in this run, since {clean(stage.picks or '', 200)} does not exist yet"
    if stage.is_after_waiting:
        return f"{words}; not before the stage above"
    return words


def _price_words(line: PriceLine) -> str:
    what = clean(line.what, 60)
    if line.what == UPLOADS:
        what = counted(line.count, "upload")
    if line.each is None:
        return f"{what} (price not known yet)"
    unit = "credit" if line.each == 1 else "credits"
    return f"{what} ({_each(line, line.each)} {unit} each)"


def _stage_shortfall(plan: PlanSummary) -> str:
    """Return by how much the budget falls short of a plan with the jobs that its run may add; '' if
    it doesn't."""
    if plan.budget is None or not plan.later_lines:
        return ""
    if plan.most_with_stages is None:
        missing = plan.over_budget
        amount = f"{format_credits(missing)} or more"
    else:
        missing = plan.spent + plan.held + plan.most_with_stages - plan.budget
        amount = f"up to {format_credits(missing)}"
    if missing <= 0:
        return ""
    return f"with the next stages it may fall short by {amount}"


def _stages_json(plan: PlanSummary) -> Json:
    return [
        {
            "name": preview.stage.name,
            "from": preview.stage.sources,
            "jobs": preview.stage.jobs,
            "pick": preview.stage.picks,
            "waiting": preview.stage.is_waiting,
            "counted": preview.stage.is_counted,
            "prices": [
                {
                    "what": line.what,
                    "count": line.count,
                    "each": _amount(line.each),
                    "total": _amount(line.total),
                }
                for line in preview.lines
            ],
        }
        for preview in plan.stages
    ]


def _amount(amount: Credits | None) -> str | None:
    if amount is None:
        return None
    return format_credits(amount)
