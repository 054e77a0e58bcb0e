"""An output that is bought again is another one for ``after``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from crucible_batch.core.events import Saved
from crucible_batch.core.plan import PlannedJob
from crucible_batch.features.redo.rejecting import reject
from crucible_batch.runs.output_programs import OutputPrograms, ProgramEnd

SHORT_JOBS = True
TWO = '{name: heron, prompt: "a heron {{ repeat }}", repeat: 2}'


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found = list[str]()

    async def run(
        _programs: OutputPrograms, _words: Any, _limit: Any, planned: PlannedJob, saved: Saved
    ) -> ProgramEnd:
        found.append(f"{planned.name}/{saved.index} g{planned.generation}")
        return ProgramEnd(0, "", "")

    monkeypatch.setattr(OutputPrograms, "run", run)
    return found


async def test_a_retake_is_a_new_output_and_its_rejected_take_is_not_run_again(
    start: Any, asked: list[str]
) -> None:
    async with start() as bench:
        manifest = bench.manifest(TWO, head="after: [/bin/true]\n")
        first = await bench.run(manifest, allow_command=True)
        reject(first.run_dir, ["heron-1"])
        result = await bench.run(manifest, allow_command=True)
        await bench.run(manifest, allow_command=True)
    assert Counter(asked) == {"heron-1/0 g0": 1, "heron-2/0 g0": 1, "heron-1/0 g1": 1}
    assert result.report.after is not None
    assert result.report.after.done == 2


async def test_an_output_that_was_rejected_before_it_was_run_for_is_left_out(
    start: Any, asked: list[str]
) -> None:
    async with start() as bench:
        first = await bench.run(bench.manifest(TWO))
        reject(first.run_dir, ["heron-1"])
        manifest = bench.manifest(TWO, head="after: [/bin/true]\n")
        await bench.run(manifest, allow_command=True)
    assert sorted(asked) == ["heron-1/0 g1", "heron-2/0 g0"]
