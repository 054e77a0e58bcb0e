"""``run --cluster``: the coordinator, its progress, and the end of the run as that of any run."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Coroutine

from crucible_batch.api import ClusterAddress, RunRequest, RunResult
from crucible_batch.api.cancellation import cancel_for
from crucible_batch.api.cluster.run import run_on_cluster
from crucible_batch.cli.command_line import again
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.ending import show_run_ending
from crucible_batch.cli.options import FROM_ENVIRONMENT, DisplayMode
from crucible_batch.cli.run_options import ScheduleOptions
from crucible_batch.cli.run_session import showing
from crucible_batch.cli.terminal import fact, say_sentence
from crucible_batch.errors import ExitCode, UserError
from crucible_batch.settings import Settings

_EXIT_CODES = {int(signal.SIGINT): ExitCode.SIGINT, int(signal.SIGTERM): ExitCode.SIGTERM}


def run_on_cluster_and_show(
    output: CommandOutput,
    request: RunRequest,
    settings: Settings,
    cluster: str,
    given: str | None,
    *,
    schedule: ScheduleOptions,
    display: DisplayMode,
) -> None:
    """Run on the cluster at the address ``given``, which is that of ``cluster``, the option as it was written."""
    refuse_unsupported(request, schedule)
    address = ClusterAddress.resolve(given, os.environ)
    stopped: list[int] = []
    command = _next(cluster)
    with showing(output, request, display) as shown:
        run = run_on_cluster(request, address, settings=settings, observer=shown)
        result = asyncio.run(_until_signal(run, stopped))
    if result is not None:
        show_run_ending(output, shown.finished(result), request.job_filter, command=command)
        return
    code = _EXIT_CODES[stopped[0]]
    message = "the coordinator has stopped; workers finish the shards that are queued"
    output.blame("INTERRUPTED", message, command, exit_code=code)
    output.is_failure_shown = True
    if not output.quiet:
        say_sentence(output.err, (message, "warn"))
        fact(output.err, "next", (command, "command"))


async def _until_signal(run: Coroutine[None, None, RunResult], stopped: list[int]) -> RunResult | None:
    """Return the result of a run; None if a signal ended it, which is added to ``stopped``."""
    task = asyncio.ensure_future(run)

    def cancel(number: int) -> None:
        stopped.append(number)
        cancel_for(task, _EXIT_CODES[number])

    for number in _EXIT_CODES:
        asyncio.get_running_loop().add_signal_handler(number, cancel, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        return None


def _next(cluster: str) -> str:
    """Return the current command, without an address that has a password."""
    command = again()
    is_secret = "password" in cluster or "@" in cluster
    return command.replace(shlex.quote(cluster), FROM_ENVIRONMENT) if is_secret else command


def refuse_unsupported(request: RunRequest, schedule: ScheduleOptions) -> None:
    """Raise ``UserError`` for options that a run on a cluster doesn't have."""
    if request.recover:
        raise UserError(
            "--recover and --cluster can't be used together: it finds out on one machine what the gateway remembers",
            hint="run the same command with --recover instead of --cluster first; then run it with --cluster for the"
            " jobs that are left",
        )
    default = RunRequest(request.manifest)
    given = {
        "--shard": request.shard is not None,
        "--concurrency": request.concurrency is not None,
        "--polls-per-second": request.polls_per_s is not None,
        "--metrics-listen": request.metrics_listen is not None,
        "--traces": request.traces is True,
        "--resubmit-unknown": request.resubmit_unknown,
        "--forget-refunds": request.forget_refunds,
        "--no-sidecars": not request.sidecars,
        "--max-output-size": request.max_output_bytes is not None,
        "--max-pixels": request.max_pixels is not None,
        "--job-timeout": request.job_timeout_s != default.job_timeout_s,
        "--key-ttl": request.key_ttl_s != default.key_ttl_s,
        "--catch-up": schedule.catch_up is not None,
        "--if-running": schedule.if_running is not None,
    }
    if named := [name for name, is_given in given.items() if is_given]:
        raise UserError(
            f"{named[0]} and --cluster can't be used together", hint=f"omit {named[0]}, or run without --cluster"
        )
