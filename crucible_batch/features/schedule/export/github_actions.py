"""A workflow of GitHub Actions for each schedule."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from crucible_batch import __version__
from crucible_batch.cli.exported_files import ExportedFile, check_paths
from crucible_batch.errors import UserError
from crucible_batch.features.schedule.export.target import (
    MARK,
    TIME_TO_STOP_S,
    ExportOptions,
    plain_cron,
    run_arguments,
    shortest_interval,
    unsupported,
)
from crucible_batch.features.schedule.schedules import ScheduledManifest

_SHORTEST_S = 300
_LONGEST_S = 360 * 60
"""The longest time that a job may take on GitHub's own runners."""
_PLAN_MINUTES = 5
_KEY = "MOLTAZINE_API_KEY"
_WHEEL = f"crucible_batch-{__version__}-py3-none-any.whl"
"""The program, which a workflow installs from its own repository. No index has a release yet: a
stranger could take the name there, and would be given the API key."""

# The plan is for people: the run makes its own, waits for the gateway, and reports what fails. Both
# commands add to the summaries of their steps. An artifact refuses paths with characters that run
# ids and names of jobs may have, such as a colon, so the outputs are packed.
_WORKFLOW = """\
name: %(name)s
on:
  schedule:
  - {%(when)s}
  workflow_dispatch: {}
permissions: {contents: read}
concurrency: {group: %(name)s, cancel-in-progress: false}
jobs:
  run:
    runs-on: ubuntu-latest
    timeout-minutes: %(minutes)d
    steps:
    - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
      with: {persist-credentials: false}
    - uses: actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0
      with: {python-version: '3.13'}
    - run: pip install .github/%(wheel)s
    - name: Restore the journals of earlier runs
      uses: actions/cache/restore@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5
      with:
        path: |
          %(outputs)s
          ~/.local/state/crucible-batch
        key: %(name)s-${{ github.run_id }}-${{ github.run_attempt }}
        restore-keys: %(name)s-
    - name: Show the plan
      continue-on-error: true
      timeout-minutes: %(plan_minutes)d
      env:
%(secrets)s
        MANIFEST: %(path)s
      run: crucible-batch plan "$MANIFEST"
    - name: Run the manifest
      env:
%(secrets)s
        MANIFEST: %(path)s
      run: %(command)s
    - name: Save the journals, so that another run resumes
      if: always()
      uses: actions/cache/save@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5
      with:
        path: |
          %(outputs)s
          ~/.local/state/crucible-batch
        key: %(name)s-${{ github.run_id }}-${{ github.run_attempt }}
    - name: Pack the outputs
      if: always()
      run: if [ -d %(outputs)s ]; then tar -cf "$RUNNER_TEMP/%(name)s.tar" %(outputs)s; fi
    - if: always()
      uses: actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0
      with:
        name: %(name)s-${{ github.run_attempt }}
        path: ${{ runner.temp }}/%(name)s.tar
        retention-days: 14
"""


def export_github_actions(
    schedules: Sequence[ScheduledManifest], options: ExportOptions
) -> list[ExportedFile]:
    """Return a workflow for each schedule.

    Its place is the folder ``.github/workflows`` of the manifest's repository.

    Raises ``UserError`` for a schedule that GitHub has no expression for, or that is due more than
    every five minutes.
    """
    return [_file(schedule, options) for schedule in schedules]


def _file(schedule: ScheduledManifest, options: ExportOptions) -> ExportedFile:
    name = f"crucible-batch-{schedule.name}"
    repository = repository_of(schedule.path)
    path = schedule.path.relative_to(repository).as_posix()
    check_paths([path], "GitHub Actions", refused="$")
    text = _workflow(schedule, options, name, path)
    target = repository / ".github" / "workflows"
    folder = shlex.quote(str(target))
    steps = [f"gh secret set {variable}" for variable in (_KEY, *schedule.variables)]
    if options.folder != target:
        steps = [f"mkdir -p {folder}", f"cp {name}.yml {folder}", *steps]
    return ExportedFile(f"{name}.yml", f"{MARK}\n{text}", tuple(steps))


def repository_of(path: Path) -> Path:
    """Return the folder of a manifest's repository. Raises ``UserError`` if it is not in one."""
    for folder in path.parents:
        if (folder / ".git").exists():
            return folder
    raise UserError(
        f"{path} is not in a git repository",
        hint="export from a clone of the repository with the manifest",
    )


def wheel_command(repository: Path) -> str:
    """Return the command, in a clone of crucible-batch, that gives the repository its wheel."""
    return f"pip wheel --no-deps --wheel-dir {shlex.quote(str(repository / '.github'))} ."


def _workflow(schedule: ScheduledManifest, options: ExportOptions, name: str, path: str) -> str:
    cron = plain_cron(schedule, "GitHub Actions")
    if shortest_interval(schedule, options.now) < _SHORTEST_S:
        raise unsupported(
            schedule, "GitHub Actions", ValueError("its shortest interval is 5 minutes")
        )
    deadline_s = min(int(options.deadline_of(schedule)), _LONGEST_S - 2 * TIME_TO_STOP_S)
    limited = dataclasses.replace(options, deadline_s=deadline_s, env_file=None)
    words = run_arguments(schedule, limited, '"$MANIFEST"')
    variables = (_KEY, *schedule.variables)
    when = f"cron: '{cron}'"
    if schedule.zone_name != "UTC":
        when += f", timezone: {schedule.zone_name}"
    return _WORKFLOW % {
        "name": name,
        "when": when,
        "minutes": (deadline_s + TIME_TO_STOP_S) // 60 + 1 + _PLAN_MINUTES,
        "plan_minutes": _PLAN_MINUTES,
        "wheel": _WHEEL,
        "outputs": f"outputs/{schedule.name}",
        "secrets": "\n".join(
            f"        {variable}: ${{{{ secrets.{variable} }}}}" for variable in variables
        ),
        "path": json.dumps(path, ensure_ascii=False),  # a JSON text is YAML as well
        "command": f"crucible-batch {' '.join(words)}",
    }
