"""``run --cluster``: the coordinator, its progress, and the end of the run as that of any run."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from dataclasses import dataclass

from crucible_batch.api import ClusterAddress, RunRequest, RunResult, clean, format_credits
from crucible_batch.api.cluster_run import WaveProgress, run_on_cluster
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.cluster_options import FROM_ENVIRONMENT, given_address
from crucible_batch.cli.command_line import again
from crucible_batch.cli.options import ScheduleOptions
from crucible_batch.cli.run_session import FinishedRun, tell_ending
from crucible_batch.cli.startup import share_one_heap
from crucible_batch.cli.terminal import fact, say, tell
from crucible_batch.errors import ExitCode, UserError
from crucible_batch.settings import Settings


def run_on_cluster_and_tell(
    answer: CommandOutput, request: RunRequest, settings: Settings, cluster: str, schedule: ScheduleOptions
) -> None:
    """Run on a cluster's workers, show the progress, and show how the run ended."""
    refuse_unsupported(request, schedule)
    address = ClusterAddress.resolve(given_address(cluster), os.environ)
    share_one_heap()
    began = time.monotonic()
    stopped: list[int] = []
    result = asyncio.run(_followed(answer, request, settings, address, stopped))
    command = _next(cluster)
    if result is not None:
        ran = FinishedRun(result, time.monotonic() - began, None)
        tell_ending(answer, ran, request.job_filter, command=command)
        return
    code = ExitCode.SIGINT if stopped[0] == signal.SIGINT else ExitCode.SIGTERM
    message = "the coordinator has stopped; workers finish the shards that are queued"
    answer.blame("INTERRUPTED", message, command, exit_code=code)
    answer.is_told = True
    if not answer.quiet:
        tell(answer.err, (message, "warn"))
        fact(answer.err, "next", (command, "command"))


async def _followed(
    answer: CommandOutput, request: RunRequest, settings: Settings, address: ClusterAddress, stopped: list[int]
) -> RunResult | None:
    """Run, and return the result; None if a signal ended it, which is added to ``stopped``."""
    show = ClusterProgress(answer).show
    task = asyncio.ensure_future(run_on_cluster(request, address, settings=settings, on_progress=show))

    def cancel(number: int) -> None:
        stopped.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, cancel, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        return None


@dataclass(slots=True)
class ClusterProgress:
    """Shows the progress of all workers, whenever it has changed."""

    answer: CommandOutput
    _shown: WaveProgress | None = None

    def show(self, found: WaveProgress) -> None:
        if found == self._shown:
            return
        self._shown = found
        figures = found.figures
        self.answer.event(
            "wave",
            wave=found.wave,
            shards=found.shards,
            running=found.running,
            ended=found.ended,
            workers=found.workers,
            succeeded=figures.succeeded,
            failed=figures.failed,
            spent=format_credits(figures.spent),
            paused_by=None if found.paused is None else clean(found.paused.by, 300),
        )
        if not self.answer.quiet:
            say(self.answer.err, ("cluster  ", "label"), _described(found))


def _described(found: WaveProgress) -> str:
    figures = found.figures
    failed = f", {figures.failed} failed" if figures.failed else ""
    paused = "" if found.paused is None else f" · paused by {clean(found.paused.by, 80)}: nothing new is bought"
    workers = "worker" if found.workers == 1 else "workers"
    return (
        f"wave {found.wave}: {found.ended} of {found.shards} shards ended, {found.running} running on {found.workers}"
        f" {workers} · {figures.succeeded} jobs succeeded{failed} · {format_credits(figures.spent)} credits spent"
        f"{paused}"
    )


def _next(cluster: str) -> str:
    """Return the current command, without an address that has a password."""
    command = again()
    is_secret = "password" in cluster or "@" in cluster
    return command.replace(shlex.quote(cluster), FROM_ENVIRONMENT) if is_secret else command


def refuse_unsupported(request: RunRequest, schedule: ScheduleOptions) -> None:
    """Raise ``UserError`` for options that a run on a cluster doesn't have."""
    default = RunRequest(request.manifest)
    given = {
        "--shard": request.shard is not None,
        "--deadline": request.deadline_s is not None,
        "--concurrency": request.concurrency is not None,
        "--polls-per-second": request.polls_per_s is not None,
        "--metrics-listen": request.metrics_listen is not None,
        "--traces": request.traces is True,
        "--recover": request.recover,
        "--resubmit-unknown": request.resubmit_unknown,
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
