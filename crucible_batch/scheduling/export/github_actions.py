"""A workflow of GitHub Actions for each schedule."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crucible_batch import __version__
from crucible_batch.errors import UserError
from crucible_batch.scheduling.export.target import (
    MARK,
    TIME_TO_STOP_S,
    ExportedFile,
    ExportOptions,
    check_paths,
    plain_times_of,
    run_arguments,
    unsupported,
    yaml_text,
)
from crucible_batch.scheduling.schedules import ScheduledManifest

_SHORTEST_S = 300
_LONGEST_S = 360 * 60
"""The longest time that a job may take on GitHub's own runners."""
_ARTIFACT_DAYS = 14
_KEY = "MOLTAZINE_API_KEY"


def export_github_actions(schedules: Sequence[ScheduledManifest], options: ExportOptions) -> list[ExportedFile]:
    """Return a workflow for each schedule, for the folder ``.github/workflows`` of the manifest's repository.

    Raises ``UserError`` for a schedule that GitHub has no expression for, or that is due more than every five minutes.
    """
    return [_file(schedule, options) for schedule in schedules]


def _file(schedule: ScheduledManifest, options: ExportOptions) -> ExportedFile:
    name = f"crucible-batch-{schedule.name}"
    repository = _repository(schedule.path)
    path = schedule.path.relative_to(repository).as_posix()
    check_paths([path], "GitHub Actions", refused="$")
    text = yaml_text([_workflow(schedule, options, name, path)])
    # PyYAML quotes what YAML 1.1 reads as true, and GitHub reads YAML 1.2.
    text = text.replace("'on':\n", "on:\n", 1)
    target = repository / ".github" / "workflows"
    folder = shlex.quote(str(target))
    copy = () if options.folder == target else (f"mkdir -p {folder}", f"cp {name}.yml {folder}")
    steps = (*copy, *(f"gh secret set {variable}" for variable in (_KEY, *schedule.variables)))
    return ExportedFile(f"{name}.yml", f"{MARK}\n{text}", steps)


def _repository(path: Path) -> Path:
    """Return the folder of a manifest's repository. Raises ``UserError`` if it is not in one."""
    for folder in path.parents:
        if (folder / ".git").exists():
            return folder
    raise UserError(
        f"{path} is not in a git repository", hint="export from a clone of the repository with the manifest"
    )


def _workflow(schedule: ScheduledManifest, options: ExportOptions, name: str, path: str) -> dict[str, Any]:
    cron, times = plain_times_of(schedule, options, "GitHub Actions")
    if times.shortest_s < _SHORTEST_S:
        raise unsupported(schedule, "GitHub Actions", ValueError("its shortest interval is 5 minutes"))
    when = {"cron": cron} | ({} if times.zone_name == "UTC" else {"timezone": times.zone_name})
    deadline_s = min(int(options.deadline_of(schedule)), _LONGEST_S - 2 * TIME_TO_STOP_S)
    limited = dataclasses.replace(options, deadline_s=deadline_s, env_file=None)
    arguments = run_arguments(schedule, limited, "MANIFEST")
    run = {
        "runs-on": "ubuntu-latest",
        "timeout-minutes": (deadline_s + TIME_TO_STOP_S) // 60 + 1,
        "steps": _steps(name, schedule, path, arguments),
    }
    return {
        "name": name,
        "on": {"schedule": [when], "workflow_dispatch": {}},
        "permissions": {"contents": "read"},
        "concurrency": {"group": name, "cancel-in-progress": False},
        "jobs": {"run": run},
    }


def _steps(name: str, schedule: ScheduledManifest, path: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
    words = " ".join('"$MANIFEST"' if word == "MANIFEST" else word for word in arguments)
    outputs = f"outputs/{schedule.name}"
    saved = f"{outputs}\n~/.local/state/crucible-batch\n"
    key = f"{name}-${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}"
    python = {"uses": "actions/setup-python@v5", "with": {"python-version": "3.13"}}
    restore = {
        "name": "Restore the journals of earlier runs",
        "uses": "actions/cache/restore@v4",
        "with": {"path": saved, "key": key, "restore-keys": f"{name}-"},
    }
    secrets = {variable: f"${{{{ secrets.{variable} }}}}" for variable in (_KEY, *schedule.variables)}
    command = {
        "name": "Run the manifest",
        "env": {**secrets, "MANIFEST": path},
        "run": f"crucible-batch {words}",
    }
    save = {
        "name": "Save the journals, so that another run resumes",
        "if": "always()",
        "uses": "actions/cache/save@v4",
        "with": {"path": saved, "key": key},
    }
    # An artifact refuses paths with characters that run ids and names of jobs may have, such as a colon.
    pack = {
        "name": "Pack the outputs",
        "if": "always()",
        "run": f'if [ -d {outputs} ]; then tar -cf "$RUNNER_TEMP/{name}.tar" {outputs}; fi',
    }
    artifact = {
        "if": "always()",
        "uses": "actions/upload-artifact@v4",
        "with": {
            "name": f"{name}-${{{{ github.run_attempt }}}}",
            "path": f"${{{{ runner.temp }}}}/{name}.tar",
            "retention-days": _ARTIFACT_DAYS,
        },
    }
    install = {"run": f"pip install crucible-batch=={__version__}"}
    return [{"uses": "actions/checkout@v4"}, python, install, restore, command, save, pack, artifact]
