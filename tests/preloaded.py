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
import hashlib
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import DEVNULL, PIPE
from types import SimpleNamespace
from typing import IO, Any, TypeAlias

import typer.main
from PIL import Image
from pydantic import BaseModel

from crucible_batch.api import account, price_memory
from crucible_batch.cli import app
from crucible_batch.domain.control import ControlEntry
from crucible_batch.domain.events import EVENT_NAMES
from crucible_batch.domain.outcome import Ending
from crucible_batch.domain.plan import PlannedJob, RunTerms
from crucible_batch.engine import job_worker, late_outputs, runner
from crucible_batch.journal import codec
from crucible_batch.report.html import page
from crucible_batch.sandbox import SandboxConfig, pictures
from tests.cheap import plain_picture

COMMAND = str(Path(sys.executable).with_name("crucible-batch"))
_ROOT = Path(__file__).parents[1]
_FREE = frozenset({"MOLTAZINE_API_KEY", "CRUCIBLE_API_BASE", "COLUMNS", "PYTEST_CURRENT_TEST", "XDG_STATE_HOME"})
_OURS = "CRUCIBLE_BATCH_"
"""Variables that are read when a command runs. Any other may be read when a module is loaded."""
_SERVE = "import sys; from tests.preloaded import serve; serve(int(sys.argv[1]))"
_REQUEST_BYTES = 1 << 17
_LOOK_AGAIN_AFTER_S = 0.1
_NUMBER_BYTES = 32

Stream: TypeAlias = "int | IO[str]"
"""``PIPE``, ``DEVNULL``, or a file."""


def run_command(
    args: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run ``crucible-batch`` with ``args`` to its end; raises ``subprocess.TimeoutExpired`` as ``subprocess.run``."""
    process = start_command(args, cwd=cwd, env=env)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess([COMMAND, *args], process.returncode, out, err)


def start_command(
    args: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: Stream = PIPE, stderr: Stream = PIPE
) -> Process:
    """Start ``crucible-batch`` with ``args`` and leave it running.

    The installed command is started where another variable differs than those that may differ from test to test.
    """
    words = [COMMAND, *args]
    fixed = {name: value for name, value in env.items() if name not in _FREE and not name.startswith(_OURS)}
    server = _server(os.getpid())
    if server.env is None:
        server.start(fixed)
    if server.env == fixed:
        return server.start_command(words, cwd, env, stdout, stderr)
    return subprocess.Popen(words, cwd=cwd, env=env, stdin=DEVNULL, stdout=stdout, stderr=stderr, text=True)


class Forked:
    """A command that was forked, with that part of ``subprocess.Popen`` which the tests use."""

    def __init__(self, words: Sequence[str], reply: socket.socket, out: int | None, err: int | None) -> None:
        self.stdout, self.stderr = (None if one is None else os.fdopen(one, encoding="utf-8") for one in (out, err))
        self.returncode: int | None = None
        self._words = words
        self._reply = reply
        self.pid = int(reply.recv(_NUMBER_BYTES))

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._reply.settimeout(timeout)
            try:
                self.returncode = int(self._reply.recv(_NUMBER_BYTES))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self._words, timeout or 0) from None
            self._reply.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return what was not read yet. It ends the command if the time is over."""
        with ThreadPoolExecutor(2) as threads:
            texts = [threads.submit(_read, stream) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        out, err = (text.result() for text in texts)
        return out, err


Process: TypeAlias = "Forked | subprocess.Popen[str]"


def _read(stream: IO[str] | None) -> str:
    if stream is None or stream.closed:
        return ""
    with stream:
        return stream.read()


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

    def start_command(
        self, words: list[str], cwd: Path, env: Mapping[str, str], stdout: Stream, stderr: Stream
    ) -> Forked:
        request = json.dumps({"words": words, "cwd": str(cwd), "env": dict(env)}).encode()
        reply, their_reply = socket.socketpair()
        with contextlib.ExitStack() as theirs:
            theirs.enter_context(their_reply)
            (out, their_out), (err, their_err) = (_stream(stream, theirs) for stream in (stdout, stderr))
            sent = array.array("i", [their_out, their_err, their_reply.fileno()])
            self._control.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])
        return Forked(words, reply, out, err)


