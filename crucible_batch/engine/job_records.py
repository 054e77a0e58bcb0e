"""The prices in jobs' own records (``GET /jobs/ID``), whichever request read them."""

from __future__ import annotations

from crucible_batch.core.attempt import Attempt, AttemptStatus, record_differs
from crucible_batch.core.credits import Credits
from crucible_batch.core.events import Settled
from crucible_batch.core.gateway_types import JobSnapshot, JobStatus
from crucible_batch.core.prices import Shape


class PriceRecords:
    """Keeps for each job the record with the highest price until ``differing`` takes it."""

    def __init__(self) -> None:
        self._read: dict[str, JobSnapshot] = {}

    def note(self, record: JobSnapshot) -> None:
        """Keep a record if its price is not below the kept one's."""
        known = self._read.get(record.job_id)
        if known is None or record.credits >= known.credits:
            self._read[record.job_id] = record

    def differing(self, attempt: Attempt) -> Credits | None:
        """Return the price in the record of an attempt's job; None if the ledger has that price
        already."""
        read = self._read.pop(attempt.job_id or "", None)
        if read is None:
            return None
        is_final = read.status is JobStatus.SUCCEEDED
        if not record_differs(attempt, read.credits, is_final=is_final):
            return None
        return read.credits


def settled_as(attempt: Attempt, shape: Shape) -> Settled | None:
    """Return what the ledger has of a succeeded attempt; None for any other."""
    if attempt.status is not AttemptStatus.SUCCEEDED:
        return None
    return Settled(
        attempt.credits,
        shape.price_class,
        shape.digest,
        reused=attempt.reused,
        differed=attempt.recorded is not None,
    )
