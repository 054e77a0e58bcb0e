"""``plan --probe``: the purchases before a plan is divided, shown as a run is."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from crucible_batch.api import ProbeResult, RunRequest, probe
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.command_line import again
from crucible_batch.cli.options import DisplayMode
from crucible_batch.cli.run_session import FinishedRun, showing, tell_ending
from crucible_batch.errors import ExitCode
from crucible_batch.settings import Settings


def probe_and_tell(
    answer: CommandOutput, request: RunRequest, settings: Settings, save_to: Path | None, *, force: bool
) -> bool:
    """Probe with the progress of a run, and return whether the plan may be divided. Otherwise shows why it can't be."""
    probed = asyncio.run(_probed(answer, request, settings, save_to, force=force))
    if probed is None:
        return True
    result, ran = probed
    if result.may_divide:
        return True
    # After refused jobs the same command would only try the next ones.
    command = None if result.run.exit_code is ExitCode.SOME_FAILED else again()
    tell_ending(answer, ran, request.job_filter, command=command)
    return False


async def _probed(
    answer: CommandOutput, request: RunRequest, settings: Settings, save_to: Path | None, *, force: bool
) -> tuple[ProbeResult, FinishedRun] | None:
    began = time.monotonic()
    with showing(answer, request, DisplayMode.AUTO) as shown:
        result = await probe(
            request, save_to, force=force, handle_signals=True, observer=shown.observer, settings=settings
        )
    if result is None:
        return None
    return result, FinishedRun(result.run, time.monotonic() - began, shown.beginning.found)
