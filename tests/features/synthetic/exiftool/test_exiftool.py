"""The mark as exiftool reads it, which is what publishers use."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.features.synthetic.test_marked_runs import EDIT, FORMATS
from tests.harness.source_type import COMPOSITE, TRAINED

SHORT_JOBS = True
_TEXT_AT_THE_END = "[minor] Text/EXIF chunk(s) found after PNG IDAT"
"""Of provenance, which nothing but this program reads."""


def read_by_exiftool(directory: Path) -> dict[str, str]:
    """The source type of each file below a directory. Fails where the program is missing."""
    program = shutil.which("exiftool")
    if program is None:
        pytest.fail("there is no exiftool here (Debian: apt-get install libimage-exiftool-perl)")
    options = ["-json", "-n", "-XMP-iptcExt:DigitalSourceType", "-warning", "-error", "-r"]
    suffixes = [part for suffix in ("png", "jpg", "webp", "avif") for part in ("-ext", suffix)]
    found = subprocess.run(
        [program, *options, *suffixes, str(directory)], capture_output=True, check=True, timeout=60
    )
    rows = json.loads(found.stdout)
    told = {row["Error"] for row in rows if "Error" in row}
    told |= {row["Warning"] for row in rows if "Warning" in row}
    assert {each for each in told if not each.startswith(_TEXT_AT_THE_END)} == set()
    return {
        Path(row["SourceFile"]).relative_to(directory).as_posix(): row.get("DigitalSourceType", "")
        for row in rows
    }


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
