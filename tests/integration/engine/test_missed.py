"""An output that the user deleted is fetched again, and nothing is bought for it."""

from __future__ import annotations

from pathlib import Path

import httpx

from crucible_batch import run
from crucible_batch.sandbox import SandboxConfig, serve
from crucible_batch.settings import Settings

MANIFEST = """
version: 1
name: missed
workflow: zimage-sheet
budget: {credits: 20}
jobs:
  - {name: a, prompt: a boat}
  - {name: b, prompt: a barn}
"""


async def test_a_deleted_output_comes_back_for_no_credits(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST, encoding="utf-8")
    async with serve(SandboxConfig(time_scale=0)) as gateway, httpx.AsyncClient() as judge:
        settings = Settings(api_key=gateway.api_key, base_url=gateway.api_url)
        first = await run(tmp_path / "m.yaml", out_dir=tmp_path / "out", settings=settings)
        before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
        lost = tmp_path / "out" / "a" / "1.png"
        lost.unlink()
        again = await run(tmp_path / "m.yaml", out_dir=tmp_path / "out", settings=settings)
        state = (await judge.get(f"{gateway.api_url}/_sandbox/state")).json()
    assert len(before) == 4
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")} == before
    assert (first.ok, again.ok) == (True, True)
    assert again.report.credits.spent == first.report.credits.spent
    assert len(state["jobs"]) == 2
    assert state["requests"]["generate"] == 2
    assert state["requests"]["download"] == 5
