"""Where the budget ends, a divided run ends with 4, also if only jobs are left whose images can't
be paid for."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import crucible_batch as api
from crucible_batch.core.budget import BUDGET_EXHAUSTED
from crucible_batch.errors import ExitCode
from crucible_batch.features.registry import plan_kind_of
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.probing import probe
from crucible_batch.runs.next_step import group_failures, next_of_run
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.request import RunRequest
from tests.harness.in_doubt import leave_in_doubt

SHORT_JOBS = True

SHARDS = 3


def capped(budget: int, per_job: int) -> str:
    maxima = f"max_credits_per_job: {per_job}, max_credits_per_upload: 0.5"
    return f"budget: {{credits: {budget}, {maxima}}}\n"


def photos(bench: Any, count: int) -> str:
    """Return jobs with an image each. One of them costs 3, and its upload 0.5."""
    rows = []
    for number in range(count):
        name = bench.picture(f"{number}.png", f"#{number:02x}8040")
        rows.append(f"{{name: p{number}, prompt: at night, workflow: qwen-edit, image: {name}}}")
    return "\n".join(rows)


async def check_ended_by_budget(bench: Any, result: Any, budget: int) -> None:
    """No row of the ledger is above the budget, and the jobs that it had no room for are blocked by
    it."""
    state = await bench.state()
    assert max(
        1000 - row["balance_after"] + row["reserved_after"] for row in state["ledger"]
    ) <= Decimal(budget)
    counts = result.report.counts
    assert result.exit_code == result.report.exit_code == ExitCode.OUT_OF_CREDITS
    assert result.report.status == "blocked"
    assert counts.succeeded == sum(job["status"] == "succeeded" for job in state["jobs"]) > 0
    assert counts.pending == 0
    assert counts.succeeded + counts.blocked == counts.total
    assert BUDGET_EXHAUSTED in {stop.code for stop in result.report.stops.values()}
    blocked = [row for row in api.read_status(bench.path / "out").jobs() if row.status == "blocked"]
    assert len(blocked) == counts.blocked
    assert all(row.error is not None and row.error.message and row.error.hint for row in blocked)


async def test_merged_shards_without_the_jobs_whose_images_can_not_be_paid_for_end_with_4(
    start: Any,
) -> None:
    async with start() as bench:
        manifest = bench.manifest(photos(bench, 12), budget=None, head=capped(22, 4))
        plan, out = bench.path / "plan.json", bench.path / "out"
        await _divided(bench, manifest, plan, out)
        for number in range(1, SHARDS + 1):
            shard = await api.run(plan, shard=f"{number}/{SHARDS}", settings=bench.settings)
            assert shard.exit_code == ExitCode.OK
        await check_ended_by_budget(bench, api.merge([out]), 22)
        written = api.read_status(out).report
        assert written.exit_code == ExitCode.OUT_OF_CREDITS
        again = await bench.run(manifest, budget=Decimal(60))
        assert again.exit_code == ExitCode.OK
        assert again.report.counts.succeeded == 12
        await bench.agree(again)


async def test_a_submit_in_doubt_is_sent_with_the_budget_that_is_proposed(
    start: Any, tampered: Any
) -> None:
    async with start() as bench:
        manifest = bench.manifest(
            "{name: t, prompt: text, repeat: 4}", budget=None, head=capped(8, 2)
        )
        await leave_in_doubt(bench, tampered, manifest, answered=3, arrives=True)
        result = await bench.run(manifest, budget=Decimal(7))
        assert (result.exit_code, result.report.counts.unknown) == (ExitCode.STOPPED, 1)
        assert result.report.is_short_of_budget
        failures = group_failures(result.report, result.jobs())
        step = next_of_run(
            result.report, result.run_dir, failures, "crucible-batch run m.yaml --budget 7"
        )
        assert str(step) == "crucible-batch run m.yaml --budget 8"
        again = await bench.run(manifest, budget=Decimal(8))
        assert (again.exit_code, again.report.counts.succeeded) == (ExitCode.OK, 4)
        await bench.agree(again)


async def _divided(bench: Any, manifest: Path, plan: Path, out: Path) -> None:
    request = RunRequest(manifest, out_dir=out, features=(DivisionOptions(SHARDS),))
    probed = await probe(request, plan, settings=bench.settings)
    assert probed is None or probed.may_divide
    await plan_request(request, plan_kind_of, plan, settings=bench.settings)
