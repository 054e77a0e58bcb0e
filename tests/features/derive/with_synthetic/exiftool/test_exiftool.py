"""The mark of outputs and of what is derived from them, as exiftool reads it."""

from __future__ import annotations

from typing import Any

from tests.features.derive.with_synthetic.test_marked_forms import APART, MARK, marked
from tests.harness.exiftool import read_by_exiftool
from tests.harness.source_type import COMPOSITE, TRAINED

SHORT_JOBS = True


async def test_originals_and_derived_files_of_all_formats_are_marked(painting: Any) -> None:
    async with painting() as bench:
        paths = (await marked(bench, MARK + APART)).keys()
        found = read_by_exiftool(bench.path / "out")
    assert found.keys() == paths
    for path, value in found.items():
        assert value == (COMPOSITE if "edit" in path else TRAINED), path
