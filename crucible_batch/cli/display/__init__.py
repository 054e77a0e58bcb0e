"""The progress displays of a run: a live panel, plain lines, lines of JSON, or nothing."""

from __future__ import annotations

from typing import Self

from crucible_batch.core.progress import Message


class Display:
    """A context manager that shows a run's progress; this one shows nothing.

    ``notify`` returns immediately and never raises. Between ``pause`` and ``resume`` a question can
    be shown. The block begins with ``resume`` and ends with ``pause``.
    """

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(self, *_error: object) -> None:
        self.pause()

    def notify(self, message: Message) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...
