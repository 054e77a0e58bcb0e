"""The limits of a plan in words: by how much its budget may be exceeded, and the budget of its period."""

from __future__ import annotations

from rich.text import Text

from crucible_batch.api import SURGE, UPLOADS, PeriodPreview, PlanSummary, format_credits
from crucible_batch.cli.terminal import Json


def period_words(period: PeriodPreview) -> Text:
    """Return what is used of a period's budget, and when the next one begins."""
    shares = period.shares
    parts = [f"{format_credits(shares.spent)} of {format_credits(shares.limit)} spent {period.period.words}"]
    if shares.set_aside:
        parts.append(f"{format_credits(shares.set_aside)} set aside")
    parts.append(f"{format_credits(shares.left)} left until {period.until}")
    return Text(f"{period.rules.terms.account}: {', '.join(parts)}")


def period_json(period: PeriodPreview | None) -> Json:
    """Return the budget of a period as in ``report.json``; None if there is none."""
    if period is None:
        return None
    shares = period.shares
    return {
        "account": period.rules.terms.account,
        "per": period.period.per,
        "limit": format_credits(shares.limit),
        "spent": format_credits(shares.spent),
        "set_aside": format_credits(shares.set_aside),
        "left": format_credits(shares.left),
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
        reason = f"may be exceeded by up to {most}, if the price of the last {what} rises {SURGE} times"
    return Text(f"{reason}; declare {missing} to prevent that")
