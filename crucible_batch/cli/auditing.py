"""``audit``: ask the gateway, join, and say what was found, in words and in JSON."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path

from crucible_batch.api import (
    AuditResult,
    Figures,
    Finding,
    LedgerEntry,
    Unsaved,
    Verdict,
    audit,
    current_settings,
    format_credits,
    total,
)
from crucible_batch.cli.answer import Answer, Json, rfc3339
from crucible_batch.cli.asking import signed_credits
from crucible_batch.cli.render.audit import by_type, notes, show_audit, show_differences, show_unsaved
from crucible_batch.cli.terminal import working


def audit_and_tell(answer: Answer, run_dir: Path, api_base: str | None, proxy: str | None) -> None:
    """Audit a run directory. A difference is exit 7, and is named even where nothing else is said."""
    with working(answer.err, "asking the gateway"):
        result = asyncio.run(audit(run_dir, settings=current_settings(base_url=api_base, proxy=proxy)))
    found = result.audit
    for finding in found.jobs:
        answer.event("audited", job=_finding(finding))
    for finding in found.uploads:
        answer.event("audited", upload=_finding(finding))
    for entry in found.strangers:
        answer.event("not_ours", entry=_entry(entry), at_our_time=entry in found.at_our_time)
    for more in result.unsaved:
        answer.event("unsaved", job=_unsaved(more))
    answer.data = _data(result)
    if not answer.quiet:
        show_audit(answer.out, result, verbose=answer.verbose)
    else:
        if found.differences:
            show_differences(answer.err, found.differences)
        show_unsaved(answer.err, result)
    if found.differences:
        count = len(found.differences)
        answer.blame(
            "DIFFERENCE",
            f"{count} difference{'s' if count > 1 else ''} between our books and the gateway's ledger",
            "each is named with its job or asset id: ask the gateway's people about those",
            exit_code=result.exit_code,
        )
    elif result.unsaved:
        count = sum(more.missing for more in result.unsaved)
        answer.blame(
            "UNSAVED",
            f"{count} output{'s' if count > 1 else ''} listed by the gateway and never saved",
            f"crucible-batch verify {shlex.quote(str(run_dir))} --fix saves them, for no credits",
            exit_code=result.exit_code,
        )


def _data(result: AuditResult) -> dict[str, Json]:
    found = result.audit
    return {
        "run_dir": str(result.run_dir),
        "running": result.running,
        "ledger_since": None if found.oldest is None else rfc3339(found.oldest),
        "difference": len(found.differences),
        "differences": [_finding(each) for each in found.differences],
        "counts": {verdict.value: found.count(verdict) for verdict in Verdict},
        "jobs": _totals(found.jobs),
        "uploads": {**_totals(found.uploads), "present": sum(bool(each.present) for each in found.uploads)},
        "not_ours": _sums(found.strangers),
        "not_ours_at_our_time": _sums(found.at_our_time),
        "unsaved": [_unsaved(more) for more in result.unsaved],
        "notes": list(notes(result)),
    }


def _totals(findings: Sequence[Finding]) -> dict[str, Json]:
    books, ledger = total(findings)
    return {"count": len(findings), "books": _figures(books), "ledger": _figures(ledger)}


def _sums(entries: Sequence[LedgerEntry]) -> dict[str, Json]:
    return {word: {"count": count, "sum": signed_credits(amount)} for word, count, amount in by_type(entries)}


def _finding(finding: Finding) -> dict[str, Json]:
    return {
        "name": finding.name,
        "attempt": finding.attempt,
        "id": finding.gateway_id,
        "verdict": finding.verdict.value,
        "reasons": list(finding.reasons),
        "assumed": finding.assumed,
        "books": _figures(finding.books),
        "ledger": _figures(finding.ledger),
        "present": finding.present,
    }


def _unsaved(more: Unsaved) -> dict[str, Json]:
    return {"name": more.planned.name, "id": more.job.current.job_id, "retired": more.retired, "missing": more.missing}


def _figures(figures: Figures) -> dict[str, Json]:
    return {
        "charged": format_credits(figures.charged),
        "returned": format_credits(figures.returned),
        "held": format_credits(figures.held),
    }


def _entry(entry: LedgerEntry) -> dict[str, Json]:
    return {
        "id": entry.entry_id,
        "job_id": entry.job_id,
        "entry_type": entry.entry_type,
        "status": entry.status,
        "amount": signed_credits(entry.amount),
        "description": entry.description,
        "created_at": None if entry.at is None else rfc3339(entry.at),
    }
