"""Which jobs the judge takes for begun and no longer in the manifest, and in which state."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.core.events import (
    Accepted,
    Event,
    Failed,
    Held,
    HoldReleased,
    JobLost,
    Listed,
    Prepared,
    Saved,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from tests.verification.simulation.left_jobs import LeftJobs

ERROR = ErrorInfo("X", "x")
D = Decimal
HELD = Held(at=1.0, attempt=1, key="k", credits=D(2), price_class="workflow:w", images=False)
WITH_IMAGES = Held(at=1.0, attempt=1, key="k", credits=D(2), price_class="workflow:w", images=True)
PREPARED = Prepared(at=2.0, assets={}, credits=D(2))
ACCEPTED = Accepted(at=2.0, job_id="j", credits=D(2), reused=False)
SUCCEEDED = Succeeded(at=3.0, outputs=1, numbers=(0,))
SAVED = Saved(
    at=4.0,
    index=0,
    path="0.png",
    sha256="ab" * 32,
    byte_size=1,
    mime_type="image/png",
    width=1,
    height=1,
)

ENDS: list[tuple[list[Event], str | None]] = [
    ([HELD], "in_doubt"),
    ([WITH_IMAGES], None),
    ([WITH_IMAGES, PREPARED], "in_doubt"),
    ([HELD, SubmitUnknown(at=2.0, error=ERROR)], "in_doubt"),
    ([HELD, HoldReleased(at=2.0, error=ERROR)], None),
    ([HELD, ACCEPTED], "unfinished"),
    ([HELD, ACCEPTED, SUCCEEDED], "unfinished"),
    ([HELD, ACCEPTED, SUCCEEDED, SAVED], "unfinished"),
    ([HELD, ACCEPTED, SUCCEEDED, SAVED, Listed(at=5.0, numbers=(0,))], None),
    ([HELD, ACCEPTED, Failed(at=3.0, error=ERROR)], None),
    ([HELD, ACCEPTED, JobLost(at=3.0, error=ERROR)], "lost"),
]


@pytest.mark.parametrize(("events", "kind"), ENDS)
def test_a_job_is_what_its_newest_event_shows_unless_the_report_has_it(
    events: list[Event], kind: str | None
) -> None:
    journal = [("a", event) for event in events]
    for key, is_left in (("other", True), ("k", False)):
        row: Any = SimpleNamespace(idempotency_key=key)
        left = LeftJobs.of(journal, [row])
        found = {name for name in ("in_doubt", "unfinished", "lost") if getattr(left, name)}
        assert found == ({kind} if kind is not None and is_left else set())
