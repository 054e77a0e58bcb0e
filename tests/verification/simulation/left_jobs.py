"""Jobs that were begun and that the manifest has no longer: they are in the journal, and not in the
report.

What is in flight is collected, and nothing else: no submit of one is sent again, and a lost one is
not looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crucible_batch.core.events import (
    Accepted,
    AssetEvent,
    Event,
    Held,
    JobLost,
    Missed,
    Prepared,
    Relocated,
    Repriced,
    Saved,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.report import JobRow

LEDGER_KINDS = frozenset({"Refunded", "Consumed", "RefundForgotten"})
"""Events that say what the gateway's ledger shows of an attempt, or doesn't: not what became of its
job.
"""


@dataclass(frozen=True, slots=True)
class LeftJobs:
    """Keys of their newest attempts, by what has become of them.

    ``in_doubt``: it may have been sent and was never answered. ``unfinished``: the gateway has it,
    or its outputs are not all saved. ``lost``: the gateway did not know it.
    """

    in_doubt: frozenset[str]
    unfinished: frozenset[str]
    lost: frozenset[str]

    @classmethod
    def of(cls, events: Sequence[tuple[str, Event]], rows: Sequence[JobRow]) -> LeftJobs:
        newest: dict[str, Event] = {}
        keys: dict[str, str] = {}
        for subject, event in events:
            # What the ledger shows of an earlier attempt may come at any time, and an output may be
            # moved at any time.
            if isinstance(event, AssetEvent | Relocated) or type(event).__name__ in LEDGER_KINDS:
                continue
            newest[subject] = event
            if isinstance(event, Held):
                keys[subject] = event.key
        there = {row.idempotency_key for row in rows}
        left = {
            keys[subject]: event
            for subject, event in newest.items()
            if keys.get(subject, "") not in {*there, ""}
        }

        def ending_in(*kinds: type[Event]) -> frozenset[str]:
            return frozenset(key for key, event in left.items() if isinstance(event, kinds))

        # With images, a submit is sent only after they are ready.
        held = frozenset(
            key for key, event in left.items() if isinstance(event, Held) and not event.images
        )
        return cls(
            in_doubt=held | ending_in(Prepared, SubmitUnknown),
            unfinished=ending_in(Accepted, Repriced, Succeeded, Saved, Missed),
            lost=ending_in(JobLost),
        )
