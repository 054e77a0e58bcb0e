"""A rejection names the bytes that the gateway sent, so a mark that is added changes none."""

from __future__ import annotations

from typing import Any

from crucible_batch.features.redo.rejecting import rejects_file_of
from tests.features.synthetic.test_marked_runs import MARK, files
from tests.harness.source_type import TRAINED, source_types

SHORT_JOBS = True


async def test_a_marked_output_is_rejected_by_what_was_sent_and_bought_again_once(
    painting: Any,
) -> None:
    async with painting() as bench:
        manifest = bench.manifest("{name: a, prompt: a png}", head=MARK)
        result = await bench.run(manifest)
        (row,) = result.jobs()
        sent = row.outputs[0].sent
        assert sent is not None
        rejects_file_of(bench.path / "out").write_text(f"a/0 g0 {sent.sha256[:12]}\n")
        again = await bench.run(manifest)
        assert len((await bench.state())["jobs"]) == 2
        await bench.run(manifest)
        assert len((await bench.agree(again))["jobs"]) == 2
        (row,) = again.jobs()
        assert [take.sent.sha256 for take in row.takes if take.sent] == [sent.sha256]
        for content in files(bench.path / "out").values():
            assert source_types(content) == [TRAINED]
