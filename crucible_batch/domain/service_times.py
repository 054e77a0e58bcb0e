"""Service times: how long jobs of each workflow typically run, learned from polls."""

from __future__ import annotations

_WEIGHT = 1 / 64  # the least weight of one job: a change of speed is learned within about as many


class ServiceTime:
    """A typical time: a mean, in which recent jobs weigh more once there are many."""

    def __init__(self, expected_s: float | None = None) -> None:
        """Start from half of a workflow's own estimate, if any: polling late costs more than a few polls."""
        self.typical_s = None if expected_s is None else expected_s / 2
        self._jobs = 0 if expected_s is None else 1

    def record(self, shortest_s: float, longest_s: float) -> None:
        """Record that a job took a time between two: a poll shows only that it has ended since the previous poll."""
        time_s = (shortest_s + longest_s) / 2
        known_s = time_s if self.typical_s is None else self.typical_s
        self._jobs += 1
        self.typical_s = known_s + max(1 / self._jobs, _WEIGHT) * (time_s - known_s)


class ServiceTimes:
    """The service times of all workflows."""

    def __init__(self) -> None:
        self._times: dict[str, ServiceTime] = {}

    def announce(self, workflow_id: str, expected_s: float | None) -> None:
        """Set a workflow's own estimate, before its first job. One that isn't positive is ignored."""
        if expected_s is not None and expected_s > 0:
            self._times.setdefault(workflow_id, ServiceTime(expected_s))

    def of(self, workflow_id: str) -> ServiceTime:
        """Return the service time of a workflow: the same object each time."""
        return self._times.setdefault(workflow_id, ServiceTime())
