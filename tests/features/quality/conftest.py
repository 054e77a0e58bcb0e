"""Pictures of runs that are not of one colour, since the harness draws such."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from crucible_batch.sandbox import pictures


def blocks(job: Any, index: int, source: bytes | None) -> bytes:
    """Draw coloured blocks that depend on what was asked for; a job without a seed has its own."""
    asked = {name: value for name, value in job.params.items() if name != "image.image"}
    seed = asked.get("sampler.seed", job.idempotency_key)
    shape = job.outputs[index]
    if source is not None and job.workflow_id == "upscale-2x":
        with Image.open(io.BytesIO(source)) as original:
            image = original.convert("RGB").resize((shape.width, shape.height))
    else:
        colours = hashlib.shake_128(f"{asked}{seed}{index}".encode()).digest(48)
        image = Image.frombytes("RGB", (4, 4), colours)
        image = image.resize((shape.width, shape.height), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, shape.mime_type.partition("/")[2], compress_level=1)
    return buffer.getvalue()


@pytest.fixture
def drawn(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``start``, with a sandbox that draws such pictures."""
    monkeypatch.setattr(pictures, "render", blocks)
    return start
