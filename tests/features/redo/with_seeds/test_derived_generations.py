"""Rejected jobs with derived seeds: each generation is sent its own."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from crucible_batch.core.identity import content_of
from crucible_batch.features.redo.rejecting import reject
from crucible_batch.features.seeds.rule import derived_seed
from crucible_batch.journal import Journal

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HEROES = '{name: hero, prompt: "heron {{ repeat }}", repeat: 2}'
HEAD = "seeds: derived\nrejects: rejects.txt\n"


async def test_each_generation_is_sent_a_seed_of_its_own_also_after_a_loss(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(HEROES, head=HEAD)
        result = await bench.run(manifest)
        for _ in range(2):
            reject(result.run_dir, ["hero-2"])
            result = await bench.run(manifest)
            assert result.ok
        state = await bench.agree(result)
        with Journal.read(result.run_dir) as journal:
            content = {job.name: content_of(job.identity) for job in journal.plan()}
        seeds = [derived_seed(content["hero-2"], number) for number in range(3)]
        sent = [job["params"]["sampler.seed"] for job in state["jobs"]]
        assert sorted(sent) == sorted([derived_seed(content["hero-1"]), *seeds])
        rows = {row.name: row for row in result.jobs()}
        assert rows["hero-1"].params["sampler.seed"] == derived_seed(content["hero-1"])
        assert rows["hero-2"].params["sampler.seed"] == seeds[2]
        assert len({*seeds}) == 3
        report = json.loads((result.run_dir / "report.json").read_text())
        assert [row["params"]["sampler.seed"] for row in report["jobs"]][1] == seeds[2]
        shutil.rmtree(result.run_dir)
        found = await bench.run(manifest)
        assert found.ok
        assert (await bench.state())["jobs"] == state["jobs"]
        assert [row.params for row in found.jobs()] == [row.params for row in result.jobs()]
