"""Embedding: a text into a picture's own metadata. No pixel is decoded, and every other byte of the file stays."""

from __future__ import annotations

import os
from typing import BinaryIO

from crucible_batch.outputs.embedding import jpeg, png, webp
from crucible_batch.outputs.embedding.splice import NotEmbeddableError, Splice, spliced

__all__ = ["NotEmbeddableError", "Splice", "plan_embedding", "spliced"]

_PLANNERS = {"image/png": png.plan, "image/jpeg": jpeg.plan, "image/webp": webp.plan}


def plan_embedding(file: BinaryIO, mime_type: str, text: str) -> tuple[Splice, ...]:
    """Say where in a picture an ASCII ``text`` goes: a PNG's iTXt chunk, a JPEG's or a WebP's XMP packet.

    The same file and text give the same answer, always. Raises ``NotEmbeddableError`` for a file that is better left
    as it is.
    """
    plan = _PLANNERS.get(mime_type)
    if plan is None:
        raise NotEmbeddableError(f"nothing is embedded in {mime_type}")
    return plan(file, os.fstat(file.fileno()).st_size, text)
