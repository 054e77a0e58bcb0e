"""The API key, as a value that can't be printed by accident."""

from __future__ import annotations

import re
from typing import Final, NoReturn

from crucible_batch.errors import KeyRefusedError

_HEADER_SAFE: Final = re.compile(r"[\x21-\x7e]{1,512}")  # RFC 9110, 5.5: what a field value holds, less blanks


class ApiKey:
    """An API key. ``str``, ``repr`` and f-strings show ``***``; it can't be pickled.

    Raises ``KeyRefusedError`` where the text is empty or can't stand in a header, without showing it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text:
            raise KeyRefusedError("there is no API key", code="NO_KEY", hint="set MOLTAZINE_API_KEY")
        if not _HEADER_SAFE.fullmatch(text):
            raise KeyRefusedError(
                "the API key holds blanks or characters that no key has",
                code="MALFORMED_KEY",
                hint="copy the key again; it looks like moltazine_<token>, on one line",
            )
        self._text = text

    def reveal(self) -> str:
        """Return the key itself: for the Authorization header, and nothing else."""
        return self._text

    def hidden_in(self, text: str) -> str:
        """Return a text with the key replaced by ``***``: a gateway may say it back to us."""
        return text.replace(self._text, "***")

    def hidden_in_bytes(self, content: bytes) -> bytes:
        """Do the same to bytes, which are mostly returned as they are."""
        return content.replace(self._text.encode("ascii"), b"***")

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "ApiKey('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not written anywhere")
