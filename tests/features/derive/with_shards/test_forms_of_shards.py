"""Outputs of shards are derived by the first run of the manifest after they are merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import ExitCode, UserError
from tests.features.derive.test_derived_runs import FORMS, WEBP, derived

SHORT_JOBS = True
FOXES = "{name: fox, prompt: a png, repeat: 4}"
BUDGET = "100, max_credits_per_job: 5"


async def test_shards_derive_nothing_and_the_run_after_the_merge_all(painting: Any) -> None:
    async with painting() as bench:
        saved, out = bench.path / "plan.json", bench.path / "out"
        manifest = bench.manifest(FOXES, budget=BUDGET, head=FORMS)
        options: dict[str, Any] = {"settings": bench.settings}
        await api.plan(manifest, shards=2, save_to=saved, out_dir=out, **options)
        for shard in ("1/2", "2/2"):
            ran = await api.run(saved, shard=shard, html=False, **options)
            assert ran.exit_code is ExitCode.OK
        assert list(bench.path.rglob("*.webp")) == []
        api.merge([out])
        whole = await bench.run(manifest)
        assert whole.exit_code is ExitCode.OK
        assert whole.report.credits.bought == 4 * 2
        assert len((await bench.agree(whole))["jobs"]) == 4
        assert len(derived(out)) == 12


@pytest.mark.parametrize("shards", [None, 2])
async def test_a_plan_for_an_object_store_is_refused(
    painting: Any, tmp_path: Path, shards: int | None
) -> None:
    async with painting() as bench:
        manifest = bench.manifest(FOXES, budget=BUDGET, head=WEBP)
        with pytest.raises(UserError, match="can't be derived in an object store"):
            await api.plan(
                manifest,
                shards=shards,
                save_to=bench.path / "plan.json" if shards else None,
                out_dir=f"file://{tmp_path}/shared/winter",
                settings=bench.settings,
            )
        assert not (bench.path / "plan.json").exists()
