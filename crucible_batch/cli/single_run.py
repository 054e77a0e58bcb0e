"""The run of the command ``run``, if no feature makes more of it."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace

from crucible_batch.cli.command_line import again
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.options import DisplayMode
from crucible_batch.errors import CrucibleBatchError, UserError
from crucible_batch.manifest import depends_on_time
from crucible_batch.runs.cancellation import Deadline
from crucible_batch.runs.draft import read_source, run_terms
from crucible_batch.runs.failed_starts import record_failed_start
from crucible_batch.runs.request import RunRequest, check_request, follow_plan
from crucible_batch.settings import Settings


def run_once(
    output: CommandOutput, request: RunRequest, settings: Settings, display: DisplayMode
) -> None:
    """Run a request, and show how it ended."""
    # Not needed if the manifest is invalid.
    from crucible_batch.cli.run_session import run_and_show  # noqa: PLC0415

    output.subject = str(request.manifest)
    check_request(request)
    deadline, command = Deadline(request.deadline_s), again()
    request = follow_plan(request, os.environ)
    try:
        manifest = read_source(request, deadline.check)
    except CrucibleBatchError as error:
        record_failed_start(request, error, time.time())
        raise
    with contextlib.suppress(UserError):  # the run raises it again, and notifies it
        output.subject = f"{manifest.name}/{run_terms(manifest, request).run_id}"
    at = manifest.scheduled_at
    if (
        at is not None
        and request.scheduled_at is None
        and depends_on_time(manifest, request.run_id)
    ):
        # The same command would begin another run once the time of this one has passed.
        command = again("--scheduled-at", at.isoformat().replace("+00:00", "Z"))
    deadline.check()
    request = replace(request, deadline_s=deadline.left_s)
    run_and_show(output, request, settings, display, manifest=manifest, command=command)
