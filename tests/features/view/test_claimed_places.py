"""A place that a journal claims for an output is not shown."""

from __future__ import annotations

import pytest

import crucible_batch as api
from crucible_batch.features.view.watching import Watch
from crucible_batch.runs.reporting import write_report_again
from tests.harness.claimed_places import OURS, contents, edit

HAS_PAGES = True


SHORT_JOBS = True


@pytest.mark.parametrize("path", OURS)
async def test_no_command_that_reads_shows_or_writes_beside_such_a_file(start, path) -> None:
    async with start() as bench:
        head = "provenance: {sidecar: true}\n"
        await bench.run(bench.manifest("{name: a, prompt: one}", head=head))
        out = bench.path / "out"
        edit(bench, path=path, output=path)
        (out / "a/0.png.json").unlink()
        before = contents(bench)
        write_report_again(out)
        planned = await api.plan(bench.path / "m.yaml", out_dir=out, settings=bench.settings)
        after = {
            name: content
            for name, content in contents(bench).items()
            if "/.crucible/thumbnails/" not in name
        }
        watch = Watch(out)
        watch.look()
        (shown,) = watch.newest(1)
        with pytest.raises(OSError, match="not the path of an output"):
            watch.open(shown)
    assert after == {
        name: content for name, content in before.items() if "/.crucible/thumbnails/" not in name
    }
    assert planned.states["done"] == 1
