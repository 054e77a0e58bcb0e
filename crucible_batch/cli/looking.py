"""What a run directory holds, and the schemas of what we read and write: no gateway is asked."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from crucible_batch.api import (
    clean,
    current_settings,
    live_manifest_schema,
    manifest_schema,
    plan_schema,
    read_status,
    write_report_again,
)
from crucible_batch.cli.answer import Answer
from crucible_batch.cli.render.summary import head_json, show_summary
from crucible_batch.cli.terminal import say, working
from crucible_batch.report import PAGE_FILE, REPORT_FILE, Report


def show_status(answer: Answer, run_dir: Path) -> None:
    """Show how far a run directory is."""
    status = read_status(run_dir)
    answer.data = {**head_json(status.report, run_dir), "running": status.running}
    tail = ""
    if status.running:
        tail = " · running now"
    elif status.report.exit_code is None:
        tail = " · ended without a word (killed?); the same command goes on"
    show_summary(answer.out, status.report, run_dir, failures=[], next_step=None, tail=tail)


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
