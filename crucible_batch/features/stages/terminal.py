"""The ``pick`` command: changes the picks of a run, and shows them with the next command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.status import run_again
from crucible_batch.cli.terminal import Json, fact, say
from crucible_batch.core.redaction import clean, clean_path, listed
from crucible_batch.features.stages.picking import PicksFile, pick
from crucible_batch.runs.status import read_status

_NAMES_SHOWN = 20


def pick_and_show(
    output: CommandOutput, run_dir: Path, names: Sequence[str], *, remove: bool, file: str | None
) -> None:
    """Add names to the picks of a run, or ``remove`` them, and show each changed file.

    ``file`` chooses the picks file if the manifest has several. Raises as ``pick`` and
    ``read_status``.
    """
    changed = pick(run_dir, names, remove=remove, file=file)
    status = read_status(run_dir)
    next_command = run_again(status)
    output.data = {
        "run_dir": str(run_dir),
        "running": status.running,
        "picks": [_as_json(picks_file) for picks_file in changed],
        "next": next_command,
    }
    if output.quiet:
        return
    for picks_file in changed:
        _show(output, picks_file)
    if status.running:
        fact(
            output.out,
            "note",
            "a run is active and has read its picks; the change takes effect in the next run",
        )
    fact(output.out, "next", (next_command, "command"))


def _show(output: CommandOutput, found: PicksFile) -> None:
    stages = ", ".join(clean(name, 80) for name in found.stages)
    changed = [
        f"{len(names)} {word}"
        for word, names in (("added", found.added), ("removed", found.removed))
        if names
    ]
    say(
        output.out,
        ("✓ ", "good"),
        f"{clean_path(found.path)}: {', '.join([f'{len(found.picks)} picked', *changed])}",
    )
    fact(output.out, "stage", stages)
    if found.picks:
        fact(output.out, "picks", listed([clean(name, 130) for name in found.picks], _NAMES_SHOWN))


def _as_json(found: PicksFile) -> Json:
    return {
        "file": str(found.path),
        "stages": list(found.stages),
        "picks": list(found.picks),
        "added": list(found.added),
        "removed": list(found.removed),
    }
