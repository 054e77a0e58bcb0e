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
    for label, text in _facts(plan):
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
            "estimate": format_credits(plan.estimate),
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
        "saved": None if saved is None else str(saved),
        "digest": plan.digest,
    }


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
    if not priced:
        return _NOT_KNOWN if lines else "0"
    least = sum((line.least_each * line.count for line in priced), start=Credits(0))
    tops = [None if line.most_each is None else line.most_each * line.count for line in priced]
    known = [top for top in tops if top is not None]
    most = sum(known, start=Credits(0)) if len(known) == len(tops) else None
    return " + ".join(
        [_span(least, most), *(clean(line.what) for line in lines if line.each is None)]
    )


def _span(least: Credits, most: Credits | None) -> str:
    if most is None:
        return f"at least {format_credits(least)}"
    if least == most:
        return format_credits(most)
    return (
        f"{format_credits(least)} to {format_credits(most)}"
        if least
        else f"at most {format_credits(most)}"
    )


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
        each = Text(_NOT_KNOWN, style="dim") if line.each is None else Text(_each(line, line.each))
        total = Text("?" if line.each is None else cost_words([line]))
        bound = "none" if line.bound is None else format_credits(line.bound)
        table.add_row(
            _what(line),
            str(line.count),
            each,
            total,
            *((_HOW_SURE[line.certainty], bound) if is_wide else ()),
        )
    return table


def _each(line: PriceLine, each: Credits) -> str:
    return (
        f"at most {format_credits(each)}"
        if line.certainty is Certainty.BOUNDED
        else format_credits(each)
    )


def _what(line: PriceLine) -> Text:
    """Return what is bought: the workflow, and the parameters that distinguish it from others in
    the plan.
    """
    params = _params(line)
    return Text.assemble(
        clean(line.what), (f" {clean(params, _LONGEST_PARAMS)}" if params else "", "dim")
    )


def _params(line: PriceLine) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(line.params.items()))


def _facts(plan: PlanSummary) -> list[tuple[str, Text]]:
    facts = []
    if any(line.ceiling is None and line.bound is not None for line in plan.lines):
        facts.append(("bound", Text(f"{SURGE} times the highest seen, the most that one may cost")))
    if plan.to_upload or plan.reused_images:
        there = f", {plan.reused_images} there already" if plan.reused_images else ""
        facts.append(("images", Text(f"{plan.to_upload} to upload{there}")))
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
    before = f"; {format_credits(used)} spent or held by earlier runs" if used else ""
    allowance = (
        "" if plan.period is None else ", the allowance of this run"
    )  # the next fact has the period's budget
    text = Text(
        f"{'none' if plan.budget is None else f'{format_credits(plan.budget)} credits{allowance}'}{before}"
    )
    if plan.budget is None or not (
        plan.lines or plan.later_lines
    ):  # without lines there is nothing to buy
        return text
    short = _short_by(
        plan.budget - used, plan.least, plan.most, "falls short by", "may fall short by"
    )
    if with_stages := _stage_shortfall(plan):
        short = f"{short}, and {with_stages}" if plan.least > plan.budget - used else with_stages
    if short or (
        short := _known_prices_above(plan.budget - used, plan, "is left" if used else "the budget")
    ):
        more = "a higher budget" if plan.period is None else "the credits of the next period"
        text.append(f"; {short}: the run stops there, and resumes with {more}", style="yellow")
    return text


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
    if not (plan.lines or plan.later_lines) or plan.blocked is not None:
        return text
    left = None if plan.budget is None else plan.budget - plan.spent - plan.held
    if left is not None and plan.least > left:  # the budget ends the run first
        if left > balance:
            text.append(
                f"; it may be too little by up to {format_credits(left - balance)}", style="yellow"
            )
        return text
    most = plan.most_with_stages
    most = most if left is None or most is None else min(most, left)
    if short := _short_by(
        balance, plan.least, most, "it is too little by", "it may be too little by"
    ):
        return text.append(f"; {short}", style="yellow")
    if most is None:
        return (
            text.append(f" → at most {format_credits(balance - plan.least)} afterwards")
            if plan.least
            else text
        )
    return text.append(f" → {_span(balance - most, balance - plan.least)} afterwards")


def _short_by(
    left: Credits, least: Credits, most: Credits | None, surely: str, perhaps: str
) -> str:
    """Return by how much ``left`` falls short of a cost between ``least`` and ``most``; '' if it
    doesn't."""
    if least > left:
        return f"{surely} {format_credits(least - left)}{'' if least == most else ' or more'}"
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
    open_lines = [line.what == UPLOADS for line in plan.lines if line.ceiling is None]
    if beyond == 0:
        most = f"{SURGE} times the highest seen" if open_lines else "the declared ceilings"
        return Text(f"the budget can't be exceeded at prices up to {most}")
    keys = ["budget.max_credits_per_job"] if False in open_lines else []
    keys += ["budget.max_credits_per_upload"] if True in open_lines else []
    missing = " and ".join(keys)
    what, one = ("job", "a job") if False in open_lines else ("upload", "an upload")
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
    return [*facts, ("estimate", Text(f"and {more} more"))] if more > 0 else facts


def _paid_words(line: PriceLine) -> Text:
    assert line.paid is not None  # the caller's choice
    each, day = line.paid.credits, time.strftime("%Y-%m-%d", time.localtime(line.paid.at))
    what = clean(f"{line.what} {_params(line)}".strip(), 60)
    total = f"{line.count} × {format_credits(each)} = {format_credits(each * line.count)}"
    return Text(
        f"{what}: {total}; last paid {format_credits(each)} on {day} (run {clean(line.paid.run, 80)})"
    )


def _paid_json(line: PriceLine) -> Json:
    """Return what an earlier run paid for one, when, and in which run; None if nothing is
    remembered."""
    paid = line.paid
    return (
        None
        if paid is None
        else {"credits": format_credits(paid.credits), "at": rfc3339(paid.at), "run": paid.run}
    )


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
    what = counted(line.count, "upload") if line.what == UPLOADS else clean(line.what, 60)
    if line.each is None:
        return f"{what} (price not known yet)"
    unit = "credit" if line.each == 1 else "credits"
    return f"{what} ({_each(line, line.each)} {unit} each)"


def _stage_shortfall(plan: PlanSummary) -> str:
    """Return by how much the budget falls short of a plan with the jobs that its run may add; '' if
    it doesn't."""
    if plan.budget is None or not plan.later_lines:
        return ""
    most = plan.most_with_stages
    missing = plan.over_budget if most is None else plan.spent + plan.held + most - plan.budget
    if missing <= 0:
        return ""
    amount = (
        f"{format_credits(missing)} or more" if most is None else f"up to {format_credits(missing)}"
    )
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
    return None if amount is None else format_credits(amount)
