"""Secrets: as text that tracebacks don't show, as a list not to be printed, and in other text."""

from __future__ import annotations

import re
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


_registered: dict[str, None] = {}


def register_secret(text: str | None) -> None:
    """Redact ``text`` from now on in everything that this process logs or prints.

    ``cli/redaction.py`` does that. ``text`` is a secret as it was read from the environment or a
    file: a signing secret, or an address whose path, query or password gives access. None and empty
    text are ignored; registering it again has no effect.
    """
    if text and text.strip():
        _registered[HiddenText(text.strip())] = None


def registered_secrets() -> tuple[str, ...]:
    """Return the registered secrets, in the order of their registration."""
    return tuple(_registered)


_CHANNEL = r"heartbeat|webhook|secret|apprise"
"""The keys of ``notify`` whose values are secret."""
_AFTER_CHANNEL = re.compile(
    rf"(?i)\b((?:{_CHANNEL})[\"']?\s*[:=]\s*)(?![\"']?(?:env|file):)[\"']?[^\s'\"]+"
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]*|whsec_[^\s'\"]*")
_KEY_OF_LINE = re.compile(r"^[\s-]*[\w.-]{1,60}\s*:(?=\s|$)")


def mask_addresses(text: str) -> str:
    """Replace addresses and secrets of notifications by ``***``.

    The secrets are signing secrets, and what follows the name of a notification's secret key.
    """
    return _ADDRESS.sub("***", _AFTER_CHANNEL.sub(r"\1***", text))


def mask_source_line(line: str, *, entirely: bool) -> str:
    """Return a line of a manifest without secrets of notifications.

    Other lines are returned unchanged. ``entirely``: the line is known to belong to ``notify``, so
    only its first key is kept. Otherwise all that follows the name of a notification's secret key
    is replaced.
    """
    if entirely:
        key = _KEY_OF_LINE.match(line)
        if key is None:
            return "***"
        return f"{key[0]} ***"
    found = _AFTER_CHANNEL.search(line)
    if found is None:
        return line
    return f"{line[: found.end(1)]}***"
