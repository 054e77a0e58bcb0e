"""Divided plans of a manifest that extends another file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crucible_batch.errors import ExitCode, StalePlanError
from crucible_batch.features.registry import kind_of
from crucible_batch.features.shards.run_options import ShardChoice
from crucible_batch.features.shards.stored_plans import MANIFEST_FILE, fetch_stored_plan
from crucible_batch.manifest import load_manifest
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.request import RunRequest, follow_plan
from crucible_batch.runs.running import run_request
from tests.features.shards.conftest import state_directory
from tests.features.shards.stored_ground import JOBS, ground

SHORT_JOBS = True
__all__ = ["ground", "state_directory"]


async def test_a_machine_that_has_neither_file_runs_a_shard(start: Any, ground: Any) -> None:
    async with start() as bench:
        base = bench.path / "base.yaml"
        base.write_text("retry: {attempts: 2}\n")
        run = ground(bench, head="extends: base.yaml\n")
        summary = await run.divide(1)
        base.unlink()
        run.manifest.unlink()
        with run.on("other"):
            plan = await fetch_stored_plan(ObjectUrl.at(run.url), summary.digest)
            path = plan.path.with_name(MANIFEST_FILE)
            manifest = load_manifest(path)
            assert manifest.sha256 == plan.head.manifest.sha256
            assert manifest.header.retry.attempts == 2
            request = RunRequest(plan.path, html=False, features=(ShardChoice("1/1"),))
            request = replace(follow_plan(request, {}), manifest=path, plan=plan)
            result = await run_request(request, kind_of, settings=bench.settings)
        assert result.exit_code is ExitCode.OK
        assert len(await run.keys()) == JOBS


async def test_a_shard_is_refused_once_the_base_has_changed(start: Any, ground: Any) -> None:
    async with start() as bench:
        base = bench.path / "base.yaml"
        base.write_text("retry: {attempts: 2}\n")
        run = ground(bench, head="extends: base.yaml\n")
        await run.divide(1)
        bought = await run.keys()
        base.write_text("retry: {attempts: 3}\n")
        with pytest.raises(StalePlanError, match="content changed"):
            await run.shard(1, "other", 1)
        assert await run.keys() == bought
