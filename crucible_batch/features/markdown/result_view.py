"""Plans and reports as Markdown: printed if that is asked for, and in the summary of a GitHub
step."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.redaction import redacted
from crucible_batch.cli.terminal import say
from crucible_batch.core.run_options import FeatureOptions
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.features.markdown.options import MarkdownOptions
from crucible_batch.features.markdown.plan_text import plan_markdown
from crucible_batch.features.markdown.report_text import report_markdown
from crucible_batch.features.markdown.step_summary import VARIABLE, add_to_summary
from crucible_batch.report import ReportHead
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.reporting import report_rows

logger = logging.getLogger(__name__)


def show_plan(output: CommandOutput, plan: PlanSummary, options: Sequence[FeatureOptions]) -> bool:
    """Add a plan to the step's summary, and print it if that is asked for. Return whether it is."""
    is_asked = _is_asked(options)
    if is_asked or os.environ.get(VARIABLE):
        _show(output, plan_markdown(plan), is_printed=is_asked)
    return is_asked


def show_report(
    output: CommandOutput, head: ReportHead, run_dir: Path, options: Sequence[FeatureOptions]
) -> bool:
    """Do the same with a report."""
    is_asked = _is_asked(options)
    if is_asked:
        _show(output, report_markdown(head, report_rows(run_dir)), is_printed=True)
    elif os.environ.get(VARIABLE):
        try:
            _show(output, report_markdown(head, report_rows(run_dir)), is_printed=False)
        except CrucibleBatchError as error:  # of a journal that can't be read any more
            logger.warning("the step summary has no report: %s", error)
    return is_asked


def _is_asked(options: Sequence[FeatureOptions]) -> bool:
    return any(isinstance(each, MarkdownOptions) and each.markdown for each in options)


def _show(output: CommandOutput, text: str, *, is_printed: bool) -> None:
    text = redacted(text)
    if is_printed and not output.quiet:
        say(output.out, text.removesuffix("\n"))
    add_to_summary(text, os.environ)
