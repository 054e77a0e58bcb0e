"""The judge's verdict on a client of the sandbox, as text."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich.console import Console

from crucible_batch.cli.redaction import printable
from crucible_batch.cli.terminal import say
from crucible_batch.cli.units import counted
from crucible_batch.core.credits import format_credits
from crucible_batch.sandbox import Finding, Verdict

_SHOWN = 10
"""Of each kind of finding, and of the records of each finding."""


def show_verdict(console: Console, verdict: Verdict) -> None:
    """Print what was charged, what was wrong, and what looks wrong."""
    say(console, _charged(verdict))
    _show_findings(console, verdict.faults, ("✗ ", "bad"))
    _show_findings(console, verdict.hints, ("! ", "warn"))
    if verdict.faults:
        return
    if verdict.jobs:
        say(console, ("✓ ", "good"), _all_is_well(verdict))
    else:
        say(console, ("! ", "warn"), "nothing was bought, so there was nothing to judge")


def _charged(verdict: Verdict) -> str:
    jobs = counted(verdict.jobs, "job")
    if verdict.failed:
        jobs += f", {verdict.failed} of them failed"
    parts = [
        f"the judge: {jobs}",
        f"{format_credits(verdict.charged_for_jobs)} credits charged for jobs",
        f"{format_credits(verdict.charged_for_uploads)} for uploads",
        f"{format_credits(verdict.reserved)} reserved",
        f"at most {format_credits(verdict.most)} at the same time",
        f"{counted(verdict.struck, 'fault')} struck",
    ]
    return " · ".join(parts)


def _all_is_well(verdict: Verdict) -> str:
    if verdict.budget is None:
        return "nothing was bought twice"
    budget = format_credits(verdict.budget)
    return f"nothing was bought twice, and the budget of {budget} was kept"


def _show_findings(console: Console, findings: Sequence[Finding], mark: tuple[str, str]) -> None:
    for finding in findings[:_SHOWN]:
        cost = ""
        if finding.credits:
            cost = f" ({_credits(finding.credits)})"
        say(console, mark, f"{finding.kind.replace('-', ' ')}: {printable(finding.text)}{cost}")
        for line in finding.details[:_SHOWN]:
            say(console, ("    " + printable(line), "quiet"))
        _say_rest(console, "    ", len(finding.details) - _SHOWN)
    _say_rest(console, "  ", len(findings) - _SHOWN)


def _credits(amount: Decimal) -> str:
    return f"{format_credits(amount)} credits"


def _say_rest(console: Console, indent: str, count: int) -> None:
    if count > 0:
        say(console, (f"{indent}… and {count:,} more", "quiet"))
