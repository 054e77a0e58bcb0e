"""Commands to the run that is active in a directory: its socket, and both ends of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.core.control import ControlSource
from crucible_batch.errors import ControlError, CrucibleBatchError
from crucible_batch.journal import Journal, is_locked, read_holder
from crucible_batch.runs.control_desk import ControlAnswer, ControlDesk, read_command, user_name
from crucible_batch.runs.parts import ReadyRun, RunPart

logger = logging.getLogger(__name__)

SOCKET = Path(".crucible", "control.sock")
"""The socket in a run's directory, for its user only."""
TERMINAL = "terminal"
PAGE = "page"
_ANSWER_WITHIN_S = 30.0
_REQUEST_WITHIN_S = 5.0
_LONGEST = 64 * 1024
_LAST_ANSWERS_S = 1.0
_MOST_OPEN = 32
"""The connections at the same time.

More are closed immediately: each is an open file, and the run needs its own.
"""
_LONGEST_ADDRESS = 100
"""The bytes of a socket's address: macOS has 104, Linux 108."""
_PEER = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer as it is sent. ``hint`` is what to do if it is not ``ok``."""

    ok: bool
    message: str
    hint: str | None = None
    data: Mapping[str, str | int] = field(default_factory=dict)


_ANSWER: TypeAdapter[_Answer] = TypeAdapter(_Answer)


@asynccontextmanager
async def controlled(desk: ControlDesk, directory: Path) -> AsyncIterator[None]:
    """Take commands on the directory's socket during the block.

    If there can't be one, the run continues without.
    """
    connections = _Connections(desk)
    with ExitStack() as stack:
        try:
            bound = stack.enter_context(listening(directory))
        except OSError as error:
            logger.info("this run takes no commands of ctl: %s", error.strerror or error)
            yield
            return
        server = await asyncio.start_unix_server(connections.serve, sock=bound, limit=_LONGEST)
        try:
            yield
        finally:
            server.close()
            await connections.ended(_LAST_ANSWERS_S)


class SocketPart(RunPart):
    """Commands on the socket in the run's directory, while the engine works."""

    def beside(self, run: ReadyRun) -> AbstractAsyncContextManager[object]:
        return controlled(run.desk, run.context.directory)


