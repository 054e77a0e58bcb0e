"""A job of a later stage has a picture to begin with, and its output is a composite."""

from __future__ import annotations

from typing import Any

from tests.features.synthetic.test_marked_runs import MARK, files
from tests.harness.source_type import COMPOSITE, TRAINED, source_types

SHORT_JOBS = True
TWO = """
{name: draft, prompt: a png}
{name: large, from: draft, workflow: upscale-2x}
"""


async def test_the_second_stage_is_a_composite_and_no_lost_file_buys_it_again(
    painting: Any,
) -> None:
    async with painting() as bench:
        await bench.run(bench.manifest(TWO, head=MARK))
        found = files(bench.path / "out")
        assert {name: source_types(content) for name, content in found.items()} == {
            "draft/0.png": [TRAINED],
            "large-draft/0.png": [COMPOSITE],
        }
        (bench.path / "out/draft/0.png").unlink()
        result = await bench.run(bench.manifest(TWO, head="provenance: {embed: true}\n"))
        assert len((await bench.agree(result))["jobs"]) == 2
        assert files(bench.path / "out") == found
