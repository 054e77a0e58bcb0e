"""Pictures of a sandbox that look different, in the format that the prompt names."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from PIL import Image

FORMATS = ("png", "jpeg", "webp", "gif")


def painted(job: Any, index: int, _source: bytes | None) -> bytes:
    """A picture that depends on what was asked for and on the job, of 48 by 32 pixels.

    With the word ``broken``, its header is valid and its pixels are not.
    """
    prompt = " ".join(map(str, job.params.values()))
    kind = next((each for each in FORMATS if each in prompt), "png")
    seed = hashlib.shake_128(f"{prompt} {job.idempotency_key} {index}".encode()).digest(48)
    image = Image.frombytes("RGB", (4, 4), seed).resize((48, 32))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    content = buffer.getvalue()
    if "broken" not in prompt:
        return content
    place = content.index(b"IDAT") + 6
    return content[:place] + b"\0" * 20 + content[place + 20 :]
