"""The other side of ``preloaded.py``: a process that has loaded the program, and forks a command for each request."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import select
import signal
import socket
import struct
import sys
import sysconfig
import threading
from collections.abc import Iterator
from typing import Any

_REQUEST_BYTES = 1 << 17
_NUMBER_BYTES = 32


def serve(number: int) -> None:
    """Load the program, and run it in a fork for each request of the workers that connect to the socket ``number``.

    To each it first sends the names of the environment variables that were read while the program was loaded. It ends
    when the last one has closed its connection.
    """
    sysconfig.get_config_vars()  # reads HOME, for what no command uses
    for copying in ("croniter", "wsgiref.handlers"):  # these copy all variables, and no command uses the copies
        importlib.import_module(copying)
    gc.disable()  # all that is made here stays: prepare() freezes it
    with _names_read() as names:
        program = importlib.import_module("tests.loaded_program")
        program.load()
        program.prepare()
    gc.enable()
    names = {name for name in names if not name.startswith("CRUCIBLE_BATCH_")}  # options, which commands read again
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(waker.fileno())
    with socket.socket(fileno=number) as listener, woken, waker:
        asked = _next_request(listener, woken, json.dumps(sorted(names)).encode())
    if asked is None:
        return
    request, (*streams, reply) = asked
    descriptors = [*streams, reply]
    for its_number, stream in enumerate(streams):
        os.dup2(stream, its_number)
    for descriptor in descriptors:
        os.close(descriptor)
    _become(json.loads(request))


def _next_request(listener: socket.socket, woken: socket.socket, names: bytes) -> tuple[bytes, list[int]] | None:
    """Return in each fork the request that it is for and its descriptors; in the server, None at its end."""
    controls: list[socket.socket] = []
    replies: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([listener, woken, *controls], [], [])
        if woken in ready:
            woken.recv(_NUMBER_BYTES)
            _tell_ends(replies)
        elif listener in ready:
            _welcome(listener, names, controls)
        else:
            control = next(each for each in controls if each in ready)
            request, descriptors = b"", []
            with contextlib.suppress(ConnectionError):  # a worker that was killed
                request, descriptors, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 4)
            if not request:
                controls.remove(control)
                control.close()
                if not controls:
                    return None
                continue
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (*controls, *replies.values()):
                    other.close()
                return request, descriptors
            *streams, reply = descriptors
            for stream in streams:
                os.close(stream)
            replies[pid] = socket.socket(fileno=reply)
            with contextlib.suppress(ConnectionError):
                replies[pid].send(f"{pid:{_NUMBER_BYTES}}".encode())


def _welcome(listener: socket.socket, names: bytes, controls: list[socket.socket]) -> None:
    """Accept the connection of a worker: a process of the same user."""
    control, _ = listener.accept()
    _pid, user, _group = struct.unpack("3i", control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if user != os.getuid():
        control.close()
        return
    controls.append(control)
    with contextlib.suppress(ConnectionError):  # a worker that was killed
        control.send(names)


@contextlib.contextmanager
def _names_read() -> Iterator[set[str]]:
    """Note the names of the environment variables that are read within the block."""
    names: set[str] = set()
    kind = type(os.environ)
    read = kind.__getitem__

    def noting(self: Any, name: str) -> str:
        names.add(name)
        return read(self, name)

    kind.__getitem__ = noting  # type: ignore[method-assign]
    try:
        yield names
    finally:
        kind.__getitem__ = read  # type: ignore[method-assign]


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
    """Run the command as its own script does, or a program of a test. What it raises ends the process as any other."""
    if request["is_leader"]:
        os.setsid()
    for number in request["closed"]:
        os.close(int(number))
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    _open_streams()
    sys.argv = request["words"]
    sys.path.remove("")  # of `python -c`: the directory that the command runs in
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from crucible_batch.cli import main

    code = 0
    try:
        if request["program"]:
            exec(request["program"], {"__name__": "__main__"})
        else:
            main()
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        code = ended.code
    _exit(code)


def _open_streams() -> None:
    """Open the standard streams as the interpreter does at its start: None if closed, line by line on a terminal."""
    is_unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before, stream = getattr(sys, name), None
        with contextlib.suppress(OSError):
            raw = io.FileIO(number, "w" if number else "r", closefd=False)
            is_raw = is_unbuffered and number > 0
            stream = io.TextIOWrapper(
                raw if is_raw else io.BufferedWriter(raw) if number else io.BufferedReader(raw),  # type: ignore[type-var]
                before.encoding,
                before.errors,
                newline="\n",
                line_buffering=not is_unbuffered and (number == 2 or raw.isatty()),
                write_through=is_unbuffered,
            )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _exit(code: int) -> None:
    """Exit as the interpreter does, but don't destroy its objects: in a fork, that takes longer than the command."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # None for a closed descriptor, unless the command has opened another stream
                stream.flush()
        os._exit(code & 0xFF)
    sys.exit(code)
