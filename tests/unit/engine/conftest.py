from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from crucible_batch.core.plan import InputImage
from crucible_batch.input_images import read_input


@pytest.fixture
def image(tmp_path: Path) -> InputImage:
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "a.png")
    return read_input(tmp_path / "a.png")