def _stream(stream: Stream, theirs: contextlib.ExitStack) -> tuple[int | None, int]:
    """Return our end of a command's stream, if we have one, and its own, which is closed with ``theirs``."""
    if not isinstance(stream, int):
        return None, stream.fileno()
    ours, its = os.pipe() if stream == PIPE else (None, os.open(os.devnull, os.O_WRONLY))
    theirs.callback(os.close, its)
    return ours, its


@functools.cache
def _server(_pid: int) -> _Server:
    """Return the server of this process: one that was forked has none yet."""
    return _Server()


def serve(number: int) -> None:
    """Load the program, and run it in a fork for each request on the socket ``number``, until that is closed."""
    _load()
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(waker.fileno())
    replies: dict[int, socket.socket] = {}
    with socket.socket(fileno=number) as control, woken, waker:
        while True:
            ready, _, _ = select.select([control, woken], [], [])
            if woken in ready:
                woken.recv(_NUMBER_BYTES)
                _tell_ends(replies)
                continue
            request, descriptors, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 3)
            if not request:
                return
            if (pid := os.fork()) == 0:
                break
            out, err, reply = descriptors
            os.close(out)
            os.close(err)
            replies[pid] = socket.socket(fileno=reply)
            replies[pid].send(f"{pid:{_NUMBER_BYTES}}".encode())
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for other in replies.values():
        other.close()
    out, err, reply = descriptors
    os.dup2(out, 1)
    os.dup2(err, 2)
    for descriptor in descriptors:
        os.close(descriptor)
    _become(json.loads(request))


def _load() -> None:
    """Load all that commands load, and prepare what each of them would prepare again."""
    package = importlib.import_module("crucible_batch")
    for module in pkgutil.walk_packages(package.__path__, "crucible_batch."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for module in (late_outputs, runner, job_worker):
        module.LOOK_AGAIN_AFTER_S = _LOOK_AGAIN_AFTER_S  # two seconds of each run; the engine's tests are about them
    pictures.render = plain_picture
    _derive_once()
    _prepare_command_line()
    for kind in (PlannedJob, RunTerms, Ending, ControlEntry, *EVENT_NAMES.values()):
        codec._adapter(kind)
    for template in ("page.html.j2", "charts.html.j2"):
        page._environment().get_template(template)
    for model in _models_below(BaseModel):
        model.model_rebuild()
    Image.init()
    gc.collect()
    gc.freeze()


def _derive_once() -> None:
    """Have the fingerprint of the sandbox's key ready, which takes 50 ms. The installed command knows it as well."""
    hashlib.pbkdf2_hmac = functools.cache(hashlib.pbkdf2_hmac)
    account.secrets = SimpleNamespace(token_bytes=bytes)  # the same salt each time
    account._fingerprint(next(iter(SandboxConfig().accounts)))
    price_memory._ROUNDS = 1


def _prepare_command_line() -> None:
    """Build the tree of commands, and let each prepare its parameters, which it does when it parses arguments."""
    tree = typer.main.get_command(app.app)
    typer.main.get_command = lambda _app: tree
    _prepare("crucible-batch", tree, None)


def _prepare(name: str, command: Any, parent: Any) -> None:
    """Parse no arguments, within the context of the group, whose settings the command keeps as well."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    for its_name, its_command in getattr(command, "commands", {}).items():
        _prepare(its_name, its_command, context)


def _models_below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in model.__subclasses__():
        if one.__module__.startswith("crucible_batch."):
            yield one
        yield from _models_below(one)


def _tell_ends(replies: dict[int, socket.socket]) -> None:
    """Collect the commands that have ended, and send each its exit code."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with replies.pop(pid) as reply, contextlib.suppress(BrokenPipeError):
                reply.send(f"{os.waitstatus_to_exitcode(status):{_NUMBER_BYTES}}".encode())


def _become(request: dict[str, Any]) -> None:
    """Run the command as its own script does. What it raises ends the process as any other."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["words"]
    sys.path.remove("")  # of `python -c`: the directory that the command runs in
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from crucible_batch.cli import main

    code = 0
    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        code = ended.code
    _exit(code)


def _exit(code: int) -> None:
    """Exit as the interpreter does, but don't destroy its objects: in a fork, that takes longer than the command."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)
    sys.exit(code)
