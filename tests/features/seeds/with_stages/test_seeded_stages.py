"""Seeds of jobs that are made from the outputs of other jobs."""

from __future__ import annotations

from typing import Any

from crucible_batch.core.events import Accepted
from crucible_batch.errors import ExitCode
from tests.harness.stopped_runs import stop_after

SHORT_JOBS = True

STAGES = """
{name: fox, prompt: a fox, repeat: 2}
{name: "edit-{{ source.name }}", from: "fox*", workflow: qwen-edit, prompt: sharper}
{name: "big-{{ source.name }}", from: "edit*", workflow: upscale-2x, seeds: none}
"""


async def test_made_jobs_have_seeds_and_keep_them_after_a_kill(start: Any, watcher: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(STAGES, head="seeds: derived\n")
        await stop_after(bench, watcher, manifest, Accepted, 3)
        result = await bench.run(manifest)
        state = await bench.agree(result)
    assert result.exit_code is ExitCode.OK
    assert len(state["jobs"]) == 6
    rows = {row.name: row.params.get("sampler.seed") for row in result.jobs()}
    assert len({rows[name] for name in rows if not name.startswith("big")}) == 4
    assert all(rows[name] is None for name in rows if name.startswith("big"))
