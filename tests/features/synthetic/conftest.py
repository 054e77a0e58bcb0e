"""A gateway whose pictures have the format that the prompt names."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from crucible_batch.sandbox import pictures

FORMATS = ("png", "jpeg", "webp", "gif")


def painted(job: Any, index: int, _source: bytes | None) -> bytes:
    """A picture that depends on what was asked for and on the job, of 48 by 32 pixels."""
    prompt = " ".join(map(str, job.params.values()))
    kind = next((each for each in FORMATS if each in prompt), "png")
    seed = hashlib.shake_128(f"{prompt} {job.idempotency_key} {index}".encode()).digest(48)
    image = Image.frombytes("RGB", (4, 4), seed).resize((48, 32))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def painting(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``start``, with a sandbox that paints such pictures."""
    monkeypatch.setattr(pictures, "render", painted)
    return start
