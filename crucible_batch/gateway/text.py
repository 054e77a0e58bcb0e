"""What the gateway says, made safe to show and to keep."""

from __future__ import annotations

import re

from crucible_batch.core.text import MESSAGE_LIMIT, clean

_QUERY = re.compile(r"(https?://[^\s?]{1,2000})\?\S+", re.IGNORECASE)


def said(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Make what the gateway says safe to show and to keep: as ``clean`` does, and without the queries of links."""
    return clean(_QUERY.sub(r"\1?***", text[: limit * 8]), limit)
