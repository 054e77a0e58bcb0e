"""A computer in virtual time: processes that run side by side on one disk, and can be killed or
frozen at any await.

A killed process doesn't unwind: none of its callbacks runs any more, so no ``finally`` and no
``except`` of it has an effect. What a kernel does for a dead process is done here: its file locks
are released. The callbacks of a frozen process run when it wakes up, in the order in which they
were due.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from unittest.mock import patch
from weakref import WeakSet

from crucible_batch.journal import Journal
from tests.verification.simulation.virtual_time import VirtualLoop

T = TypeVar("T")

_CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)
_LONGEST_BURIAL_S = 3600.0
_LOCKS: dict[int, Process] = {}
"""The process that took the newest lock on each file descriptor.

One that was closed meanwhile does no harm.
"""


@dataclass(eq=False)
class Process:
    """One run of the command.

    ``steps_left`` counts the callbacks until it is killed; None: it lives to its end.
    """

    name: str
    steps_left: int | None = None
    steps: int = 0
    is_dead: bool = False
    is_frozen: bool = False
    frozen: list[tuple[asyncio.Handle, Context, Callable[..., object], Sequence[Any]]] = field(
        default_factory=list
    )
    begun: WeakSet[asyncio.Task[Any]] = field(default_factory=WeakSet)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    dropped: list[tuple[Context, Callable[..., object], Sequence[Any]]] = field(
        default_factory=list
    )
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def kill(self) -> None:
        """End the process as SIGKILL does. Does nothing if it has ended."""
        if self.is_dead or self.ended.is_set():
            return
        self.is_dead, self.is_frozen = True, False
        self.dropped += [(context, callback, args) for _, context, callback, args in self.frozen]
        self.frozen.clear()
        # Kept, since a task that is collected as garbage would run its ``finally`` blocks.
        self.tasks += [task for task in self.begun if not task.done()]
        for descriptor in [number for number, owner in _LOCKS.items() if owner is self]:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        self.ended.set()

    def freeze(self) -> None:
        """Stop the process as SIGSTOP does."""
        self.is_frozen = True

    def wake(self) -> None:
        """Continue a frozen process as SIGCONT does. Does nothing to another one."""
        frozen, self.frozen, self.is_frozen = self.frozen, [], False
        loop = asyncio.get_running_loop()
        for handle, context, callback, args in frozen:
            loop.call_soon(_unless_cancelled, handle, callback, args, context=context)


def _unless_cancelled(
    handle: asyncio.Handle, callback: Callable[..., object], args: Sequence[Any]
) -> None:
    """Perform a callback that was due while its process was frozen; one before it may have
    cancelled it."""
    if not handle.cancelled():
        callback(*args)


def current_process() -> Process | None:
    """Return the process whose code runs now; None: nobody's, such as a request on its way."""
    return _CURRENT.get()


