"""A gateway whose pictures have the format that the prompt names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crucible_batch.sandbox import pictures
from tests.harness.painted_pictures import painted


@pytest.fixture
def painting(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``start``, with a sandbox that paints such pictures."""
    monkeypatch.setattr(pictures, "render", painted)
    return start
