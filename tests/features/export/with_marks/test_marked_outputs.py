"""With ``picked``, only the pictures are exported that a page has saved as picked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import crucible_batch as api
from crucible_batch.features.marks.page_posts import answer

SHORT_JOBS = True
THREE = '{name: heron, prompt: "a heron {{ repeat }}", repeat: 3}'


async def test_only_picked_pictures_are_exported(start: Any, tmp_path: Path) -> None:
    to = tmp_path / "to"
    async with start() as bench:
        result = await bench.run(bench.manifest(THREE))
    rows = {row.name: row.outputs[0].sha256[:12] for row in result.jobs()}
    keys = {name: f"{name}/0 {digits}" for name, digits in rows.items()}
    marks = {
        keys["heron-1"]: {"mark": "picked"},
        keys["heron-2"]: {"rating": 5},
        f"heron-3/0 {'0' * 12}": {"mark": "picked"},  # other bytes
    }
    answer(result.run_dir, json.dumps({"marks": marks}).encode())
    done = api.export(result.run_dir, to, form="captions", picked=True)
    assert done.pictures == 1
    assert sorted(path.name for path in to.glob("[!.]*")) == ["heron-1-0.png", "heron-1-0.txt"]
    answer(result.run_dir, json.dumps({"rejected": [keys["heron-1"]]}).encode())
    answer(result.run_dir, json.dumps({"marks": {keys["heron-2"]: {"mark": "picked"}}}).encode())
    done = api.export(result.run_dir, to, form="captions", picked=True)
    assert (done.pictures, done.removed) == (1, 2)
    assert sorted(path.name for path in to.glob("[!.]*")) == ["heron-2-0.png", "heron-2-0.txt"]
    assert api.export(result.run_dir, tmp_path / "all", form="captions").pictures == 2
