"""Seeds of jobs that are run in shards."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.core.sharding import ShardId
from crucible_batch.errors import ExitCode, SavedPlanError
from crucible_batch.features.seeds.rule import MARKER, derived_seed
from crucible_batch.features.shards.run import ShardRows
from crucible_batch.saved_plan import SavedPlan, read_saved_plan

SHORT_JOBS = True

HEAD = "seeds: derived\n"
FOXES = "{name: fox, prompt: a fox, repeat: 4}"


async def test_shards_send_the_seeds_of_the_plan(start: Any) -> None:
    async with start() as bench:
        saved, out = bench.path / "plan.json", bench.path / "out"
        manifest = bench.manifest(FOXES, budget="100, max_credits_per_job: 5", head=HEAD)
        options: dict[str, Any] = {"settings": bench.settings}
        await api.plan(manifest, shards=2, save_to=saved, out_dir=out, **options)
        planned = json.loads(saved.read_text())["jobs"]
        for shard in ("1/2", "2/2"):
            ran = await api.run(saved, shard=shard, html=False, **options)
            assert ran.exit_code is ExitCode.OK
        merged = api.merge([out])
        whole = await bench.run(manifest)
        sent = [job["params"]["sampler.seed"] for job in (await bench.state())["jobs"]]
    assert whole.exit_code is ExitCode.OK
    assert merged.report.counts.succeeded == 4
    assert sorted(sent) == sorted(derived_seed(row["identity"]) for row in planned)


async def test_a_row_without_its_marker_has_another_identity(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        saved, out = bench.path / "plan.json", bench.path / "out"
        manifest = bench.manifest(FOXES, budget="100, max_credits_per_job: 5", head=HEAD)
        await api.plan(manifest, shards=1, save_to=saved, out_dir=out, settings=bench.settings)
    plan, shard = read_saved_plan(saved), ShardId(1, 1)
    planned = list(ShardRows(plan, shard, bench.path).jobs())
    assert all(each.markers == {"sampler.seed": MARKER} for each in planned)
    rows = [replace(row, markers={}) for row in plan.shard_rows(1)]
    monkeypatch.setattr(SavedPlan, "shard_rows", lambda *_: iter(rows))
    with pytest.raises(SavedPlanError, match="has another identity than its content"):
        list(ShardRows(plan, shard, bench.path).jobs())