class _Connections:
    """The connections to a run: one command and one answer each, as lines of JSON."""

    def __init__(self, desk: ControlDesk) -> None:
        self._desk = desk
        self._open: set[asyncio.Task[None]] = set()
        self._is_over = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._is_over or len(self._open) >= _MOST_OPEN:
            writer.close()
            return
        self._open.add(task)
        try:
            user = user_of(writer.get_extra_info("socket"))
            if user is not None:
                async with asyncio.timeout(_REQUEST_WITHIN_S):
                    line = await reader.readline()
                writer.write(_ANSWER.dump_json(await self._answer(line, user)) + b"\n")
                await writer.drain()
        # Gone, silent (TimeoutError is an OSError), or too long. Cancelled: the run ends, and
        # nothing awaits this task; Python 3.11 would report it as an error.
        except (OSError, ValueError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def ended(self, within_s: float) -> None:
        """Wait until the last answers are sent, and end what is left.

        What is accepted then is closed immediately.
        """
        self._is_over = True
        tasks = set(self._open)
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        for task in tasks:
            task.cancel()

    async def _answer(self, line: bytes, user: int) -> _Answer:
        try:
            words, via = _request(line)
            source = ControlSource(user_name(user), via)
            answer = await self._desk.perform(read_command(words), source)
        except CrucibleBatchError as error:
            return _Answer(ok=False, message=error.message, hint=error.hint)
        return _Answer(ok=True, message=answer.message, data=answer.data)


def _request(line: bytes) -> tuple[list[str], str]:
    """Return the words of a command and through what it came. Raises ``ControlError``."""
    with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
        asked = json.loads(line)
        words, via = asked["words"], asked["via"]
        is_command = isinstance(words, list) and all(isinstance(word, str) for word in words)
        if is_command and via in {TERMINAL, PAGE}:
            return words, via
    raise ControlError(
        "the command can't be read", hint="use the same release of crucible-batch as the run"
    )


def control(run_dir: str | Path, words: Sequence[str], *, via: str = TERMINAL) -> ControlAnswer:
    """Give a command to the run that is active in a directory, and return its answer.

    Blocks for up to 30 seconds. Raises ``ControlError`` if no run takes it, with what to do,
    ``UserError`` if it is not a command, ``RunDirectoryError`` and ``JournalError``.
    """
    read_command(words)
    directory = Path(run_dir)
    with Journal.read(directory):
        pass  # a directory without a run is refused as such
    try:
        answer = _exchanged(
            directory, json.dumps({"words": list(words), "via": via}).encode() + b"\n"
        )
    except PermissionError:
        raise ControlError(
            f"the run in {directory} is another user's",
            hint="give the command as the user who started the run",
        ) from None
    except TimeoutError:
        raise ControlError(
            f"the run in {directory} does not answer",
            hint=f"its state: crucible-batch status {directory}",
        ) from None
    except (OSError, ValueError) as error:  # ValidationError is a ValueError
        raise _no_run(directory) from error
    if not answer.ok:
        raise ControlError(answer.message, hint=answer.hint)
    return ControlAnswer(answer.message, answer.data)


def _exchanged(directory: Path, request: bytes) -> _Answer:
    with contextlib.closing(connected(directory, _ANSWER_WITHIN_S)) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answers:
            return _ANSWER.validate_json(answers.readline(_LONGEST))


def _no_run(directory: Path) -> ControlError:
    if not is_locked(directory):
        return ControlError(
            f"no run is active in {directory}",
            hint=f"how it ended, and what to do next: crucible-batch status {directory}",
        )
    holder = read_holder(directory / ".crucible")
    if holder is not None and holder.host != socket.gethostname():
        return ControlError(
            f"the run in {directory} is active on another machine: {holder}",
            hint=f"give the command on {holder.host}",
        )
    return ControlError(
        f"the run in {directory} takes no commands now: it is starting or ending,"
        " or its file system has no sockets",
        hint="try again in a moment; Ctrl-C in the run's terminal stops it in good order",
    )


@contextmanager
def _address(directory: Path) -> Iterator[str]:
    """Yield an address of the directory's socket.

    It is a path that is short enough, by way of a link if needed.
    """
    path = directory.absolute() / SOCKET
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    with TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        link = Path(folder, "d")
        link.symlink_to(path.parent)
        yield str(link / path.name)


@contextmanager
def listening(directory: Path) -> Iterator[socket.socket]:
    """Listen on the directory's socket for the block. The caller must hold the directory's lock.

    A socket that a killed run left is replaced; anything else at its path is not. Raises
    ``OSError`` if there can't be a socket: on file systems without sockets (exFAT), or if its path
    is taken.
    """
    path = directory / SOCKET
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as bound:
        with _address(directory) as address:
            bound.bind(address)
        try:
            # Nobody can connect before it listens, so its mode is right from the first connection
            # on.
            path.chmod(0o600)
            bound.listen()
            yield bound
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def connected(directory: Path, timeout_s: float) -> socket.socket:
    """Return a connection to the run that is active in the directory.

    Raises ``FileNotFoundError`` or ``ConnectionRefusedError`` if none takes commands,
    ``PermissionError`` if it is another user's, and ``OSError``.
    """
    status = (directory / SOCKET).lstat()
    if not stat.S_ISSOCK(status.st_mode):
        raise FileNotFoundError(str(directory / SOCKET))
    if status.st_uid not in {os.geteuid(), 0} and os.geteuid() != 0:
        raise PermissionError(str(directory / SOCKET))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with _address(directory) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def user_of(connection: socket.socket) -> int | None:
    """Return the user id at the other end; None unless it is our own user's or root's.

    Only Linux shows the id. Elsewhere the mode of the socket keeps others out.
    """
    if sys.platform != "linux":
        return os.geteuid()
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    user: int = _PEER.unpack(peer)[1]
    if user not in {os.geteuid(), 0}:
        return None
    return user
