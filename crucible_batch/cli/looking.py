"""What a run directory holds, and the schemas of what we read and write: no gateway is asked."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from crucible_batch.api import (
    Balance,
    Status,
    clean,
    current_settings,
    format_credits,
    live_manifest_schema,
    manifest_schema,
    plan_schema,
    read_status,
    write_report_again,
)
from crucible_batch.cli.answer import Answer
from crucible_batch.cli.render.progress import progress_json, show_progress
from crucible_batch.cli.render.summary import FailureGroup, group_failures, head_json, next_step, show_summary
from crucible_batch.cli.terminal import say, working
from crucible_batch.errors import ExitCode
from crucible_batch.report import PAGE_FILE, REPORT_FILE, Report


def show_status(answer: Answer, run_dir: Path) -> None:
    """Show how far a run directory is."""
    status, now = read_status(run_dir), time.time()
    books, progress = status.report.credits, status.progress
    balance = Balance(books.budget, books.spent, books.held)
    answer.data = {**head_json(status.report, run_dir), "running": status.running}
    if progress is not None:
        answer.data["progress"] = progress_json(progress, balance, now)
    failures = [] if status.running else group_failures(status.report, status.jobs())
    show_summary(
        answer.out,
        status.report,
        run_dir,
        failures=failures,
        next_step=_next_step(status, failures),
        tail=_tail(status),
    )
    if progress is not None:
        show_progress(answer.out, progress, balance, now)


def _tail(status: Status) -> str:
    if status.running:
        return " · running now"
    return " · ended without a word (killed?)" if status.report.exit_code is None else ""


def _next_step(status: Status, failures: list[FailureGroup]) -> str | None:
    """Say what goes on with a run that has ended; where it is going on, or all is done, there is nothing to type."""
    head, manifest = status.report, status.manifest
    if status.running or head.exit_code == ExitCode.OK:
        return None
    if manifest is None or not manifest.is_file():
        return "the command that began it goes on with it"
    words = ["crucible-batch", "run", str(manifest)]
    if head.run_id != "default":
        words += ["--run-id", head.run_id]
    if status.run_dir.resolve() != Path("outputs", head.manifest.name, head.run_id).resolve():
        words += ["--out-dir", str(status.run_dir)]
    if head.credits.budget is not None:
        words += ["--budget", format_credits(head.credits.budget)]
    return next_step(head, shlex.join(words), failures)


def write_report_and_tell(answer: Answer, run_dir: Path, *, html: bool) -> None:
    """Rebuild the report, and say where it is."""
    with working(answer.err, "writing the report"):
        head = write_report_again(run_dir, html=html)
    page = run_dir / PAGE_FILE if html else None
    answer.data = head_json(head, run_dir, page)
    for path in (run_dir / REPORT_FILE, page):
        if path is not None:
            say(answer.out, ("✓ ", "good"), clean(str(path), 4000))


def print_schema(*, of_report: bool, of_plan: bool, output: Path | None) -> None:
    """Print a JSON Schema on stdout, or write it to ``output``."""
    schema: dict[str, Any] = plan_schema() if of_plan else manifest_schema()
    if of_report:
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **Report.model_json_schema(mode="serialization"),
            "title": "crucible-batch report.json, version 1",
        }
    _put(schema, output)


def print_live_schema(answer: Answer, api_base: str | None, proxy: str | None, *, output: Path | None) -> None:
    """Print the manifest's JSON Schema with the account's workflows, as ``print_schema`` does."""
    settings = current_settings(base_url=api_base, proxy=proxy)
    with working(answer.err, "asking the gateway"):
        schema = asyncio.run(live_manifest_schema(settings))
    _put(schema, output)


def _put(schema: dict[str, Any], output: Path | None) -> None:
    text = json.dumps(schema, indent=2) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")
