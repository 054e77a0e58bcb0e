"""Pictures, bodies, and what lies in a folder."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

from PIL import Image


def drawn(kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


async def body(content: bytes, chunk: int = 700) -> AsyncIterator[bytes]:
    for start in range(0, len(content), chunk):
        yield content[start : start + chunk]


def files(directory: Path) -> list[str]:
    """All that stands there but directories, hidden names and symlinks included."""
    return sorted(
        str((Path(top) / name).relative_to(directory)) for top, _, names in os.walk(directory) for name in names
    )


PNG = drawn()
