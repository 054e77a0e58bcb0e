"""Rejected outputs are not exported, also if no run has read the rejection yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import ManifestError

SHORT_JOBS = True
TWO = '{name: heron, prompt: "a heron {{ repeat }}", repeat: 2}'


def exported(result: api.RunResult, to: Path) -> dict[str, str]:
    """The digest of each picture in an export, by its job."""
    api.export(result.run_dir, to, form="imagefolder")
    lines = (to / "train" / "metadata.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert sorted(path.name for path in (to / "train").glob("*.png")) == sorted(
        row["file_name"] for row in rows
    )
    return {row["job"]: row["sha256"] for row in rows}


async def test_a_rejected_output_leaves_the_export_and_its_retake_comes(
    start: Any, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    async with start() as bench:
        manifest = bench.manifest(TWO)
        result = await bench.run(manifest)
        before = exported(result, to)
        api.reject(result.run_dir, ["heron-1"])
        assert exported(result, to) == {"heron-2": before["heron-2"]}
        result = await bench.run(manifest)
    after = exported(result, to)
    assert after.keys() == before.keys()
    assert after["heron-1"] != before["heron-1"]
    assert after["heron-2"] == before["heron-2"]


async def test_an_output_whose_rejection_is_taken_back_is_exported_again(
    start: Any, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    async with start() as bench:
        result = await bench.run(bench.manifest(TWO))
    before = exported(result, to)
    api.reject(result.run_dir, ["heron-1"])
    assert len(exported(result, to)) == 1
    api.reject(result.run_dir, ["heron-1"], remove=True)
    assert exported(result, to) == before


async def test_a_file_of_rejections_that_is_invalid_is_an_error(start: Any, tmp_path: Path) -> None:
    """What is rejected is not known then."""
    async with start() as bench:
        result = await bench.run(bench.manifest(TWO))
    (result.run_dir / "rejects.txt").write_text("heron-1\n")
    with pytest.raises(ManifestError):
        api.export(result.run_dir, tmp_path / "to", form="captions")
    assert not (tmp_path / "to").exists()
