"""Jobs that are made from the outputs of other jobs: one run, runs that are killed, and directories that are lost."""

from __future__ import annotations

from typing import Any

STAGES = """
    {name: draft, prompt: "heron {{ repeat }}", repeat: 3}
    {name: "final-{{ source.name }}", from: "draft*", workflow: upscale-2x}
"""


async def test_each_output_becomes_a_job_of_the_next_stage(start: Any) -> None:
    async with start() as bench:
        result = await bench.run(bench.manifest(STAGES))
        await bench.agree(result)
        rows = list(result.jobs())
        assert result.ok, [(row.name, row.status, row.error) for row in rows]
        assert [row.name for row in rows] == [
            "draft-1", "draft-2", "draft-3", "final-draft-1", "final-draft-2", "final-draft-3",
        ]  # fmt: skip
        for draft, final in zip(rows[:3], rows[3:], strict=True):
            (output,) = draft.outputs
            assert final.source is not None
            assert final.source.model_dump() == {
                "name": draft.name, "index": 0, "path": output.path, "sha256": output.sha256,
            }  # fmt: skip
            assert final.images == {"image.image": output.sha256}
