"""A probe waits for refunds that are late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.probing import probe
from crucible_batch.runs.request import RunRequest
from tests.integration.engine.test_missing_refunds import capped, foxes, most_net, stop_of

SHORT_JOBS = True


@pytest.mark.parametrize("comes_after_s", [60, 900])
async def test_a_probe_waits_for_refunds_without_which_no_job_fits(
    start: Any, comes_after_s: int
) -> None:
    """Its price is known, and no job is left whose purchase would wait for them."""
    async with start(
        faults="fail=1,fail=2,fail=3,refund-late:1", refund_late_s=comes_after_s
    ) as bench:
        manifest = bench.manifest(foxes(4), **capped(6))
        request = RunRequest(
            manifest,
            out_dir=bench.path / "out",
            features=(DivisionOptions(2),),
            wait_for_gateway_s=300,
        )
        async with asyncio.timeout(2000):
            found = await probe(request, bench.path / "plan.json", settings=bench.settings)
        assert found is not None
        assert await most_net(bench) <= 6
    if comes_after_s < 300:
        assert found.may_divide
        assert (found.run.report.credits.spent, found.run.report.credits.held) == (2, 0)
        return
    assert (found.run.exit_code, found.may_divide) == (4, False)
    assert "fox" in stop_of(found.run).message
    assert (found.run.report.credits.spent, found.run.report.credits.held) == (0, 6)
