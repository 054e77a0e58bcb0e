"""A plan for people: what is left to do, what it costs as far as anybody can know, and what to type next."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crucible_batch.api import Certainty, Credits, PlanSummary, PriceLine, clean, format_credits
from crucible_batch.cli.answer import Json
from crucible_batch.cli.terminal import say

_HOW_SURE: dict[Certainty | None, str] = {
    None: "about ",
    Certainty.KNOWN: "",
    Certainty.LEARNED: "at least ",
    Certainty.BOUNDED: "at most ",
    Certainty.UNKNOWN: "",
}
_STATES = (("new", "new"), ("in_flight", "in flight"), ("failed", "failed"), ("done", "done already"))


def show_plan(console: Console, plan: PlanSummary) -> None:
    """Print a plan."""
    say(console, (clean(plan.manifest_name), "strong"), (f" · {clean(plan.run_id)}", "quiet"))
    say(console, _jobs(plan))
    if plan.lines:
        console.print(_prices(plan))
    facts = Table.grid(padding=(0, 1))
    facts.add_column(style="dim", width=11)
    facts.add_column()
    for label, text in _facts(plan):
        facts.add_row(f"  {label}", text)
    console.print(facts)
    say(console, ("  results   ", "label"), clean(str(plan.run_dir), 4000))


def plan_json(plan: PlanSummary, *, saved: Path | None = None) -> Json:
    """Return a plan as JSON, credits as decimal text. ``saved`` is the file that it was written to."""
    return {
        "manifest_name": plan.manifest_name,
        "run_id": plan.run_id,
        "run_dir": str(plan.run_dir),
        "total": plan.total,
        "states": {name: plan.states.get(name, 0) for name, _ in _STATES},
        "prices": [
            {
                "what": line.what,
                "count": line.count,
                "certainty": line.certainty.value,
                "each": _amount(line.each),
                "total": _amount(line.total),
            }
            for line in plan.lines
        ],
        "images": {"to_upload": plan.to_upload, "there_already": plan.reused_images},
        "credits": {
            "estimate": format_credits(plan.estimate),
            "certainty": plan.certainty.value,
            "budget": _amount(plan.budget),
            "spent": format_credits(plan.spent),
            "held": format_credits(plan.held),
            "over_budget": format_credits(plan.over_budget),
            "balance": _amount(plan.balance),
        },
        "notes": list(plan.notes),
        "saved": None if saved is None else str(saved),
        "digest": plan.digest,
    }


def estimate_words(plan: PlanSummary) -> str:
    """Say what a run will cost, as sure as the least sure of its prices lets anybody be."""
    found_out_later = [clean(line.what) for line in plan.lines if line.each is None]
    sure = _HOW_SURE[_certainty(plan)]
    if not plan.lines:
        return "0"
    if len(found_out_later) == len(plan.lines):
        return "not known yet"
    return " + ".join([f"{sure}{format_credits(plan.estimate)}", *found_out_later])


def _certainty(plan: PlanSummary) -> Certainty | None:
    """Return what the sum of the known prices is: exact, a lower or an upper bound; None where both kinds meet."""
    kinds = {line.certainty for line in plan.lines if line.each is not None}
    if kinds >= {Certainty.LEARNED, Certainty.BOUNDED}:
        return None
    return next((kind for kind in (Certainty.LEARNED, Certainty.BOUNDED) if kind in kinds), Certainty.KNOWN)


def _jobs(plan: PlanSummary) -> Text:
    parts = [f"{plan.states[name]} {word}" for name, word in _STATES if plan.states.get(name)]
    return Text.assemble(
        (f"{plan.total} job{'s' if plan.total != 1 else ''}", "strong"), ": ", ", ".join(parts) or "none"
    )


def _prices(plan: PlanSummary) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2), header_style="dim", show_footer=len(plan.lines) > 1
    )
    table.add_column("to buy", footer="together")
    table.add_column("count", justify="right")
    table.add_column("each", justify="right")
    table.add_column("credits", justify="right", footer=estimate_words(plan))
    for line in plan.lines:
        unknown = Text("not known yet", style="dim")
        table.add_row(
            clean(line.what), str(line.count), _price(line, line.each) or unknown, _price(line, line.total) or Text("?")
        )
    return table


def _price(line: PriceLine, amount: Credits | None) -> Text | None:
    return None if amount is None else Text(f"{_HOW_SURE[line.certainty]}{format_credits(amount)}")


def _facts(plan: PlanSummary) -> list[tuple[str, Text]]:
    facts = []
    if plan.to_upload or plan.reused_images:
        there = f", {plan.reused_images} there already" if plan.reused_images else ""
        facts.append(("images", Text(f"{plan.to_upload} to upload{there}")))
    facts.append(("budget", _budget(plan)))
    if plan.balance is not None:
        facts.append(("account", _account(plan)))
    facts += [("note", Text(clean(note), style="yellow")) for note in plan.notes]
    return facts


def _budget(plan: PlanSummary) -> Text:
    used = plan.spent + plan.held
    before = f"; {format_credits(used)} spent or held by earlier runs" if used else ""
    if plan.budget is None:
        return Text(f"none{before}")
    text = Text(f"{format_credits(plan.budget)} credits{before}")
    if plan.over_budget:
        text.append(f"; {_over(plan)}", style="yellow")
    return text


def _over(plan: PlanSummary) -> str:
    over = format_credits(plan.over_budget)
    if _certainty(plan) in {Certainty.BOUNDED, None}:
        return f"may fall short by up to {over}; then the run stops there, and goes on with a higher one"
    return f"falls short by {over}: the run will stop there, and goes on with a higher one"


def _account(plan: PlanSummary) -> Text:
    balance, after = plan.balance, plan.balance_after
    if balance is None or after is None:
        return Text("not asked")
    text = Text(f"{format_credits(balance)} credits")
    if not any(line.each is not None for line in plan.lines):
        return text
    if after < 0:
        return text.append(f", {format_credits(-after)} too few", style="yellow")
    sure = {Certainty.LEARNED: "at most ", Certainty.BOUNDED: "at least "}
    words = "about " if plan.certainty is Certainty.UNKNOWN else sure.get(_certainty(plan) or plan.certainty, "")
    return text.append(f" → {words}{format_credits(after)} afterwards")


def _amount(amount: Credits | None) -> str | None:
    return None if amount is None else format_credits(amount)
