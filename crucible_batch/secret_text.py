"""Secrets as text that doesn't show: in a traceback with the values of variables, in a debugger, in a log."""

from __future__ import annotations

from typing import SupportsIndex


class HiddenText(str):
    """A secret. It is text to whoever sends it, and ``'***'`` to whoever shows what a variable holds.

    What is made of it is plain text: wrap that too.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, key: SupportsIndex | slice, /) -> HiddenText:
        """Return a part, which shows as little: a long text is often cut before it is shown."""
        return HiddenText(super().__getitem__(key))
