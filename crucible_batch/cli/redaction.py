"""Removal of secrets from log records of other libraries and from tracebacks.

Our own messages contain no secrets: the key has a type that is shown as ``***``, and URLs are shown
without queries.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import traceback
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crucible_batch.core.redaction import Secret, mask_link_secrets
from crucible_batch.errors import UserError
from crucible_batch.secret_text import registered_secrets
from crucible_batch.settings import resolve

_KEY = re.compile(r"moltazine_[\w.~+/=-]{8,}", re.ASCII)
_BEARER = re.compile(r"(?i)(bearer\s+)[^\s'\",;]+")
CONTROL_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORTEST = 6
"""The least length of a key in characters; anything shorter may be part of other text."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^\s/?#]*@)?[^\s/?#]*[/?#]?(?P<rest>\S*)")
_LEAST_OF_ADDRESS = 12
"""The least length in characters at which the path of an address is masked without its host.

A shorter one may be a word of other text.
"""


class Redaction(logging.Filter):
    """A log filter that redacts records, and drops none.

    The key is recognised by its value and by its form.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        if record.exc_info is not None and record.exc_info[0] is not None:
            record.exc_text = redacted("".join(traceback.format_exception(*record.exc_info)))
            record.exc_info = None
        return True


def printable(text: str) -> str:
    """Return text with control and bidirectional characters replaced by spaces."""
    return "".join(
        " " if unicodedata.category(each) in CONTROL_CATEGORIES else each for each in text
    )


def redacted(text: str) -> str:
    """Return text with secrets replaced by ``***``.

    These are the key, registered secrets, encoded or not, and the queries of signed URLs.
    """
    key = _key_in_use()
    if len(key) >= _SHORTEST:
        text = Secret(key).mask_in(text)
    for secret in registered_secrets():
        text = _without_registered(secret, text)
    # Invisible characters within a URL or a key would prevent its recognition.
    text = "".join(
        each
        for each in text
        if each in "\n\t" or unicodedata.category(each) not in CONTROL_CATEGORIES
    )
    return mask_link_secrets(_BEARER.sub(r"\1***", _KEY.sub("***", text)))


def in_json(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with each of its texts changed.

    What JSON has no form for becomes text.
    """
    match value:
        case str():
            return change(value)
        case Mapping():
            return {change(str(name)): in_json(item, change) for name, item in value.items()}
        case list() | tuple():
            return [in_json(item, change) for item in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return change(str(value))


def _without_registered(secret: str, text: str) -> str:
    """Return text without a registered secret.

    Of an address, what follows the host is a secret by itself.
    """
    address = _ADDRESS.fullmatch(secret)
    if address is None:
        if len(secret) < _SHORTEST:
            return text
        return Secret(secret).mask_in(text)
    text = text.replace(secret, "***")
    rest = address["rest"]
    if len(rest) < _LEAST_OF_ADDRESS:
        return text
    return Secret(rest).mask_in(text)


_hidden_key: str | None = None


def hide_key(key: str | None) -> None:
    """Redact this key from now on, instead of that of the environment or ``.env``.

    None changes nothing.
    """
    global _hidden_key  # noqa: PLW0603 - a process runs one command
    _hidden_key = key or _hidden_key


def _key_in_use() -> str:
    if _hidden_key is not None:
        return _hidden_key
    # An unreadable .env is reported when the key is needed.
    with contextlib.suppress(OSError, ValueError, UserError):
        return resolve(os.environ, dotenv=Path(".env")).api_key or ""
    return ""
