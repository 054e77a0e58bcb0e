"""The ledger's half of ``check``: shows differences and foreign ledger entries as text and JSON."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from crucible_batch.cli.account import signed_credits
from crucible_batch.cli.command_line import again
from crucible_batch.cli.command_output import CommandOutput, rfc3339
from crucible_batch.cli.terminal import Json, fact, say, say_sentence, working
from crucible_batch.cli.units import counted
from crucible_batch.core.audit_claims import Figures, Finding, Verdict
from crucible_batch.core.credits import format_credits
from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger_statement import LISTED_AFTER_S
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.features.check.audit import Audit, total
from crucible_batch.features.check.auditing import AuditResult, check_ledger
from crucible_batch.features.check.upload_audit import UploadSums
from crucible_batch.features.check.verifying import UnsavedOutputs
from crucible_batch.settings import Settings
from crucible_batch.shell_command import shell_command

ZERO = Decimal(0)
DIFFERENCES_SHOWN = 20
_LISTED_AFTER = f"{LISTED_AFTER_S / 60:.0f} minutes"


def show_audit(console: Console, result: AuditResult, *, verbose: bool) -> None:
    """Print an audit.

    With ``verbose``, list each entry that isn't of this run, and all differences.
    """
    found = result.audit
    say_sentence(console, *_headline(result))
    limit = None if verbose else DIFFERENCES_SHOWN
    show_differences(console, found.differences, limit=limit)
    show_unsaved(console, result)
    fact(console, "jobs", _summed(found.jobs))
    if found.uploads is not None:
        fact(
            console,
            "uploads",
            f"{_words(found.uploads.ledger, 'rebated')} · {found.uploads.present} at the gateway",
        )
    fact(console, "ledger", _reach(found))
    for note in notes(result):
        fact(console, "note", note)
    if found.unmatched:
        fact(
            console,
            "others",
            _summary(found.unmatched),
            ("   from other runs or users of the account", "quiet"),
        )
    if found.at_our_time:
        entries = _summary(found.at_our_time)
        fact(
            console,
            "check",
            (
                f"{entries}: not of this run, but from its time and at its prices",
                "warn",
            ),
        )
    if result.unsaved:
        next_step = shell_command("check", clean_path(result.run_dir), "--fix")
        fact(
            console,
            "next",
            (next_step, "command"),
            ("   saves the outputs, for no credits", "quiet"),
        )
    if verbose:
        _list(console, found)
    elif found.unmatched and (found.differences or found.at_our_time):
        next_step = shell_command("check", clean_path(result.run_dir), "--ledger", "-v")
        fact(console, "next", (next_step, "command"), ("   lists each of these entries", "quiet"))


def _headline(result: AuditResult) -> tuple[str | tuple[str, str], ...]:
    found = result.audit
    differences = len(found.differences)
    missing = sum(more.missing for more in result.unsaved)
    unseen = found.count(Verdict.UNSEEN)
    verdict = ("✓ 0 differences from the ledger", "good")
    if not result.ok:
        verdict = ("✗ " + counted(differences, "difference") + " from the ledger", "bad")
    elif unseen:
        verdict = ("? 0 differences from the ledger", "warn")
    parts: list[str | tuple[str, str]] = [verdict]
    if missing:
        parts.append((f", {counted(missing, 'unsaved output')}", "bad"))
    if unseen:
        parts.append(f", {found.checks - unseen} of {found.checks} purchases checked")
    whose = f"   {clean(result.manifest_name)} · {clean(result.run_id)}"
    if result.running:
        whose += " · running now"
    return (*parts, (whose, "quiet"))


def show_differences(
    console: Console, differences: Sequence[Finding | UploadSums], *, limit: int | None = None
) -> None:
    """Print each difference, of a job or of the uploads, with the amounts in journal and ledger.

    If entries may not be listed yet, print the command that shows later whether they are.
    """
    for each in differences[:limit]:
        returned = "rebated" if isinstance(each, UploadSums) else "refunded"
        fact(console, "differs", (_name(each), "bad"))
        fact(
            console,
            "",
            f"journal: {_words(each.books, returned)} · ledger: {_words(each.ledger, returned)}",
        )
        reasons = Text(clean("; ".join(each.reasons), 300))
        if each.is_recent:
            reasons.append("   it may not be listed yet", "quiet")
        fact(console, "", reasons)
    if limit is not None and len(differences) > limit:
        fact(console, "", f"… and {len(differences) - limit} more; -v shows all")
    if any(each.is_recent for each in differences):
        fact(
            console,
            "next",
            (again(), "command"),
            (f"   {_LISTED_AFTER} later, shows what is still missing", "quiet"),
        )


def _name(each: Finding | UploadSums) -> str:
    if isinstance(each, UploadSums):
        return counted(each.count, "upload")
    name = clean(each.name, 80)
    if each.attempt > 1:
        name += f", attempt {each.attempt}"
    return f"{name} · job {clean(each.gateway_id)}"


def show_unsaved(console: Console, result: AuditResult) -> None:
    for more in result.unsaved[:DIFFERENCES_SHOWN]:
        job_id = clean(more.job.current.job_id or "-")
        whose = f"{clean(more.planned.name, 80)} · job {job_id}"
        fact(console, "unsaved", (f"{counted(more.missing, 'output')} of {whose}", "bad"))
    left = len(result.unsaved) - DIFFERENCES_SHOWN
    if left > 0:
        fact(console, "", f"… and {counted(left, 'job')} more; --json has them all")


def notes(result: AuditResult) -> Iterator[str]:
    found = result.audit
    yield from _moving(result)
    for each in found.jobs:
        if each.verdict is not Verdict.AGREES:
            continue
        if each.assumed and each.ledger != each.books:
            yield (
                f"{clean(each.name, 80)}: the journal only assumes"
                f" {_words(each.books, 'refunded')};"
                f" the ledger shows {_words(each.ledger, 'refunded')}"
            )
    if found.uploads is not None:
        yield from _about_uploads(found.uploads)


def _about_uploads(uploads: UploadSums) -> Iterator[str]:
    if uploads.gone:
        images = counted(uploads.gone, "image")
        yield f"{images} no longer at the gateway: a run that needs one uploads it again"
    if uploads.lost:
        lost = counted(uploads.lost, "upload")
        yield f"{lost} without an answer: held until a run knows whether it was charged"
    if uploads.surplus:
        yield (
            f"the ledger has {format_credits(uploads.surplus)} credits more for uploads in the"
            " time of these runs: by other runs or users of the account, or for an upload that was"
            " charged twice"
        )


def by_type(entries: Sequence[LedgerEntry]) -> list[tuple[str, int, Decimal]]:
    """Return each entry type with its number of entries and the sum of their signed amounts."""
    sums: dict[str, list[Decimal]] = defaultdict(list)
    for entry in entries:
        sums[entry.entry_type or "-"].append(entry.amount)
    return [(word, len(amounts), sum(amounts, ZERO)) for word, amounts in sorted(sums.items())]


def _moving(result: AuditResult) -> Iterator[str]:
    found = result.audit
    moving = found.count(Verdict.MOVING)
    if moving:
        more = "a run is in progress" if result.running else "the next run resolves it"
        yield f"{moving} in flight, amounts may still change: {more}"
    if found.unanswered:
        submits = counted(found.unanswered, "submit")
        yield f"{submits} without an answer: what it bought, if anything, is listed as others"


def _summed(findings: Sequence[Finding]) -> str:
    checked = [each for each in findings if each.verdict is not Verdict.UNSEEN]
    _, ledger = total(checked)
    return f"{len(checked)} checked: {_words(ledger, 'refunded')}"


def _words(figures: Figures, returned: str) -> str:
    parts = ((figures.charged, "charged"), (figures.returned, returned), (figures.held, "held"))
    return (
        ", ".join(f"{format_credits(amount)} {word}" for amount, word in parts if amount)
        or "0 charged"
    )


def _reach(found: Audit) -> str:
    shown = "the gateway shows no entries now"
    if found.oldest is not None:
        shown = f"read back to {_moment(found.oldest)}"
    if found.is_recorded:
        shown += ", and as seen during the runs"
    unseen = found.count(Verdict.UNSEEN)
    if unseen:
        purchases = counted(unseen, "purchase")
        shown += f"; the entries of {purchases} were not seen, so these could not be checked"
    return shown


def _summary(entries: Sequence[LedgerEntry]) -> str:
    parts = (
        f"{count} × {clean(word, 40)} (sum {signed_credits(amount)})"
        for word, count, amount in by_type(entries)
    )
    return ", ".join(parts)


def _list(console: Console, found: Audit) -> None:
    marked = {id(entry) for entry in found.at_our_time}
    for entry in found.unmatched:
        when = _moment(entry.at)
        what = f"{when}  {clean(entry.entry_type, 20):<10} {signed_credits(entry.amount):>8}"
        about = clean(f"{entry.job_id or ''} {entry.description}".strip(), 100)
        style = "warn" if id(entry) in marked else ""
        say(console, " " * 11, (what, style), (f"  {about}", "quiet"))


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def check_ledger_and_show(
    output: CommandOutput, run_dir: Path, settings: Settings, *, look_for_unsaved: bool
) -> dict[str, Json]:
    """Compare a run directory with the ledger.

    Differences cause exit code 7, and are printed even with ``--quiet``.
    """
    with working(output.err, "querying the gateway"):
        result = asyncio.run(
            check_ledger(run_dir, settings=settings, look_for_unsaved=look_for_unsaved)
        )
    found = result.audit
    for finding in found.jobs:
        output.event("audited", job=_finding(finding))
    if found.uploads is not None:
        output.event("audited", uploads=_uploads(found.uploads))
    for entry in found.unmatched:
        output.event("not_ours", entry=_entry(entry), at_our_time=entry in found.at_our_time)
    for more in result.unsaved:
        output.event("unsaved", job=_unsaved(more))
    if not output.quiet:
        show_audit(output.out, result, verbose=output.verbose)
    else:
        if found.differences:
            show_differences(output.err, found.differences)
        show_unsaved(output.err, result)
    if found.differences:
        output.blame(
            "DIFFERENCE",
            f"{counted(len(found.differences), 'difference')}"
            " between the journal and the gateway's ledger",
            _advice(found.differences),
            exit_code=result.exit_code,
        )
    elif result.unsaved:
        count = sum(more.missing for more in result.unsaved)
        output.blame(
            "DIFFERENCE",
            f"{counted(count, 'output')} listed by the gateway and never saved",
            f"{shell_command('check', run_dir, '--fix')} saves them, for no credits",
            exit_code=result.exit_code,
        )
    return _data(result)


def _advice(differences: Sequence[Finding | UploadSums]) -> str:
    recent = sum(each.is_recent for each in differences)
    if not recent:
        return "each is listed with its job id: contact the gateway's operator"
    entries = "entries"
    if recent < len(differences):
        entries = f"{recent} of them are entries"
    return (
        f"{entries} of the last {_LISTED_AFTER} that may not be listed yet:"
        f" run {again()} in {_LISTED_AFTER};"
        " each difference is listed with its job id:"
        " contact the gateway's operator about those that are left"
    )


def _data(result: AuditResult) -> dict[str, Json]:
    found = result.audit
    uploads = None
    if found.uploads is not None:
        uploads = _uploads(found.uploads)
    return {
        "running": result.running,
        "since": _rfc3339(found.oldest),
        "difference": len(found.differences),
        "differences": [_difference(each) for each in found.differences],
        "counts": {verdict.value: found.count(verdict) for verdict in Verdict},
        "jobs": _totals(found.jobs),
        "uploads": uploads,
        "not_ours": _sums(found.unmatched),
        "not_ours_at_our_time": _sums(found.at_our_time),
        "unsaved": [_unsaved(more) for more in result.unsaved],
        "notes": list(notes(result)),
    }


def _totals(findings: Sequence[Finding]) -> dict[str, Json]:
    books, ledger = total(findings)
    return {"count": len(findings), "books": _figures(books), "ledger": _figures(ledger)}


def _sums(entries: Sequence[LedgerEntry]) -> dict[str, Json]:
    return {
        word: {"count": count, "sum": signed_credits(amount)}
        for word, count, amount in by_type(entries)
    }


def _difference(each: Finding | UploadSums) -> dict[str, Json]:
    if isinstance(each, UploadSums):
        return _uploads(each)
    return _finding(each)


def _finding(finding: Finding) -> dict[str, Json]:
    return {
        "name": finding.name,
        "attempt": finding.attempt,
        "id": finding.gateway_id,
        "assumed": finding.assumed,
        **_compared(finding),
    }


def _uploads(uploads: UploadSums) -> dict[str, Json]:
    return {
        "count": uploads.count,
        **_compared(uploads),
        "present": uploads.present,
        "gone": uploads.gone,
        "lost": uploads.lost,
    }


def _compared(each: Finding | UploadSums) -> dict[str, Json]:
    return {
        "verdict": each.verdict.value,
        "reasons": list(each.reasons),
        "books": _figures(each.books),
        "ledger": _figures(each.ledger),
    }


def _unsaved(more: UnsavedOutputs) -> dict[str, Json]:
    return {
        "name": more.planned.name,
        "id": more.job.current.job_id,
        "retired": more.retired,
        "missing": more.missing,
    }


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
        "created_at": _rfc3339(entry.at),
    }


def _rfc3339(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return rfc3339(seconds)
