"""What was derived goes with the outputs of a run that is pruned; what was edited stays."""

from __future__ import annotations

from typing import Any

from crucible_batch.features.prune.pruning import plan_pruning, prune_runs
from crucible_batch.features.prune.retention import RetentionRules
from tests.features.derive.test_derived_runs import FORMS, THREE, files

SHORT_JOBS = True


async def test_derived_files_are_deleted_unless_they_were_changed(painting: Any) -> None:
    async with painting() as bench:
        manifest = bench.manifest(THREE, head=FORMS)
        runs = bench.path / "runs"
        await bench.run(manifest, out_dir=runs / "old")
        sizes = sum(map(len, files(runs / "old").values()))
        await bench.clock.sleep(1000)
        await bench.run(manifest, out_dir=runs / "new", run_id="new")
        (runs / "old/web/b-0.jpg").write_bytes(b"edited")
        now = bench.clock.now() + 100_000
        rules = RetentionRules(older_than_s=1.0)
        plan = plan_pruning(runs, rules=rules, now=now)
        pruned = prune_runs(plan, now=now)
        (old,) = pruned.going
        assert old.kept == ("web/b-0.jpg",)
        assert list(files(runs / "old")) == ["web/b-0.jpg"]
        assert old.deleted is not None
        assert old.deleted < sizes + 1_000_000
        assert len(files(runs / "new")) == 12
