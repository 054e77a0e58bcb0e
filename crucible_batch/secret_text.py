"""A string type for secrets that isn't shown in tracebacks with variables, debuggers or logs."""

from __future__ import annotations

from typing import SupportsIndex


class HiddenText(str):
    """A secret string. Its ``repr`` is ``'***'``; otherwise it is an ordinary ``str``.

    Strings derived from it, except slices, are plain ``str``: wrap them too.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, key: SupportsIndex | slice, /) -> HiddenText:
        """Return a part, also hidden: tools often truncate a long text before they show it."""
        return HiddenText(super().__getitem__(key))
