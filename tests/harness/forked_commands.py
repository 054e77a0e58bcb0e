"""The command as a child process that needs no half second to load: forked from a server that has
loaded the program.

What is forked is a process like any other, with its own arguments, environment, directory, streams
and exit code; only the imports are done (``fork_server.py``). Tests of the start itself and of
signals start the installed command.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import fcntl
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Any, TypeAlias

COMMAND = str(Path(sys.executable).with_name("crucible-batch"))
shared_directory: Path | None = None
"""Where the workers of pytest-xdist find the server that one of them has started (``conftest.py``).
"""
_ROOT = Path(__file__).parents[2]
_SERVE = "import sys; from tests.harness.fork_server import serve; serve(int(sys.argv[1]))"
_SCRIPT = """\
#!{python} -IS
import array, json, os, signal, socket, sys
control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try:
    control.connect({address!r})
except OSError:  # the worker that started the server has ended before this one
    os.execv({command!r}, [{command!r}, *sys.argv[1:]])
control.recv(1 << 17)
how = dict(
    words=sys.argv, cwd=os.getcwd(), env=dict(os.environ), closed="", is_leader=False, program=""
)
reply, theirs = socket.socketpair()
sent = array.array("i", [0, 1, 2, theirs.fileno()])
control.sendmsg([json.dumps(how).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])
theirs.close()
pid = int(reply.recv(32))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _frame: os.kill(pid, number))
for stream in (0, 1, 2):
    os.close(stream)
code = int(reply.recv(32))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""
_GREETING_BYTES = 1 << 17
_NUMBER_BYTES = 32

Stream: TypeAlias = "int | IO[str]"
"""``PIPE``, ``DEVNULL``, a descriptor, or a file."""


