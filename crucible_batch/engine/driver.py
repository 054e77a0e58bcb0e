"""The engine's loop: decide on a command, perform it, journal its event, apply it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Subject(Protocol):
    """What a driver works on: a job or an asset."""

    @property
    def identity(self) -> str: ...


S = TypeVar("S", bound=Subject)
C = TypeVar("C")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Driver(Generic[S, C, E]):
    """``decide`` and ``evolve`` are pure; ``perform`` does I/O; ``record`` writes the event to the
    journal."""

    decide: Callable[[S], C | None]
    perform: Callable[[S, C], Awaitable[E | None]]
    record: Callable[[str, E], Awaitable[None]]
    evolve: Callable[[S, E], S]

    async def drive(self, subject: S) -> S:
        """Bring a subject as far as it can get now, and return it.

        It ends where ``decide`` or ``perform`` returns None: not in this run. What ``perform`` and
        ``record`` raise is passed on; the journal then holds all that happened.
        """
        while True:
            command = self.decide(subject)
            if command is None:
                return subject
            event = await self.perform(subject, command)
            if event is None:
                return subject
            await self.record(subject.identity, event)
            subject = self.evolve(subject, event)
