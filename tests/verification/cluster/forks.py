"""Processes for tests that are forked from one that has loaded the program: it takes a second of each to load it.

``command`` is ``crucible-batch`` as it is installed, except that it can have short leases and pauses.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from crucible_batch.api.cluster.coordinator import CoordinatorPace
from crucible_batch.api.cluster.run import run_on_cluster
from crucible_batch.api.cluster.worker import WorkerPace, run_worker
from tests.preloaded import COMMAND

_LOOK_AGAIN_AFTER_S = 0.1
_POLL_S = _RESCUE_S = 0.2

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [f"crucible_batch.cli.{name}" for name in ("app", "cluster", "cluster_run", "cluster_worker", "sandbox")]
)


class Fork:
    """A process that calls a function, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, target: Callable[..., None], *arguments: object, err: Path, out: Path | None = None) -> None:
        for path in (err, out):
            if path is not None:
                path.touch()
        self._process = _FORKS.Process(target=_call, args=(target, arguments, err, out))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code; None if it is running."""
        return self._process.exitcode

    def wait(self) -> int:
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _call(target: Callable[..., None], arguments: Sequence[object], err: Path, out: Path | None) -> None:
    for path, number in ((out, 1), (err, 2)):
        if path is not None:
            with path.open("ab") as file:
                os.dup2(file.fileno(), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    target(*arguments)


def run_command(*words: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one of our commands to its end. ``cwd`` gets files with its output."""
    out, err = cwd / "out", cwd / "err"
    for path in (out, err):
        path.unlink(missing_ok=True)
    code = Fork(command, words, cwd, env, err=err, out=out).wait()
    return subprocess.CompletedProcess(words, code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


def command(words: Sequence[str], cwd: Path, env: Mapping[str, str], lease_s: float | None = None) -> None:
    """Run a command in this process, as its own script does. ``lease_s``: with leases of so many seconds."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [COMMAND, *words]

    from crucible_batch.cli import cluster_run, cluster_worker, main
    from crucible_batch.engine import job_worker, late_outputs, runner

    if lease_s is not None:
        pace = WorkerPace(lease_s=lease_s, renew_s=lease_s / 8, rescue_s=_RESCUE_S)
        cluster_worker.run_worker = partial(run_worker, pace=pace)
        cluster_run.run_on_cluster = partial(run_on_cluster, pace=CoordinatorPace(poll_s=_POLL_S, lease_s=lease_s))
        for module in (late_outputs, runner, job_worker):
            module.LOOK_AGAIN_AFTER_S = _LOOK_AGAIN_AFTER_S
    main()
