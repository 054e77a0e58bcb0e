"""The ``reject`` command: changes the rejections of a run, and shows them with the next command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.status import run_again
from crucible_batch.cli.terminal import Json, fact, say
from crucible_batch.core.redaction import clean, clean_path, listed
from crucible_batch.features.redo.enough import with_enough_budget
from crucible_batch.features.redo.rejecting import RejectsFile, picked_outputs, reject
from crucible_batch.features.redo.rejections import Rejection
from crucible_batch.runs.status import read_status
from crucible_batch.shell_command import shell_command, with_option

_NAMES_SHOWN = 20


def reject_and_show(
    output: CommandOutput,
    run_dir: Path,
    names: Sequence[str],
    *,
    reason: str,
    remove: bool,
    file: str | None,
) -> None:
    """Reject outputs of a run, or ``remove`` their rejections, and show the changed file.

    Raises as ``reject`` and ``read_status``.
    """
    changed = reject(run_dir, names, reason=reason, remove=remove, file=file)
    status = read_status(run_dir)
    next_command = run_again(status)
    if status.manifest is not None and status.manifest.is_file():
        next_command = with_enough_budget(next_command, run_dir, status.report, changed.path)
        if file is not None:
            next_command = with_option(next_command, "--rejects", file)
    picked = picked_outputs(run_dir, changed.path)
    if picked:
        unpick = shell_command("pick", run_dir, *picked, "--remove")
        next_command = f"{unpick} && {next_command}"
    output.data = {
        "run_dir": str(run_dir),
        "running": status.running,
        "file": str(changed.path),
        "rejections": changed.count,
        "added": [_as_json(each) for each in changed.added],
        "removed": [_as_json(each) for each in changed.removed],
        "already": list(changed.kept),
        "picked": list(picked),
        "next": next_command,
    }
    if output.quiet:
        return
    _show(output, changed)
    if status.running:
        fact(
            output.out,
            "note",
            "a run is active and has read its rejections; the change takes effect in the next run",
        )
    if picked:
        shown = listed([clean(name, 130) for name in picked], _NAMES_SHOWN)
        fact(output.out, "picked", f"{shown}: a later stage can't be made from what is rejected")
    fact(output.out, "next", (next_command, "command"))


def _show(output: CommandOutput, found: RejectsFile) -> None:
    plural = "" if found.count == 1 else "s"
    words = [f"{found.count} rejection{plural}"]
    words += [
        f"{len(lines)} {word}"
        for word, lines in (("added", found.added), ("removed", found.removed))
        if lines
    ]
    say(output.out, ("✓ ", "good"), f"{clean_path(found.path)}: {', '.join(words)}")
    for label, names in (
        ("rejected", [each.output for each in found.added]),
        ("wanted", [each.output for each in found.removed]),
        ("already", found.kept),
    ):
        if names:
            shown = listed([clean(name, 130) for name in names], _NAMES_SHOWN)
            fact(output.out, label, shown)


def _as_json(line: Rejection) -> Json:
    return {
        "name": line.name,
        "index": line.index,
        "generation": line.generation,
        "digits": line.digits,
        "reason": line.reason,
    }
