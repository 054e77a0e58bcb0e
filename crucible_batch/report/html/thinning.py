"""A series of which so many are kept as a page can show, evenly, however many there are."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Thinned(Generic[T]):
    """Takes in a series and keeps every ``every``-th of it, which doubles as often as it takes to stay below twice
    ``most``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[T] = []
        self._seen = 0
        self.every = 1

    def add(self, item: T) -> None:
        """Take in the next."""
        if self._seen % self.every == 0:
            self._kept.append(item)
            if len(self._kept) >= 2 * self._most:
                del self._kept[1::2]
                self.every *= 2
        self._seen += 1

    def kept(self) -> list[T]:
        """Return what was kept so far, the first always among it."""
        return list(self._kept)
