"""The server of ``forked_commands.py``: a process that has loaded the program, and forks a command
for each request.
"""

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
import sys
import sysconfig
import threading
from collections.abc import Iterator
from typing import Any

_REQUEST_BYTES = 1 << 17
_NUMBER_BYTES = 32


def serve(number: int) -> None:
    """Load the program, and serve each client that connects to the listening socket ``number``,
    until stdin is closed.

    A client has a process of its own, which goes on until the client closes the connection.
    """
    sysconfig.get_config_vars()  # reads HOME, for what no command uses
    importlib.import_module(
        "wsgiref.handlers"
    )  # it copies all variables, and no command uses the copy
    gc.disable()  # all that is made here stays: prepare() freezes it
    with _names_read() as names:
        program = importlib.import_module("tests.harness.loaded_program")
        program.load()
        program.prepare()
    names = {
        name for name in names if not name.startswith("CRUCIBLE_BATCH_")
    }  # options, which commands read again
    greeting = json.dumps({"names_read": sorted(names), "env": dict(os.environ)}).encode()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes of the clients
    with socket.socket(fileno=number) as listener:
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if listener not in ready:
                return
            client, _ = listener.accept()
            if os.fork() == 0:
                break
            client.close()
    with client:
        client.send(greeting)
        gc.enable()
        request, descriptors = _forked(client)
    if request is None:
        return
    for its_number, stream in enumerate(descriptors[:3]):
        os.dup2(stream, its_number)
    for descriptor in descriptors:
        os.close(descriptor)
    _become(request)


def _forked(client: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return each request in a fork, with its descriptors; None in this process, once ``client``
    has closed its end."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(waker.fileno())
    replies: dict[int, socket.socket] = {}
    with woken, waker:
        while True:
            ready, _, _ = select.select([client, woken], [], [])
            if woken in ready:
                woken.recv(_NUMBER_BYTES)
                _tell_ends(replies)
                continue
            request, descriptors, _, _ = socket.recv_fds(client, _REQUEST_BYTES, 4)
            if not request:
                return None, []
            *streams, reply = descriptors
            if (pid := os.fork()) == 0:
                break
            for stream in streams:
                os.close(stream)
            replies[pid] = socket.socket(fileno=reply)
            replies[pid].send(f"{pid:{_NUMBER_BYTES}}".encode())
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for other in replies.values():
        other.close()
    return json.loads(request), descriptors


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
    """Run the command as its own script does, or a program of a test.

    What it raises ends the process as any other.
    """
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
    """Open the standard streams as the interpreter does at its start:

    None if closed, line by line on a terminal.
    """
    is_unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before, stream = getattr(sys, name), None
        with contextlib.suppress(OSError):
            raw = io.FileIO(number, "w" if number else "r", closefd=False)
            buffered: Any = io.BufferedWriter if number else io.BufferedReader
            is_raw = is_unbuffered and number > 0
            stream = io.TextIOWrapper(
                raw if is_raw else buffered(raw),
                before.encoding,
                before.errors,
                newline="\n",
                line_buffering=not is_unbuffered and (number == 2 or raw.isatty()),
                write_through=is_unbuffered,
            )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _exit(code: int) -> None:
    """Exit as the interpreter does, but don't destroy its objects: in a fork, that takes longer
    than the command.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        for stream in (sys.stdout, sys.stderr):
            if (
                stream is not None
            ):  # None for a closed descriptor, unless the command has opened another stream
                stream.flush()
        os._exit(code & 0xFF)
    sys.exit(code)
