"""A marked output that is lost comes back to the very same bytes, whatever the manifest has now."""

from __future__ import annotations

from typing import Any

import pytest

from crucible_batch.features.check.verifying import check_outputs
from tests.features.synthetic.test_marked_runs import FORMATS, files

SHORT_JOBS = True

HEADS = {
    "mark": "provenance: {mark: true}\n",
    "mark and provenance": "provenance: {mark: true, embed: true}\n",
    "provenance": "provenance: {embed: true}\n",
    "neither": "",
}


@pytest.mark.parametrize("now", HEADS)
@pytest.mark.parametrize("then", HEADS)
async def test_check_restores_the_bytes_that_were_saved(painting: Any, then: str, now: str) -> None:
    async with painting() as bench:
        await bench.run(bench.manifest(FORMATS, head=HEADS[then]))
        before = files(bench.path / "out")
        await bench.run(bench.manifest(FORMATS, head=HEADS[now]))
        (bench.path / "out/png/0.png").unlink()
        (bench.path / "out/jpeg/0.jpg").unlink()
        (bench.path / "out/webp/0.webp").write_bytes(b"damaged")
        found = await check_outputs(bench.path / "out", fix=True, settings=bench.settings)
        after = files(bench.path / "out")
    assert [each.fixed for each in found.differences] == [True] * 3
    assert {name: after[name] for name in before} == before
