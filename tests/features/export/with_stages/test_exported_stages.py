"""Exports of runs with stages: picks for the next stage count, and its jobs have captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import crucible_batch as api

SHORT_JOBS = True
STAGES = """\
{name: draft, prompt: "a heron {{ repeat }}", repeat: 3, params: {size.width: 64, size.height: 64}}
{name: "final-{{ source.name }}", from: "draft*", pick: picks.txt, workflow: upscale-2x}"""


async def test_picks_and_prompts_of_sources(start: Any, tmp_path: Path) -> None:
    async with start() as bench:
        manifest = bench.manifest(STAGES)
        result = await bench.run(manifest)
        api.pick(result.run_dir, ["draft-1", "draft-3/0"])
        done = api.export(result.run_dir, tmp_path / "picked", form="captions", picked=True)
        assert done.pictures == 2
        result = await bench.run(manifest)
    api.export(result.run_dir, tmp_path / "to", form="captions")
    captions = {path.name: path.read_text() for path in (tmp_path / "to").glob("*.txt")}
    assert captions == {
        "draft-1-0.txt": "a heron 1",
        "draft-2-0.txt": "a heron 2",
        "draft-3-0.txt": "a heron 3",
        "final-draft-1-0.txt": "a heron 1",
        "final-draft-3-0.txt": "a heron 3",
    }
