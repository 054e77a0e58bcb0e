"""A job's list of outputs, which the contract doesn't promise to be whole when the job has succeeded.

An output is known by the gateway's own number for it (``output_index``). Our index counts outputs in the order in which
they were first listed, from 0, so that a list that grows, or has gaps, renames nothing that is saved:

    listed first     listed later     our indices 0, 1, 2 are the gateway's
    0                0 1 2            0 1 2
    2                0 1 2            2 0 1
    0 1              1                0 1        what was listed once is asked for still
    1 4              1 4              1 4
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_OUTPUTS = 64
"""The contract makes one image a job (``size.batch_size`` is 1); some workflows may add masks or previews. A list that
shows other numbers at each look ends here."""


def merge_output_lists(known: Sequence[int] | None, expected: int, listed: Sequence[int]) -> tuple[int, ...] | None:
    """Return the gateway's numbers of all outputs after one more look, in the order of our indices.

    ``known`` None is a job of which only the count was noted, by an older release: its outputs are then those listed
    first. None comes back where that is not to be had either.
    """
    if known is None:
        if len(listed) < expected:
            return None
        known = listed[:expected]
    new = [number for number in listed if number not in known]
    return (*known, *new)[: max(MOST_OUTPUTS, len(known))]
