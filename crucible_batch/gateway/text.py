"""What the gateway says, made safe to show and to keep. The key was taken out of it before: see ``exchange``."""

from __future__ import annotations

import re

from crucible_batch.core.secrecy import without_rights
from crucible_batch.core.text import MESSAGE_LIMIT, cut, visible

_OPEN_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:\S*$")


def said(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Make what the gateway says safe to show and to keep: as ``clean`` does, and without the rights of links.

    Links are looked for between cleaning, which may bring one to light, and cutting, which may take its end away.
    """
    seen = visible(text[: limit * 8])
    if len(text) > limit * 8:
        seen = _OPEN_LINK.sub("", seen)  # what would tell that it holds a password may be behind the cut
    return cut(without_rights(seen), limit)
