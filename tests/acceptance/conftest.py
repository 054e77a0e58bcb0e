"""What the acceptance tests stand on: a gateway that isn't ours, a folder as a user has it, and the
command.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(
    0, str(Path(__file__).parent)
)  # other_gateway is a program of its own, in no package
pytest.register_assert_rewrite("judging")

# Behind the two calls that they need: a place to be found in, and asserts that say what they saw.
from judging import MANIFEST, PHOTOS  # noqa: E402
from other_gateway import OtherGateway  # noqa: E402


@pytest.fixture
def gateway() -> Iterator[OtherGateway]:
    with OtherGateway() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: manifest, photos (one of them twice), a prompt file, a table."""
    (tmp_path / "photos").mkdir()
    for name in PHOTOS:
        Image.frombytes("RGB", (16, 16), hashlib.shake_256(name.encode()).digest(768)).save(
            tmp_path / "photos" / name
        )
    shutil.copyfile(tmp_path / "photos/mug.png", tmp_path / "photos/mug-copy.png")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/retouch.txt").write_text("Retouch it for {{ brand }}\n", encoding="utf-8")
    (tmp_path / "products.csv").write_text(
        "sku,title,photo,seed\n"
        '001,"Mug, blue",mug.png,1\n'
        "002,Same mug,mug-copy.png,20\n"
        "003,Vase,vase.jpg,300\n"
        "004,Lampe à huile,lamp.webp,4\n",
        encoding="utf-8",
    )
    (tmp_path / "manifest.yaml").write_text(MANIFEST, encoding="utf-8")
    return tmp_path
