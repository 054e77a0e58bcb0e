"""The exports by name: manifests are checked and exported."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crucible_batch.cli.exported_files import ExportedFile
from crucible_batch.errors import UserError
from crucible_batch.features.schedule.export.cron import export_cron
from crucible_batch.features.schedule.export.github_actions import export_github_actions
from crucible_batch.features.schedule.export.kubernetes import export_kubernetes
from crucible_batch.features.schedule.export.systemd import export_systemd
from crucible_batch.features.schedule.export.target import ExportOptions
from crucible_batch.features.schedule.schedules import ScheduledManifest

_EXPORTS: Mapping[
    str, Callable[[Sequence[ScheduledManifest], ExportOptions], list[ExportedFile]]
] = {
    "cron": export_cron,
    "systemd": export_systemd,
    "kubernetes": export_kubernetes,
    "github-actions": export_github_actions,
}


def export(
    schedules: Sequence[ScheduledManifest], to: str, options: ExportOptions
) -> list[ExportedFile]:
    """Return the files for a scheduler.

    Raises ``UserError`` for a manifest that it can't run as scheduled.
    """
    _check_schedules(schedules, options)
    # Links are not followed.
    absolute = [
        dataclasses.replace(each, path=Path(os.path.abspath(each.path)))  # noqa: PTH100
        for each in schedules
    ]
    return _EXPORTS[to](absolute, options)


def _check_schedules(schedules: Sequence[ScheduledManifest], options: ExportOptions) -> None:
    """Raise ``UserError`` for manifests that ``run`` would refuse, or that have the same name."""
    for schedule in schedules:
        if not schedule.has_budget:
            raise UserError(
                f"{schedule.path}: the manifest has no budget,"
                " and without a terminal a run needs one",
                hint="set budget.credits in the manifest",
            )
        if schedule.catch_up and not schedule.is_dated:
            raise UserError(
                f"{schedule.path}: schedule.catch_up needs a run id for each scheduled time",
                hint='set run_id: "{{ date }}" in the manifest',
            )
        if schedule.has_command and not options.allow_command:
            raise UserError(
                f"{schedule.path}: the manifest runs a command, and that needs your consent",
                hint="add --allow-command, if you trust the manifest",
            )
    names: dict[str, Path] = {}
    for schedule in schedules:
        other = names.setdefault(schedule.name.lower(), schedule.path)
        if other != schedule.path:
            raise UserError(
                f"{schedule.path} and {other} have the same name, {schedule.name},"
                " and would share files",
                hint="give each manifest its own name",
            )
