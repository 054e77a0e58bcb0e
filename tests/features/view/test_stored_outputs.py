"""The viewer reads outputs from an object store."""

from __future__ import annotations

import asyncio

from crucible_batch.features.view.watching import Watch
from tests.harness.object_store import URL
from tests.integration.engine.test_object_runs import ONE

HAS_PAGES = True


SHORT_JOBS = True


async def test_a_watch_opens_outputs_from_the_store(start, store):
    async with start() as bench:
        result = await bench.run(bench.manifest(ONE), out_dir=URL)
        watch = Watch(result.run_dir)
        output = watch.output("a/0.png")
        assert output is not None
        file = await asyncio.to_thread(watch.open, output)
        assert file.read() == store.content["a/0.png"]
