"""The API key, as a type that can't be printed by accident."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from crucible_batch.core.redaction import MASK, Secret
from crucible_batch.errors import KeyRefusedError
from crucible_batch.secret_text import HiddenText

_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,512}")  # RFC 9110, 5.5: a field value, without blanks
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


class ApiKey:
    """An API key. ``str``, ``repr`` and f-strings show ``***``; it can't be pickled.

    Raises ``KeyRefusedError`` if the text is empty or not valid in a header; the message doesn't
    hold the text.
    """

    __slots__ = ("_secret", "_text")

    def __init__(self, text: str) -> None:
        if not text:
            raise KeyRefusedError(
                "there is no API key", code="NO_KEY", hint="set MOLTAZINE_API_KEY"
            )
        if not _HEADER_SAFE.fullmatch(text):
            raise KeyRefusedError(
                "the API key contains blanks or invalid characters",
                code="MALFORMED_KEY",
                hint="copy the key again; it looks like moltazine_<token>, on one line",
            )
        self._text = HiddenText(text)
        self._secret = Secret(text)

    def reveal(self) -> HiddenText:
        """Return the key itself. For use in the Authorization header only."""
        return self._text

    def mask_in(self, text: str) -> str:
        """Return ``text`` with the key, plain or encoded, replaced by ``***``.

        A response may contain it.
        """
        return self._secret.mask_in(text)

    def hidden_in_bytes(self, content: bytes) -> bytes:
        """Return a JSON text with the key masked in each of its strings.

        Without the key it is returned unchanged.
        """
        text = content.decode("utf-8", "surrogateescape")
        if not self._secret.is_in(text):
            return content
        return _JSON_STRING.sub(self._hidden_in_string, text).encode("utf-8", "surrogateescape")

    def _hidden_in_string(self, found: re.Match[str]) -> str:
        try:
            text = str(json.loads(found[0], strict=False))
        except ValueError:
            return f'"{MASK}"'
        hidden = self._secret.mask_in(text)
        if hidden == text:
            return found[0]  # byte for byte, also if its escapes are unusual
        return json.dumps(hidden)

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return "ApiKey('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not written anywhere")
