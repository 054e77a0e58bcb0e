"""The program exiftool, which publishers use. These tests are about it: without it they fail."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

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