class NightLoop(VirtualLoop):
    """A virtual event loop that knows which process each callback belongs to, and drops those of
    the dead."""

    def __init__(self, began: datetime) -> None:
        super().__init__()
        self.began = began.timestamp()
        self.set_task_factory(_task_of_process)

    def call_soon(
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:  # type: ignore[override]
        handle: list[asyncio.Handle] = []
        handle.append(super().call_soon(_step, handle, callback, args, True, context=context))
        return handle[0]

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:  # type: ignore[override]
        handle: list[asyncio.Handle] = []
        timer = super().call_at(when, _step, handle, callback, args, False, context=context)
        handle.append(timer)
        return timer


def _task_of_process(
    loop: asyncio.AbstractEventLoop,
    coro: Any,
    context: Context | None = None,
    **options: Any,  # which, depends on the version of Python
) -> asyncio.Task[Any]:
    """Begin a task, and note it with its process."""
    task = asyncio.Task(coro, loop=loop, context=context, **options)
    owner = _CURRENT.get() if context is None else context.get(_CURRENT)
    if owner is not None:
        owner.begun.add(task)
    return task


def _step(
    handle: Sequence[asyncio.Handle],
    callback: Callable[..., object],
    args: Sequence[Any],
    is_kept: bool,
) -> None:
    """Perform a callback, unless its process is dead or frozen. ``is_kept``: it is needed when the
    dead are buried.

    ``handle`` has the handle of the callback.
    """
    process = _CURRENT.get()
    if process is not None:
        if process.is_frozen:
            process.frozen.append((handle[0], copy_context(), callback, args))
            return
        process.steps += 1
        if process.steps_left is not None and process.steps >= process.steps_left:
            process.kill()
        if process.is_dead:
            if is_kept:
                process.dropped.append((copy_context(), callback, args))
            return
    callback(*args)


class NightClock:
    """The clock of all processes: the loop's, counted from the moment at which the play begins."""

    def __init__(self, loop: NightLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.began + self._loop.time()

    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sleep_until(self, moment: datetime) -> None:
        await asyncio.sleep(max(0.0, moment.timestamp() - self.now()))


class InlineWriter:
    """The journal's group commit without its thread: a row is durable at once, and its writer
    learns of it later.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connection = connect()
        self._connection.execute("PRAGMA synchronous = OFF")

    async def write(self, *statements: tuple[str, Sequence[object]]) -> None:
        await asyncio.sleep(0.001)
        for statement in statements:
            self._connection.execute(*statement)
        await asyncio.sleep(0.001)

    async def drain(self) -> None:
        await asyncio.sleep(0.001)

    def close(self) -> None:
        self._connection.close()


class Computer:
    """Runs processes.

    ``dead`` keeps those that were killed, so that nothing of them is ever collected or unwound.
    """

    def __init__(self) -> None:
        self.dead: list[Process] = []

    async def run(self, process: Process, main: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Run a process to its end, and return its result; None if it was killed.

        Raises what it raised.
        """
        context = Context()
        context.run(_CURRENT.set, process)
        task = asyncio.get_running_loop().create_task(main(), context=context)
        task.add_done_callback(lambda _: process.ended.set(), context=Context())
        await process.ended.wait()
        if process.is_dead:
            self.dead.append(process)
            return None
        return task.result()

    async def bury(self) -> None:
        """Unwind the tasks of the dead, once nothing that they do to the disk matters any more."""
        loop = asyncio.get_running_loop()
        for process in self.dead:
            process.is_dead, process.steps_left = False, None
            for context, callback, args in process.dropped:
                loop.call_soon(callback, *args, context=context)
            for task in process.tasks:
                task.cancel()
        tasks = [task for process in self.dead for task in process.tasks]
        if tasks:
            _, living = await asyncio.wait(tasks, timeout=_LONGEST_BURIAL_S)
            if living:
                raise AssertionError(
                    f"tasks of dead processes go on although they were cancelled: {living}"
                )
        for task in tasks:
            with contextlib.suppress(BaseException):
                task.result()
        self.dead.clear()


@contextlib.contextmanager
def virtual_kernel() -> Iterator[None]:
    """Note which process takes which file lock, and leave out what costs time: threads, syncing,
    slow digests.
    """
    flock = fcntl.flock

    def noting(descriptor: Any, operation: int) -> None:
        flock(descriptor, operation)
        process = _CURRENT.get()
        if process is not None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            _LOCKS[number] = process

    with (
        patch.object(fcntl, "flock", noting),
        patch("crucible_batch.journal.store.GroupCommitWriter", InlineWriter),
        patch.object(Journal, "_connect", _without_syncing(Journal._connect)),
        patch("os.fsync", lambda _descriptor: None),
        patch.object(hashlib, "pbkdf2_hmac", _one_round(hashlib.pbkdf2_hmac)),
    ):
        try:
            yield
        finally:
            _LOCKS.clear()


def _one_round(derive: Callable[..., bytes]) -> Callable[..., bytes]:
    """Fingerprints of the key cost a tenth of a second for each run of a play."""
    return lambda name, key, salt, _rounds: derive(name, key, salt, 1)


def _without_syncing(
    connect: Callable[[Journal], sqlite3.Connection],
) -> Callable[[Journal], sqlite3.Connection]:
    def connected(journal: Journal) -> sqlite3.Connection:
        connection = connect(journal)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    return connected


def in_the_world(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start something that belongs to no process, such as a request that is on its way already."""
    return asyncio.get_running_loop().create_task(coroutine, context=Context())
