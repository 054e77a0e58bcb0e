"""The command as a child process that needs no half second to load: forked from a server that has loaded the program.

What is forked is a process like any other, with its own arguments, environment, directory, streams and exit code; only
the imports are done. Tests of the start itself, of signals and of terminals start the installed command.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("crucible-batch"))
_ROOT = Path(__file__).parents[1]
_FREE = frozenset({"MOLTAZINE_API_KEY", "CRUCIBLE_API_BASE", "COLUMNS", "PYTEST_CURRENT_TEST", "XDG_STATE_HOME"})
"""Variables that are read when a command runs. Any other may be read when a module is loaded."""
_SERVE = "import sys; from tests.preloaded import serve; serve(int(sys.argv[1]))"
_REQUEST_BYTES = 1 << 17
_LOOK_AGAIN_AFTER_S = 0.1
_NUMBER_BYTES = 32


def run_command(
    args: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run ``crucible-batch`` with ``args`` to its end; raises ``subprocess.TimeoutExpired`` as ``subprocess.run``.

    The installed command is started where another variable differs than those that may differ from test to test.
    """
    words = [COMMAND, *args]
    fixed = {name: value for name, value in env.items() if name not in _FREE}
    server = _server(os.getpid())
    if server.env is None:
        server.start(fixed)
    if server.env == fixed:
        return server.run(words, cwd, env, timeout_s)
    return subprocess.run(
        words,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class _Server:
    """A child that forks commands, seen from the tests. ``env`` is the environment that it was started in."""

    env: Mapping[str, str] | None = None

    def start(self, env: Mapping[str, str]) -> None:
        self.env = env
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(number)],
                cwd=_ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                pass_fds=[number],
            )
        atexit.register(self.close)

    def close(self) -> None:
        self._control.close()
        self._process.wait(timeout=120)

    def run(
        self, words: list[str], cwd: Path, env: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        request = json.dumps({"words": words, "cwd": str(cwd), "env": dict(env)}).encode()
        (out, their_out), (err, their_err) = os.pipe(), os.pipe()
        reply, their_reply = socket.socketpair()
        sent = [their_out, their_err, their_reply.fileno()]
        self._control.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", sent))])
        os.close(their_out)
        os.close(their_err)
        their_reply.close()
        with reply, ThreadPoolExecutor(2) as threads:
            texts = [threads.submit(_read, descriptor) for descriptor in (out, err)]
            pid = int(reply.recv(_NUMBER_BYTES))
            reply.settimeout(timeout_s)
            try:
                code = int(reply.recv(_NUMBER_BYTES))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout_s) from None
            return subprocess.CompletedProcess(words, code, *(text.result() for text in texts))


@functools.cache
def _server(_pid: int) -> _Server:
    """Return the server of this process: one that was forked has none yet."""
    return _Server()


def _read(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8") as stream:
        return stream.read()


def serve(number: int) -> None:
    """Load the program, and run it in a fork for each request on the socket ``number``, until that is closed."""
    from crucible_batch.engine import job_worker, late_outputs, runner

    package = importlib.import_module("crucible_batch")
    for module in pkgutil.walk_packages(package.__path__, "crucible_batch."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for module in (late_outputs, runner, job_worker):
        module.LOOK_AGAIN_AFTER_S = _LOOK_AGAIN_AFTER_S  # two seconds of each run; the engine's tests are about them
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=number) as control:
        while True:
            request, descriptors, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 3)
            if not request:
                return
            if os.fork() == 0:
                break
            for descriptor in descriptors:
                os.close(descriptor)
            _reap()
    _fork_command(*descriptors)
    _become(json.loads(request))


def _reap() -> None:
    """Collect the forks that have ended, so that what they took counts for the tests that they were made for."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _fork_command(out: int, err: int, reply: int) -> None:
    """Fork, and return in the child with its streams in place; here, wait for it, and send its number and its code."""
    pid = os.fork()
    if pid == 0:
        os.close(reply)
        os.dup2(out, 1)
        os.dup2(err, 2)
    os.close(out)
    os.close(err)
    if pid == 0:
        return
    os.close(1)
    os.close(2)
    os.write(reply, f"{pid:{_NUMBER_BYTES}}".encode())
    os.write(reply, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):{_NUMBER_BYTES}}".encode())
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Run the command as its own script does. What it raises ends the process as any other."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["words"]
    sys.path.remove("")  # of `python -c`: the directory that the command runs in
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from crucible_batch.cli import main

    main()
