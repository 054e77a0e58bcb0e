"""``plan --probe``: the purchases before a plan is divided, with the progress of a run."""

from __future__ import annotations

import asyncio
from pathlib import Path

from crucible_batch.cli.command_line import again
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.options import DisplayMode
from crucible_batch.errors import ExitCode
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings


def prepared(
    output: CommandOutput,
    request: RunRequest,
    settings: Settings,
    save_to: Path | None,
    *,
    force: bool,
) -> bool:
    """Probe if that is asked for, and return whether there can be a plan.

    Otherwise shows why there is none.
    """
    if not request.of(DivisionOptions).probe:
        return True
    # For probes only, so that a plan starts fast.
    from crucible_batch.cli.ending import show_run_ending  # noqa: PLC0415 - see above
    from crucible_batch.cli.run_session import showing  # noqa: PLC0415 - see above
    from crucible_batch.features.shards.probing import probe  # noqa: PLC0415 - see above

    with showing(output, request, DisplayMode.AUTO) as shown:
        found = asyncio.run(
            probe(
                request,
                save_to,
                force=force,
                handle_signals=True,
                observer=shown,
                settings=settings,
            )
        )
    if found is None or found.may_divide:
        return True
    command = None  # after refused jobs the same command would only try the next ones
    if found.run.exit_code is not ExitCode.SOME_FAILED:
        command = again()
    show_run_ending(output, shown.finished(found.run), request.job_filter, command=command)
    return False
