"""The output of a job that a check has failed is not exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import crucible_batch as api

SHORT_JOBS = True
JOBS = """\
{name: small, prompt: a, checks: {size: {min: [9999, 1], then: fail}}}
{name: flagged, prompt: b, checks: {size: {min: [9999, 1]}}}"""


async def test_outputs_of_failed_jobs_stay_out_and_flagged_ones_do_not(
    start: Any, tmp_path: Path
) -> None:
    async with start() as bench:
        result = await bench.run(bench.manifest(JOBS))
    assert (result.run_dir / "small" / "0.png").is_file()
    api.export(result.run_dir, tmp_path / "to", form="captions")
    names = sorted(path.name for path in (tmp_path / "to").glob("[!.]*"))
    assert names == ["flagged-0.png", "flagged-0.txt"]
