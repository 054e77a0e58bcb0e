"""The formats of exports by name, and the writing of their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crucible_batch.atomic_files import replacing
from crucible_batch.scheduling.export.cron import export_cron
from crucible_batch.scheduling.export.github_actions import export_github_actions
from crucible_batch.scheduling.export.kubernetes import export_kubernetes
from crucible_batch.scheduling.export.systemd import export_systemd
from crucible_batch.scheduling.export.target import (
    MARK,
    ExportedFile,
    ExportOptions,
    absolute,
    check_schedules,
)
from crucible_batch.scheduling.schedules import ScheduledManifest
from crucible_batch.target_files import check_target

_EXPORTS: Mapping[str, Callable[[Sequence[ScheduledManifest], ExportOptions], list[ExportedFile]]] = {
    "cron": export_cron,
    "systemd": export_systemd,
    "kubernetes": export_kubernetes,
    "github-actions": export_github_actions,
}


def export(schedules: Sequence[ScheduledManifest], to: str, options: ExportOptions) -> list[ExportedFile]:
    """Return the files for a scheduler. Raises ``UserError`` for a manifest that it can't run as scheduled."""
    check_schedules(schedules, options)
    return _EXPORTS[to]([absolute(schedule) for schedule in schedules], options)


def write_files(files: Sequence[ExportedFile], folder: Path, *, force: bool) -> list[Path]:
    """Write the files into a folder, which is created, and return their paths.

    Raises ``UserError``, before any is written, if one would overwrite a file that was not exported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / file.name for file in files]
    for path in paths:
        check_target(path, "an exported file", _is_exported, force=force)
    for path, file in zip(paths, files, strict=True):
        with replacing(path) as target:
            target.write(file.text.encode())
    return paths


def _is_exported(path: Path) -> bool:
    mark = MARK.encode()
    with path.open("rb") as file:
        return file.read(len(mark)) == mark
