"""The budgets of periods as text and JSON, and the result of a release."""

from __future__ import annotations

import time
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput, rfc3339
from crucible_batch.cli.terminal import Json, fact, say, say_more
from crucible_batch.core.credits import format_credits
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.features.periods.budgets import BudgetRun, BudgetState, budget_states
from crucible_batch.features.periods.budgets import release_budget as release
from crucible_batch.runs.connecting import current_settings
from crucible_batch.shell_command import shell_command

SHOWN = 20


def show_budgets(output: CommandOutput, account: str | None) -> None:
    settings = current_settings()
    states = budget_states(settings, now=time.time(), account=account)
    output.data = {"accounts": [_state_json(state) for state in states]}
    for state in states:
        _show_state(output, state)
    if not states:
        say(
            output.out,
            f"no run has used a budget account yet in {clean_path(settings.accounts_directory)}",
        )


def _show_state(output: CommandOutput, state: BudgetState) -> None:
    shares, terms = state.shares, state.terms
    say(output.out, (clean(terms.account), "strong"), (f"   {clean(terms.gateway, 300)}", "quiet"))
    limit = "?"
    if state.limit is not None:
        limit = format_credits(state.limit)
    words = f"{format_credits(shares.spent)} of {limit} credits spent {state.period.words}"
    if shares.set_aside:
        words += f", {format_credits(shares.set_aside)} set aside"
    fact(output.out, "used", words)
    unit = "credit" if shares.left == 1 else "credits"
    fact(output.out, "left", f"{format_credits(shares.left)} {unit} until {state.until}")
    for run in state.runs[:SHOWN]:
        fact(output.out, "run", clean_path(run.run_dir), (f"   {_run_words(run)}", "quiet"))
    say_more(output.out, len(state.runs) - SHOWN)
    for run in state.runs:
        if run.has_shards:
            fact(output.out, "merge", (shell_command("merge", run.run_dir), "command"))
        elif run.is_open and not run.is_active:
            fact(
                output.out,
                "release",
                (shell_command("budget", "release", terms.account, run.run_dir), "command"),
            )


def _run_words(run: BudgetRun) -> str:
    parts = [f"{format_credits(run.share.spent)} spent"]
    if run.is_open or run.share.set_aside:
        aside = f"{format_credits(run.share.set_aside)} set aside"
        if run.since is not None:
            aside += f" since {rfc3339(run.since)}"
        parts.append(aside)
    if run.is_gone:
        parts.append("its journal is gone")
    elif run.has_shards:
        parts.append("for shards that are not merged yet")
    elif run.is_open:
        parts.append("active" if run.is_active else "not active")
    return ", ".join(parts)


def _state_json(state: BudgetState) -> Json:
    shares, terms = state.shares, state.terms
    return {
        "account": terms.account,
        "gateway": terms.gateway,
        "per": terms.per,
        "timezone": terms.zone,
        "file": str(state.file),
        "limit": None if state.limit is None else format_credits(state.limit),
        "spent": format_credits(shares.spent),
        "set_aside": format_credits(shares.set_aside),
        "left": format_credits(shares.left),
        "from": rfc3339(state.period.start),
        "until": rfc3339(state.period.end),
        "runs": [_run_json(run) for run in state.runs],
    }


def _run_json(run: BudgetRun) -> Json:
    return {
        "run_dir": str(run.run_dir),
        "manifest": run.manifest,
        "spent": format_credits(run.share.spent),
        "set_aside": format_credits(run.share.set_aside),
        "open": run.is_open,
        "shards": run.has_shards,
        "active": run.is_active,
        "gone": run.is_gone,
        "since": None if run.since is None else rfc3339(run.since),
    }


def release_and_show(
    output: CommandOutput,
    account: str,
    run_dir: Path,
    *,
    forget_unanswered: bool,
) -> None:
    found = release(
        current_settings(),
        account,
        run_dir,
        now=time.time(),
        forget_unanswered=forget_unanswered,
    )
    output.data = {
        "account": account,
        "run_dir": str(found[0].run_dir),
        "released": [
            {
                "gateway": each.terms.gateway,
                "credits": format_credits(each.released),
                "spent": format_credits(each.after.spent),
                "set_aside": format_credits(each.after.set_aside),
            }
            for each in found
        ],
    }
    if output.quiet:
        return
    for each in found:
        say(
            output.out,
            ("✓ ", "good"),
            (f"{format_credits(each.released)} credits released", "strong"),
        )
        fact(output.out, "run", clean_path(each.run_dir))
        fact(output.out, "spent", f"{format_credits(each.after.spent)} credits in this period")
        if each.after.set_aside:
            held = format_credits(each.after.set_aside)
            fact(
                output.out,
                "held",
                f"{held} credits for unanswered requests or refunds that were not seen:"
                " run the same command again",
            )
