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
    text = _ESCAPES.sub("", text[: limit * 8])
    spaced = " ".join(text.split())
    seen = "".join(char for char in spaced if unicodedata.category(char) not in _UNSEEN)
    return seen if len(seen) <= limit else seen[: limit - 1] + "…"
