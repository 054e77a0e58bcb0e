"""Secrets kept out of what people are shown that isn't ours: what other libraries log, and the traces of bugs.

What we say ourselves holds none to begin with: the key has a type that shows ``***``, and links are shown without their
queries. This is the net under that, for text that passed through nobody's hands.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import traceback
import unicodedata
from pathlib import Path

from crucible_batch.errors import UserError

_KEY = re.compile(r"moltazine_[\w.~+/=-]{8,}", re.ASCII)
_BEARER = re.compile(r"(?i)(bearer\s+)[^\s'\",;]+")
_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORTEST = 6
"""A shorter word isn't a key, and may stand anywhere."""


class Redaction(logging.Filter):
    """Rewrites records before a handler sees them; drops none. The key is known by its value and by its form."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        if record.exc_info is not None and record.exc_info[0] is not None:
            record.exc_text = redacted("".join(traceback.format_exception(*record.exc_info)))
            record.exc_info = None
        return True


def printable(text: str) -> str:
    """Return a text without what a terminal would obey: controls and what turns the direction of writing."""
    return "".join(" " if unicodedata.category(each) in _OBEYED else each for each in text)


def redacted(text: str) -> str:
    """Return a text with the key, disguised or not, and the rights of links replaced by ``***``."""
    from crucible_batch.api import Secret, mask_link_secrets  # noqa: PLC0415 - only where something is logged

    key = _key_in_use()
    if len(key) >= _SHORTEST:
        text = Secret(key).mask_in(text)
    # What isn't seen would hide a link, or a key of this form, until somebody drops it.
    text = "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in _OBEYED)
    return mask_link_secrets(_BEARER.sub(r"\1***", _KEY.sub("***", text)))


def _key_in_use() -> str:
    from crucible_batch.settings import resolve  # noqa: PLC0415 - only where something is logged: --help stays quick

    with contextlib.suppress(OSError, ValueError, UserError):  # a .env that can't be read is told by who wants its key
        return resolve(os.environ, dotenv=Path(".env")).api_key or ""
    return ""
