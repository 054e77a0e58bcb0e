"""A process that can die at any of its effects, and a journal writer that dies with it."""

from __future__ import annotations

import asyncio
import enum
import json
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias
from unittest.mock import patch

from crucible_batch.journal.sql import APPEND
from crucible_batch.outputs import store


class Crashed(BaseException):
    """The process is gone. Every later touch of the world or the disk raises it again."""


class Stage(enum.Enum):
    """How far a row of the journal is on its way."""

    ASKED = "asked"
    DURABLE = "durable"
    KNOWN = "known"


class Process:
    """Lives for ``effects`` effects (None: as long as it likes). ``on_death`` keeps what a kill
    leaves on the disk.
    """

    def __init__(self, effects: int | None, on_death: Callable[[], None]) -> None:
        self.is_dead = False
        self.died_at = ""
        self._left = effects
        self._on_death = on_death

    def effect(self, place: str) -> None:
        """Stand at an effect, before it or after it; raises ``Crashed`` where this is the end."""
        if self._left is not None and not self.is_dead:
            self._left -= 1
            if self._left <= 0:
                self.is_dead, self.died_at = True, place
                self._on_death()
        if self.is_dead:
            raise Crashed(place)


Statement: TypeAlias = tuple[str, Sequence[Any]]


class VirtualWriter:
    """The journal's group commit without its thread: what gathers while a sync takes its time is
    durable together.

    ``watch`` is told of each event three times: when it is asked for, durable, and known to be
    durable by its writer.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        process: Process,
        chance: random.Random,
        watch: Callable[[Stage, str, str, dict[str, Any]], None],
    ) -> None:
        self._connection = connection
        self._process = process
        self._chance = chance
        self._watch = watch
        self._waiting: list[tuple[Sequence[Statement], asyncio.Future[None]]] = []

    async def write(self, *statements: Statement) -> None:
        self._process.effect("append")
        self._tell(Stage.ASKED, statements)
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append((statements, done))
        if len(self._waiting) == 1:
            loop.call_later(self._chance.choice((0.0, 0.002, 0.05)), self._sync)
        await done
        self._process.effect("appended")
        self._tell(Stage.KNOWN, statements)

    def _tell(self, stage: Stage, statements: Sequence[Statement]) -> None:
        """Tell of events. Other rows are added jobs and commands."""
        for sql, values in statements:
            if sql == APPEND:
                subject, kind, body = values
                self._watch(stage, subject, kind, json.loads(body))

    def _sync(self) -> None:
        if not self._process.is_dead:
            self.flush()

    def flush(self) -> None:
        """Make all that waits durable."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        for statements, _ in waiting:
            for statement in statements:
                self._connection.execute(*statement)
        self._connection.execute("COMMIT")
        for statements, done in waiting:
            self._tell(Stage.DURABLE, statements)
            if not done.done():
                done.set_result(None)

    async def drain(self) -> None:
        self._process.effect("drain")
        self._sync()

    def close(self) -> None:
        self._sync()
        self._connection.close()


@contextmanager
def mortal_publishing(process: Process) -> Iterator[None]:
    """Let the process die before and after a file gets its name."""
    with ExitStack() as stack:
        for name in ("_publish", "link_into_place"):
            stack.enter_context(patch.object(store, name, _mortal(process, getattr(store, name))))
        yield


def _mortal(process: Process, naming: Callable[..., str]) -> Callable[..., str]:
    def mortal(*arguments: Any) -> str:
        process.effect("publish")
        stands = naming(*arguments)
        process.effect("published")
        return stands

    return mortal
