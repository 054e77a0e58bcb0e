"""When to look at a running job again.

The first look comes when the job is likely to be done; the later ones at a fraction of its age, so that the delay in
seeing the end is a fraction of the wait itself. All jobs together stay below a rate, whatever their number.
"""

from __future__ import annotations

FIRST_LOOK_S = 0.4
SHORTEST_S = 0.2
LONGEST_S = 5.0
"""The public guides' own interval; no job is looked at more rarely unless the rate demands it."""
MAX_POLLS_PER_S = 40.0


def next_look_s(age_s: float, expected_s: float | None, in_flight: int) -> float:
    """Return the seconds to wait before a job is looked at again.

    ``age_s`` is the time since it was accepted, ``expected_s`` the service time seen or announced for its workflow
    (None: nothing is known), ``in_flight`` the number of jobs that are looked at.
    """
    expected = FIRST_LOOK_S if expected_s is None else expected_s
    wait = expected - age_s if age_s < 0.9 * expected else max(age_s, expected) * 0.2
    return max(min(max(wait, SHORTEST_S), LONGEST_S), in_flight / MAX_POLLS_PER_S)


class ServiceTimes:
    """Service times seen so far, by workflow: an exponentially weighted mean, begun from what metadata announces.

    What is measured is the time from acceptance to the look that saw the end, so it holds the queue's wait as well.
    """

    _WEIGHT = 0.2

    def __init__(self) -> None:
        self._expected: dict[str, float] = {}

    def announce(self, workflow_id: str, expected_s: float | None) -> None:
        """Take a workflow's own estimate; what has been seen since outweighs it."""
        if expected_s is not None and expected_s > 0:
            self._expected.setdefault(workflow_id, expected_s)

    def saw(self, workflow_id: str, service_s: float) -> None:
        """Take in one job's time from acceptance to the look that saw its end."""
        known = self._expected.get(workflow_id, service_s)
        self._expected[workflow_id] = known + self._WEIGHT * (service_s - known)

    def expected_s(self, workflow_id: str) -> float | None:
        return self._expected.get(workflow_id)
