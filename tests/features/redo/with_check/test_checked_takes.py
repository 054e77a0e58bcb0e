"""``check`` of a run with takes: all of them are compared, and what counts is restored."""

from __future__ import annotations

from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.features.redo.rejecting import reject

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SHEET = (
    '{name: sheet, prompt: "heron", workflow: zimage-sheet,'
    " params: {size.width: 64, size.height: 64}}"
)


async def test_a_lost_output_of_an_earlier_generation_is_restored(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(SHEET, head="rejects: rejects.txt\n")
        await bench.run(manifest)
        run_dir = bench.path / "out"
        reject(run_dir, ["sheet/1"])
        result = await bench.run(manifest)
        (row,) = result.jobs()
        lost = row.outputs[0]
        assert lost.generation == 0
        content = lost.path.read_bytes()
        lost.path.unlink()
        found = await api.check_outputs(run_dir, settings=bench.settings)
        assert (found.exit_code, found.checked, found.retired) == (7, 4, 2)
        fixed = await api.check_outputs(run_dir, fix=True, settings=bench.settings)
        assert fixed.exit_code == 0
        assert lost.path.read_bytes() == content
        assert (await bench.run(manifest)).ok
        assert len((await bench.state())["jobs"]) == 2
        audit = await api.check_ledger(run_dir, settings=bench.settings)
        assert audit.ok
