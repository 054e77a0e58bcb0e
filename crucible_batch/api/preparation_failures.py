"""The notification of an error while a run is prepared, before it has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from crucible_batch.api.request import RunRequest
from crucible_batch.manifest import Manifest
from crucible_batch.settings import Settings


@contextmanager
def preparation_failures_notified(manifest: Manifest, request: RunRequest, settings: Settings | None) -> Iterator[None]:
    """Notify a failure of the block, which prepares a run outside of an event loop, and raise its error again.

    Without settings, nothing is notified.
    """
    try:
        yield
    except BaseException as error:
        if settings is not None and request.notify and manifest.notify:
            # Loaded only then: whether another run is active is decided in a fraction of the time that this takes.
            from crucible_batch.api.notifying import RunNotices  # noqa: PLC0415 - see above
            from crucible_batch.engine import SystemClock  # noqa: PLC0415 - see above

            notices = RunNotices(manifest, request, settings, SystemClock(), can_ask=False)
            asyncio.run(notices.fail(error))
        raise
