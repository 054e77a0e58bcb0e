"""The ``ctl`` command: gives a command to a run that is active, and shows its answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from crucible_batch.api import (
    DSN_VARIABLE,
    ControlAnswer,
    clean,
    control,
    is_run_of_cluster,
    local_directory,
)
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.options import given_address
from crucible_batch.cli.terminal import Json, say


def control_and_show(output: CommandOutput, run: Path, words: Sequence[str], cluster: str | None) -> None:
    """Give a command to a run, of ``cluster`` if that is given. Raises as ``control`` or ``control_cluster_run``."""
    where: dict[str, Json] = {}
    taken: ControlAnswer
    if cluster is not None or (os.environ.get(DSN_VARIABLE) and _is_elsewhere(run)):
        address = given_address(cluster)
        from crucible_batch.api import control_cluster_run  # noqa: PLC0415 - needs an extra

        taken = asyncio.run(control_cluster_run(str(run), words, address))
    else:
        directory = local_directory(run)
        where["run_dir"] = str(directory)
        taken = control(directory, words)
    output.data = {**where, "message": taken.message, **taken.data}
    if not output.quiet:
        say(output.out, ("✓ ", "good"), clean(taken.message, 1000))


def _is_elsewhere(run: Path) -> bool:
    """Whether the run is not one that is active on this machine alone: it may be one of a cluster."""
    directory = local_directory(run)
    return not directory.exists() or is_run_of_cluster(directory)
