"""A journal that contradicts itself about one job: its outputs are checked and restored, and its
ledger is audited.
"""

from __future__ import annotations

import crucible_batch as api
from crucible_batch.errors import ExitCode
from tests.integration.engine.test_contradiction import IN_DOUBT, THREE, contradict


async def test_the_rest_is_checked_restored_and_audited(start) -> None:
    async with start() as bench:
        manifest, out = bench.manifest(THREE, budget=20), bench.path / "out"
        await bench.run(manifest)
        contradict(bench, "a", [("HoldReleased", IN_DOUBT[1][1])])
        found = await api.check_outputs(out)
        assert (found.exit_code, found.checked) == (ExitCode.OK, 3)
        audited = await api.check_ledger(out, settings=bench.settings)
        assert (audited.ok, audited.audit.unanswered) == (True, 1)
        (out / "a/0.png").unlink()
        mended = await api.check_outputs(out, fix=True, settings=bench.settings)
        assert (mended.exit_code, mended.checked) == (ExitCode.OK, 3)
        state = await bench.state()
    assert len(state["jobs"]) == 3
