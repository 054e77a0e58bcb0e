"""The mark as exiftool reads it, which is what publishers use."""

from __future__ import annotations

from typing import Any

import pytest

from tests.features.synthetic.test_marked_runs import EDIT, FORMATS
from tests.harness.exiftool import read_by_exiftool
from tests.harness.source_type import COMPOSITE, TRAINED

SHORT_JOBS = True


@pytest.mark.parametrize("provenance", ["{mark: true}", "{mark: true, embed: true}"])
async def test_originals_of_all_formats_are_marked(painting: Any, provenance: str) -> None:
    async with painting() as bench:
        bench.picture("p.png")
        manifest = bench.manifest(f"{FORMATS}\n{EDIT}", head=f"provenance: {provenance}\n")
        await bench.run(manifest)
        found = read_by_exiftool(bench.path / "out")
    assert found == {
        "edit/0.jpg": COMPOSITE,
        "jpeg/0.jpg": TRAINED,
        "png/0.png": TRAINED,
        "webp/0.webp": TRAINED,
    }
