"""The observers of one run: the caller's, and those of the parts."""

from __future__ import annotations

import logging

from crucible_batch.core.progress import Message, Observer

logger = logging.getLogger(__name__)


class Observers:
    """An observer that passes each message to those that were added, then to the caller's.

    One that was added and raises gets no more messages: an error there must not end a paid run. The
    caller's may raise.
    """

    def __init__(self, caller: Observer | None = None) -> None:
        self._caller = caller
        self._added: list[Observer] = []

    def add(self, observer: Observer) -> None:
        self._added.append(observer)

    def notify(self, message: Message) -> None:
        for observer in tuple(self._added):
            try:
                observer.notify(message)
            except Exception as error:  # noqa: BLE001 - see above
                self._added.remove(observer)
                logger.warning(
                    "%s: no longer recorded (%s)", type(observer).__name__, type(error).__name__
                )
        if self._caller is not None:
            self._caller.notify(message)
