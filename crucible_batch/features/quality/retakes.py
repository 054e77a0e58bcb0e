"""Buys what a check has rejected again, before a command ends: a night has no other morning.

Each time is a run of its own, as if the command had been given again: within the same budget, until
it rejects nothing more. A job has at most ``redo.max`` further generations; one whose last is
rejected is blocked by the run after it. The run id and the scheduled time are those of the first
one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic
from typing import Any

from crucible_batch.errors import ExitCode
from crucible_batch.features.quality.note import noted_written
from crucible_batch.journal import Journal
from crucible_batch.manifest import Manifest
from crucible_batch.runs.draft import read_source, with_pace_of
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.run_journal import local_directory, newest_run
from crucible_batch.runs.running import RunResult
from crucible_batch.scheduled_time import parse_time

logger = logging.getLogger(__name__)

_Run = Callable[..., Awaitable[RunResult]]
_GOES_ON = frozenset({ExitCode.OK, ExitCode.SOME_FAILED})


async def run_with_retakes(
    run: _Run, request: RunRequest, *given: Any, manifest: Manifest | None = None, **named: Any
) -> RunResult:
    """Run a request, and again while checks have rejected outputs. Raises as ``run`` does.

    Not without a budget, which would have to be agreed to each time, nor if the run was stopped or
    lacks credits: then the next run buys them. A run that follows a saved plan buys what that has.
    """
    began = monotonic()
    result = await run(request, *given, manifest=manifest, **named)
    if not _rejected(result):
        return result
    source = manifest or read_source(request)
    deadline_s = with_pace_of(source, request).deadline_s
    scheduled_at = result.report.scheduled_at
    request = replace(
        request,
        run_id=result.report.run_id,
        scheduled_at=request.scheduled_at if scheduled_at is None else parse_time(scheduled_at),
    )
    while count := _rejected(result):
        if deadline_s is not None:
            left_s = deadline_s - (monotonic() - began)
            if left_s <= 0:
                break
            request = replace(request, deadline_s=left_s)
        plural = "" if count == 1 else "s"
        logger.warning("%d output%s rejected by checks: running again", count, plural)
        result = await run(request, *given, manifest=manifest, **named)
    return result


def _rejected(result: RunResult) -> int:
    """Return how many outputs the run has rejected that another run may buy again now."""
    if result.exit_code not in _GOES_ON or result.report.credits.budget is None:
        return 0
    with Journal.read(local_directory(result.run_dir)) as journal:
        if newest_run(journal).terms.plan_digest is not None:
            return 0
        return noted_written(journal)
