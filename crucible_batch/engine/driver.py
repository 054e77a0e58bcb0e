"""The loop that the whole engine is made of: what it wants, done, journalled, stepped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Subject(Protocol):
    """Something with a life: a job or an asset."""

    @property
    def identity(self) -> str: ...


S = TypeVar("S", bound=Subject)
C = TypeVar("C")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Driver(Generic[S, C, E]):
    """Drives subjects of one kind. ``wish`` and ``step`` are pure, ``perform`` touches the world, ``record`` lasts."""

    wish: Callable[[S], C | None]
    perform: Callable[[S, C], Awaitable[E | None]]
    record: Callable[[str, E], Awaitable[None]]
    step: Callable[[S, E], S]

    async def drive(self, subject: S) -> S:
        """Bring a subject as far as it can get now, and return it.

        It ends where the subject wishes nothing more, or where ``perform`` returns None: not in this run. Whatever
        ``perform`` or ``record`` raise goes on up; the journal then holds all that happened.
        """
        while (command := self.wish(subject)) is not None:
            event = await self.perform(subject, command)
            if event is None:
                break
            await self.record(subject.identity, event)
            subject = self.step(subject, event)
        return subject
