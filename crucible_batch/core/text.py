"""Text from outside, made safe to show: in a terminal, a log or a report."""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, bidi overrides, lone surrogates, line separators

MESSAGE_LIMIT = 500
CODE_LIMIT = 100


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Drop terminal escapes and unseen characters, join the lines, and cut to ``limit`` characters."""
    if len(text) <= limit and text.isascii() and text.isprintable():  # as nearly all is
        return " ".join(text.split())
    # Cut first: a message of megabytes must not cost megabytes of work. Escapes are longer than what they leave.
    return cut(visible(text[: limit * 8]), limit)


def visible(text: str) -> str:
    """Drop terminal escapes and unseen characters, and join the lines."""
    spaced = " ".join(without_escapes(text).split())
    return "".join(char for char in spaced if unicodedata.category(char) not in _UNSEEN)


def cut(text: str, limit: int) -> str:
    """Cut to ``limit`` characters, and show that."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def without_escapes(text: str) -> str:
    """Drop what a terminal would take for an order."""
    return _ESCAPES.sub("", text)
