"""What the gateway counts, and how it is shown at /_stats."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stats:
    requests: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)  # reasons, any API request
    submits_refused: Counter[str] = field(default_factory=Counter)
    submits_accepted: int = 0
    submits_replayed: int = 0
    accepted_at: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # by workflow
    levels: list[tuple[float, int]] = field(default_factory=list)  # time, jobs in flight from then on
    caps: list[tuple[float, int]] = field(default_factory=list)
    charges_by_key: Counter[str] = field(default_factory=Counter)
    charges_by_subject: Counter[str] = field(default_factory=Counter)
    downloaded: set[str] = field(default_factory=set)
    last_download: float | None = None
    uploads: int = 0
    keys_at_storage: int = 0  # requests to storage that carried the API key

    def as_json(self) -> dict[str, Any]:
        times = sorted(at for each in self.accepted_at.values() for at in each)
        first, last = (times[0], times[-1]) if times else (None, None)
        mean = cap = None
        if first is not None and self.last_download is not None:
            tenth = (self.last_download - first) / 10
            mean = weighted_mean(self.levels, first + tenth, self.last_download - tenth)
            cap = weighted_mean(self.caps, first + tenth, self.last_download - tenth)
        return {
            "requests": dict(self.requests),
            "refused": dict(self.refused),
            "submits": {
                "accepted": self.submits_accepted,
                "replayed": self.submits_replayed,
                "refused": dict(self.submits_refused),
            },
            "first_accepted": first,
            "last_accepted": last,
            "last_download": self.last_download,
            "accepted_at": self.accepted_at,
            "most_in_flight": max((level for _, level in self.levels), default=0),
            "mean_in_flight": mean,
            "cap_use": mean / cap if mean is not None and cap else None,
            "downloaded": len(self.downloaded),
            "charged": sum(self.charges_by_subject.values()),
            "keys_charged_twice": sum(count > 1 for count in self.charges_by_key.values()),
            "jobs_charged_twice": sum(count > 1 for count in self.charges_by_subject.values()),
            "charges_by_key": dict(self.charges_by_key),
            "uploads": self.uploads,
            "keys_at_storage": self.keys_at_storage,
            "cpu_s": time.process_time(),
        }


def weighted_mean(steps: list[tuple[float, int]], start: float, end: float) -> float | None:
    """Mean by time, between two times, of a level that changes at the `steps`."""
    if not steps or end <= start:
        return None
    area = 0.0
    for (at, level), (until, _) in zip(steps, [*steps[1:], (end, 0)], strict=True):
        area += level * max(0.0, min(until, end) - max(at, start))
    return area / (end - start)
