"""A job's list of outputs, which may still be incomplete when the job has succeeded.

An output is identified by the gateway's number for it (``output_index``). Our index counts outputs
from 0 in the order in which they were first listed, so a list that grows, or has gaps, never
renames a saved file:

    listed first     listed later     our indices 0, 1, 2 are the gateway's
    0                0 1 2            0 1 2
    2                0 1 2            2 0 1
    0 1              1                0 1        an output that was listed once stays expected
    1 4              1 4              1 4
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_OUTPUTS = 64
"""The contract makes one image for each job (``size.batch_size`` is 1); some workflows may add
masks or previews. The limit ends a list that shows other numbers at each poll."""


def merge_output_lists(
    known: Sequence[int] | None, expected: int, listed: Sequence[int]
) -> tuple[int, ...] | None:
    """Return the gateway's numbers of all outputs after one more poll, in the order of our indices.

    ``known`` is None for a job that was restored from receipts, which have only the count: its
    outputs are then those listed first. Returns None if fewer than ``expected`` are listed for such
    a job.
    """
    if known is None:
        if len(listed) < expected:
            return None
        known = listed[:expected]
    new = [number for number in listed if number not in known]
    return (*known, *new)[: max(MOST_OUTPUTS, len(known))]
