"""How a run ended, for a log and for what cron mails."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.cli.render.summary import FailureGroup, credits_words
from crucible_batch.domain.redaction import clean
from crucible_batch.report import REPORT_FILE, ReportHead


def ending_line(head: ReportHead, run_dir: Path, failures: list[FailureGroup], exit_code: int) -> str:
    """Return how a run ended in one line: manifest, run id, counts, credits, first cause, exit code and report."""
    parts = [
        f"{clean(head.manifest.name)}/{clean(head.run_id)}: {_jobs_words(head)}",
        credits_words(head),
        *_first_cause(head, failures),
        *([f"more from {head.period.until}"] if head.period is not None and head.period.exhausted else []),
        f"exit code {int(exit_code)}",
        f"report {clean(str(run_dir / REPORT_FILE), 4000)}",
    ]
    return "; ".join(parts)


def ending_mail(
    head: ReportHead,
    run_dir: Path,
    failures: list[FailureGroup],
    exit_code: int,
    *,
    subject: str,
    what_next: str | None,
) -> list[str]:
    """Return how a scheduled run ended in a few short lines, as cron mails them. ``subject`` is the run in words."""
    return [
        f"{clean(subject)}: exit code {int(exit_code)}",
        f"{_jobs_words(head)}; {credits_words(head)}",
        *_first_cause(head, failures),
        f"report {clean(str(run_dir / REPORT_FILE), 4000)}",
        *([] if what_next is None else [f"next {what_next}"]),
    ]


def _jobs_words(head: ReportHead) -> str:
    counts = head.counts.model_dump()
    others = [f"{counts[word]} {word}" for word in ("failed", "blocked", "unknown", "pending") if counts[word]]
    return ", ".join([f"{head.counts.succeeded} of {head.counts.total} jobs succeeded", *others])


def _first_cause(head: ReportHead, failures: list[FailureGroup]) -> list[str]:
    causes = [f"{stop.code}: {stop.message}" for stop in head.stops.values()]
    causes += [f"{group.code}: {group.message}" for group in failures]
    return [clean(cause, 300) for cause in causes[:1]]
