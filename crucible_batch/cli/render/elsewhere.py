"""Results that features show in another form or place: ``result_view.py`` in their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.core.run_options import FeatureOptions
from crucible_batch.features import found
from crucible_batch.report import ReportHead
from crucible_batch.runs.plan_summary import PlanSummary


def is_plan_shown(
    output: CommandOutput, plan: PlanSummary, options: Sequence[FeatureOptions]
) -> bool:
    """Have features show a plan; return whether one did so in place of the usual text."""
    shown = [view.show_plan(output, plan, options) for view in found("result_view")]
    return any(shown)


def is_report_shown(
    output: CommandOutput, head: ReportHead, run_dir: Path, options: Sequence[FeatureOptions] = ()
) -> bool:
    """Have features show a report; return whether one did so in place of the usual text."""
    shown = [view.show_report(output, head, run_dir, options) for view in found("result_view")]
    return any(shown)
