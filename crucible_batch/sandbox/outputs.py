"""The bytes of outputs: drawn when first asked for, off the event loop, and kept for a while."""

import asyncio
from collections import OrderedDict

from crucible_batch.sandbox.records import Job
from crucible_batch.sandbox.render import render
from crucible_batch.sandbox.store import Store

_KEPT = 64


class Outputs:
    """Outputs by job and index. The same job always gives the same bytes, so nothing needs to be stored."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    async def content(self, job: Job, index: int) -> bytes:
        """Give the bytes of one output."""
        place = (job.job_id, index)
        if place not in self._kept:
            # Read here, since SQLite connections belong to the thread that opened them.
            source = self._store.blob(job.source_sha256) if job.source_sha256 else None
            self._kept[place] = await asyncio.to_thread(render, job, index, source)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(place)
        return self._kept[place]