def run_command(
    args: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run ``crucible-batch`` with ``args`` to its end; raises ``subprocess.TimeoutExpired`` as
    ``subprocess.run``."""
    process = start_command(args, cwd=cwd, env=env)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess([COMMAND, *args], process.returncode, out, err)


def start_command(
    args: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: Stream = DEVNULL,
    stdout: Stream = PIPE,
    stderr: Stream = PIPE,
    closed: str = "",
    start_new_session: bool = False,
) -> Process:
    """Start ``crucible-batch`` with ``args`` and leave it running. ``closed``: the numbers of
    streams to close first.

    The installed command is started where a variable differs that was read when the modules were
    loaded.
    """
    words = [COMMAND, *args]
    server = _server(os.getpid())
    server.start()
    if server.would_load_the_same(env):
        return server.start_command(
            words, cwd, env, (stdin, stdout, stderr), closed, start_new_session
        )
    return start_installed(
        args,
        cwd=cwd,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        closed=closed,
        start_new_session=start_new_session,
    )


def start_program(
    program: str,
    *args: str,
    cwd: Path,
    env: Mapping[str, str] = os.environ,
    stdout: Stream = DEVNULL,
    stderr: Stream = 2,
) -> Forked:
    """Start a program of a test, as ``python -c PROGRAM ARGS`` would.

    It finds the command's modules loaded.
    """
    server = _server(os.getpid())
    server.start()
    return server.start_command(
        ["-c", *args], cwd, env, (DEVNULL, stdout, stderr), "", False, program
    )


def run_module(name: str, *args: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a module of the tests to its end, as ``python -m NAME ARGS`` would in the directory of
    the project."""
    program = (
        f"import runpy, sys; sys.path.insert(0, {str(_ROOT)!r}); "
        f"runpy.run_module({name!r}, run_name='__main__')"
    )
    process = start_program(program, *args, cwd=_ROOT, stdout=PIPE, stderr=PIPE)
    out, err = process.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess([name, *args], process.returncode or 0, out, err)


def start_installed(
    args: Sequence[str], *, cwd: Path, closed: str = "", **options: Any
) -> subprocess.Popen[str]:
    """Start the installed command with the options of ``subprocess.Popen``, by default as
    ``start_command`` does."""
    words = [COMMAND, *args]
    if closed:
        words = [
            "sh",
            "-c",
            f'exec "$@" {" ".join(f"{number}>&-" for number in closed)}',
            "sh",
            *words,
        ]
    return subprocess.Popen(
        words, cwd=cwd, text=True, **{"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE, **options}
    )


def forking_script(directory: Path) -> str:
    """Write a script ``crucible-batch`` into ``directory``, for other programs to start, and return
    its path.

    It runs the command in a fork, and must be started in an environment in which the same would be
    loaded.
    """
    server = _server(os.getpid())
    server.start()
    path = directory / "crucible-batch"
    path.write_text(
        _SCRIPT.format(python=sys.executable, address=server.address, command=COMMAND),
        encoding="utf-8",
    )
    path.chmod(0o755)
    return str(path)


class Forked:
    """A command that was forked, with that part of ``subprocess.Popen`` which the tests use."""

    def __init__(
        self, words: Sequence[str], reply: socket.socket, ours: Sequence[int | None]
    ) -> None:
        self.stdin, self.stdout, self.stderr = (
            None if one is None else os.fdopen(one, mode, encoding="utf-8")
            for one, mode in zip(ours, "wrr", strict=True)
        )
        self.returncode: int | None = None
        self._words = words
        self._reply = reply
        self._waiting = threading.Lock()  # two threads may wait
        self.pid = int(reply.recv(_NUMBER_BYTES))

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._waiting.acquire(timeout=-1 if timeout is None else timeout):
            raise subprocess.TimeoutExpired(self._words, timeout or 0)
        try:
            if self.returncode is None:
                self._reply.settimeout(timeout)
                self.returncode = int(self._reply.recv(_NUMBER_BYTES))
                self._reply.close()
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired(self._words, timeout or 0) from None
        finally:
            self._waiting.release()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Close stdin, and return what was not read yet.

        It ends the command if the time is over.
        """
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.close()
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
    """A child that forks commands, seen from the tests."""

    _process: subprocess.Popen[bytes] | None = None
    _control: socket.socket | None = None
    address = ""

    def __init__(self) -> None:
        self._own = contextlib.ExitStack()

    def start(self) -> None:
        """Connect to the server that all workers of the tests share, and wait until it has loaded
        the program.

        The first one that needs it starts it, in the environment of the tests, and ends it. To load
        takes 2 s of CPU.
        """
        if self._control is not None:
            return
        atexit.register(self.close)
        while not (greeting := self._greeting()):
            assert self._process is None, "the server has ended before it has loaded the program"
        loaded = json.loads(greeting)
        self._names_read = frozenset(loaded["names_read"])
        self._loaded_with = self._read_at_load(loaded["env"])

    def _greeting(self) -> bytes:
        """Connect, and return what the server sends first; nothing if it has ended with the worker
        that started it."""
        with contextlib.suppress(ConnectionResetError):
            return self._connect().recv(_GREETING_BYTES)
        return b""

    def _connect(self) -> socket.socket:
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with _lock(shared_directory):
            directory = shared_directory or self._own.enter_context(
                tempfile.TemporaryDirectory(prefix="forks-")
            )
            self.address = str(Path(directory) / "server")
            try:
                self._control.connect(self.address)
            except (
                FileNotFoundError,
                ConnectionRefusedError,
            ):  # none was started, or it has ended with who started it
                self._process = _listening(self.address)
                self._control.connect(self.address)
        return self._control

    def would_load_the_same(self, env: Mapping[str, str]) -> bool:
        """Return whether all variables are as in the server's environment that were read when it
        loaded the program."""
        return self._read_at_load(env) == self._loaded_with

    def _read_at_load(self, env: Mapping[str, str]) -> dict[str, str]:
        return {
            name: value
            for name, value in env.items()
            if name in self._names_read or _is_read_below(name)
        }

    def close(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.communicate(timeout=120)
        self._own.close()

    def start_command(
        self,
        words: list[str],
        cwd: Path,
        env: Mapping[str, str],
        streams: tuple[Stream, Stream, Stream],
        closed: str,
        is_leader: bool,
        program: str = "",
    ) -> Forked:
        how = {
            "words": words,
            "cwd": str(cwd),
            "env": dict(env),
            "closed": closed,
            "is_leader": is_leader,
        }
        request = json.dumps({**how, "program": program}).encode()
        reply, their_reply = socket.socketpair()
        with contextlib.ExitStack() as theirs:
            theirs.enter_context(their_reply)
            ours, its = zip(
                *(_stream(stream, number == 0, theirs) for number, stream in enumerate(streams)),
                strict=True,
            )
            sent = array.array("i", [*its, their_reply.fileno()])
            assert self._control is not None
            self._control.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])
        return Forked(words, reply, ours)


@contextlib.contextmanager
def _lock(shared: Path | None) -> Iterator[None]:
    """Let one worker at a time look for the server, and start it."""
    if shared is None:
        yield
        return
    with (shared / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _listening(address: str) -> subprocess.Popen[bytes]:
    """Start a server that listens at ``address``, and ends when its stdin is closed."""
    Path(address).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        number = listener.fileno()
        return subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(number)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            pass_fds=[number],
        )


def _is_read_below(name: str) -> bool:
    """Return whether the interpreter or a C library may read a variable at the start, which the
    server can't notice."""
    if name in {
        "PYTHONUNBUFFERED",
        "PYTHONDONTWRITEBYTECODE",
    }:  # the first is seen to, nothing is loaded later
        return False
    return name.startswith(("PYTHON", "LC_", "LD_", "LANG", "MALLOC_", "GLIBC_", "OPENSSL_", "TZ"))


def _stream(stream: Stream, is_input: bool, theirs: contextlib.ExitStack) -> tuple[int | None, int]:
    """Return our end of a command's stream, if we have one, and its own, which ``theirs`` closes if
    we opened it."""
    if not isinstance(stream, int):
        return None, stream.fileno()
    if stream not in {PIPE, DEVNULL}:
        return None, stream
    ours, its = (None, os.open(os.devnull, os.O_RDWR)) if stream == DEVNULL else _pipe(is_input)
    theirs.callback(os.close, its)
    return ours, its


def _pipe(is_input: bool) -> tuple[int, int]:
    reading, writing = os.pipe()
    return (writing, reading) if is_input else (reading, writing)


@functools.cache
def _server(_pid: int) -> _Server:
    """Return the server of this process: one that was forked has none yet."""
    return _Server()
