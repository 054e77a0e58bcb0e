"""Checks of outputs that are made from one another."""

from __future__ import annotations

from typing import Any

SHORT_JOBS = True
HAS_PAGES = True


async def test_an_enlarged_output_is_not_a_duplicate_of_its_source(drawn: Any) -> None:
    jobs = "{name: draft, prompt: a}\n{name: final, from: draft, workflow: upscale-2x}"
    async with drawn() as bench:
        result = await bench.run(bench.manifest(jobs, head="checks: {duplicate: fail}\n"))
    assert result.exit_code == 0
    assert all(not output.checks for row in result.jobs() for output in row.outputs)
