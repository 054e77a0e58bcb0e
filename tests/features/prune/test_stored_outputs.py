"""Nothing is pruned in an object store."""

from __future__ import annotations

from crucible_batch.features.prune.pruning import plan_pruning
from crucible_batch.features.prune.retention import RetentionRules
from tests.harness.object_store import URL
from tests.integration.engine.test_object_runs import ONE

HAS_PAGES = True


SHORT_JOBS = True


async def test_prune_keeps_a_run_whose_outputs_are_in_a_store(start, store):
    async with start() as bench:
        result = await bench.run(bench.manifest(ONE), out_dir=URL)
        before = dict(store.content)
        planned = plan_pruning(result.run_dir.parent, rules=RetentionRules(keep=1), now=4e9)
        assert planned.going == []
        assert "where prune deletes nothing" in str(planned.runs[0].error)
        assert store.content == before
