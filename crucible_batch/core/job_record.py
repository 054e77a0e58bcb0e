"""Whether a record of the gateway (``GET /jobs/ID``) can be that of a planned job.

A record does not hold its key.
"""

from __future__ import annotations

from decimal import Decimal

from crucible_batch.core.gateway_types import JobSnapshot
from crucible_batch.core.plan import PlannedJob


def matches_record(planned: PlannedJob, record: JobSnapshot) -> bool:
    """Whether a record may be that of a job: not if it names another workflow or other parameters.

    Only texts and numbers that both have are compared. Input images are not: an image that was
    uploaded again has another asset id under the same key.
    """
    if record.workflow_id not in {"", planned.workflow_id}:
        return False
    shared = planned.params.keys() & record.params.keys()
    return not any(_differs(planned.params[name], record.params[name]) for name in shared)


def _differs(sent: object, recorded: object) -> bool:
    """Compare by value: a gateway may store 8 as 8.0, and trim texts. It replaces a negative number
    (a random seed).
    """
    if isinstance(sent, str) and isinstance(recorded, str):
        return sent.split() != recorded.split()
    if _is_number(sent) and _is_number(recorded):
        number = Decimal(str(sent))
        return number >= 0 and number != Decimal(str(recorded))
    return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
