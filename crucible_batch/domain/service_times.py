"""Service times: how long jobs take, learned from polls, as one table of hazards by age for each workflow.

A poll doesn't show when a job ended, only that it did so since the previous poll. So an end is distributed over the
ages in that interval in proportion to their likelihood by the table itself (the self-consistent estimate of Turnbull,
1976), and every age that a job survived counts as exposure. Running jobs count from the start: a table of ended jobs
alone would be biased towards short ones.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

_SHORTEST_AGE_S = 0.02
_STEPS_PER_OCTAVE = 4
_OCTAVES = 20
_EDGES = (
    0.0,
    *(_SHORTEST_AGE_S * 2 ** (step / _STEPS_PER_OCTAVE) for step in range(_OCTAVES * _STEPS_PER_OCTAVE + 1)),
)
"""The edges of the age bins in seconds, a quarter of an octave apart, up to six hours. The last bin has no end."""
_WIDTHS = tuple(after - before for before, after in itertools.pairwise(_EDGES))

_VAGUE_ENDS = 0.005
"""The prior number of ends in each bin, with a hazard of one over the age: a job is as likely to end between two and
four seconds as between four and eight. Keeps each hazard above 0, so that every job is polled again."""
_ESTIMATED_ENDS = 1.0
"""The weight of the workflow's own estimate, in observed jobs: a few ends outweigh one that is off by a factor of 3."""
_ESTIMATED_SIGMA = 0.7
_MEMORY = 400.0
"""The number of ends that a table remembers: a change of a workflow's speed is learned after about as many."""
_FORGOTTEN_TOGETHER = 16
"""Forgetting updates the whole table, so it is done once per this many ends, at negligible cost."""


class Hazards:
    """The hazards of one workflow's jobs by age in seconds. ``expected_s`` is the workflow's own estimate, if any."""

    def __init__(self, expected_s: float | None = None) -> None:
        self.expected_s = expected_s
        self.begun = 0
        """The number of jobs that were awaited."""
        self.seen = 0
        """The number of them that were seen to end."""
        self._ends = [_VAGUE_ENDS] * len(_WIDTHS)
        self._risks = [_VAGUE_ENDS * upper for upper in _EDGES[1:]]
        self._total: list[float] = []
        if expected_s is not None:
            self._suppose(expected_s)

    def survived(self, from_s: float, to_s: float) -> None:
        """Record that a job still ran at age ``to_s``. ``from_s`` is the age up to which that was known before."""
        for bin_, width in _within(from_s, to_s):
            self._risks[bin_] += width

    def ended(self, from_s: float, to_s: float) -> None:
        """Record that a job ended between two ages."""
        parts = list(_within(from_s, max(to_s, from_s + _SHORTEST_AGE_S / 2)))
        later = 1.0
        for (bin_, width), share in zip(parts, self._shares(parts), strict=True):
            later -= share
            self._ends[bin_] += share
            self._risks[bin_] += width * (later + share / 2)
        self.seen += 1
        if self.seen > _MEMORY and self.seen % _FORGOTTEN_TOGETHER == 0:
            self._forget()
        self._total = []

    def total(self, age_s: float) -> float:
        """Return the cumulative hazard up to an age: a job has ended by that age with probability 1 - exp(-total)."""
        if not self._total:
            self._sum_up()
        bin_ = min(bisect.bisect_right(_EDGES, age_s), len(_WIDTHS)) - 1
        return self._total[bin_] + (age_s - _EDGES[bin_]) * self._ends[bin_] / self._risks[bin_]

    def age_after(self, age_s: float, hazard: float) -> float:
        """Return the age at which the cumulative hazard has grown by ``hazard`` since ``age_s``."""
        total = self.total(age_s) + hazard
        bin_ = min(bisect.bisect_right(self._total, total), len(_WIDTHS)) - 1
        return _EDGES[bin_] + (total - self._total[bin_]) * self._risks[bin_] / self._ends[bin_]

    def done(self, from_s: float, to_s: float) -> float:
        """Return the probability that a job which still ran at age ``from_s`` has ended by age ``to_s``."""
        return -math.expm1(self.total(max(from_s, 0.0)) - self.total(max(to_s, from_s, 0.0)))

    def _shares(self, parts: Sequence[tuple[int, float]]) -> list[float]:
        """Return how one end is distributed over parts of bins, by the table's own hazards. The shares add up to 1."""
        alive, shares = 1.0, []
        for bin_, width in parts:
            left = alive * math.exp(-width * self._ends[bin_] / self._risks[bin_])
            shares.append(alive - left)
            alive = left
        whole = math.fsum(shares)
        return [share / whole if whole > 0 else 1 / len(shares) for share in shares]

    def _sum_up(self) -> None:
        total, sums = 0.0, []
        for ends, risk, width in zip(self._ends, self._risks, _WIDTHS, strict=True):
            sums.append(total)
            total += width * ends / risk
        self._total = sums

    def _suppose(self, expected_s: float) -> None:
        """Initialise the table as if one job had been seen that took about the workflow's own estimate."""
        alive = 1.0
        for bin_, width in enumerate(_WIDTHS):
            left = 0.5 * math.erfc(math.log(_EDGES[bin_ + 1] / expected_s) / (_ESTIMATED_SIGMA * math.sqrt(2)))
            self._ends[bin_] += _ESTIMATED_ENDS * (alive - left)
            self._risks[bin_] += _ESTIMATED_ENDS * width * (alive + left) / 2
            alive = left

    def _forget(self) -> None:
        kept = (1 - 1 / _MEMORY) ** _FORGOTTEN_TOGETHER
        self._ends = [ends * kept for ends in self._ends]
        self._risks = [risk * kept for risk in self._risks]


def _within(from_s: float, to_s: float) -> Iterator[tuple[int, float]]:
    """Yield the bins between two ages, each with its seconds that lie between them."""
    from_s = max(from_s, 0.0)
    bin_ = bisect.bisect_right(_EDGES, from_s) - 1
    while from_s < to_s:
        if bin_ >= len(_WIDTHS) - 1:
            yield len(_WIDTHS) - 1, to_s - from_s
            return
        until = min(to_s, _EDGES[bin_ + 1])
        yield bin_, until - from_s
        from_s, bin_ = until, bin_ + 1


class ServiceTimes:
    """The tables of all workflows, each initialised from the workflow's own estimate."""

    def __init__(self) -> None:
        self._expected: dict[str, float] = {}
        self._running: dict[str, Hazards] = {}
        self._waiting: dict[str, Hazards] = {}

    def announce(self, workflow_id: str, expected_s: float | None) -> None:
        """Set a workflow's own estimate, before its first job. Observed jobs soon outweigh it."""
        if expected_s is not None and expected_s > 0:
            self._expected.setdefault(workflow_id, expected_s)

    def of(self, workflow_id: str) -> Hazards:
        """Return the table by the age since a job began to run."""
        return _table(self._running, workflow_id, self._expected)

    def since_accepted(self, workflow_id: str) -> Hazards:
        """Return the table by the age since a job was accepted, for gateways that don't run jobs in submit order."""
        return _table(self._waiting, workflow_id, self._expected)


def _table(tables: dict[str, Hazards], workflow_id: str, expected: Mapping[str, float]) -> Hazards:
    table = tables.get(workflow_id)
    if table is None:
        table = tables[workflow_id] = Hazards(expected.get(workflow_id))
    return table


_FIRST_MEAN = 32.0
_FIRST_VARIANCE = 32.0**2
_WIDEST = 512.0**2
_NARROWEST = 0.25
_DRIFT_PER_S = 0.02
"""The growth of the variance per second, since jobs of other accounts come and go: about one job per minute."""
_ROUNDING = 0.25
"""The variance from counting whole jobs but estimating fractions."""
_SURPRISING_Z = 2.5
_WIDENING = 2.0
"""The factor by which the variance grows if successive answers near the boundary agree: the estimate is further off."""
_FADES = 0.95


class RunnerCount:
    """An estimate of how many jobs the gateway runs at once. ``mean`` may be a fraction."""

    def __init__(self) -> None:
        self.mean = _FIRST_MEAN
        self.skew = 0.0
        """The estimated error of the number of jobs that have ended but were not yet polled since."""
        self._variance = _FIRST_VARIANCE
        self._moved_at: float | None = None
        self._last_answer: bool | None = None

    @property
    def is_vague(self) -> bool:
        """Whether the estimate is too uncertain to be used."""
        return self._variance > max(9.0, self.mean * self.mean / 25)

    def begun(self, ended: float) -> float:
        """Return how many jobs have begun to run in all if ``ended`` jobs have ended."""
        return self.mean + ended + self.skew

    def answer(self, number: int, began: bool, ended: float, ended_variance: float, now: float) -> bool:
        """Record whether the job with this number in submit order, from 0, has begun.

        ``ended`` is the estimated number of other jobs that have ended, seen or not, and ``ended_variance`` its
        variance. Returns True if the answer contradicts the estimate by more than ``_SURPRISING_Z`` deviations.
        """
        self._drift(now)
        sign = 1.0 if began else -1.0
        noise = ended_variance + _ROUNDING
        spread = math.sqrt(self._variance + noise)
        z = sign * (self.begun(ended) - number - 0.5) / spread
        if z < 1:
            if self._last_answer is began:
                self._variance = min(self._variance * _WIDENING, _WIDEST)
            self._last_answer = began
        pull = _pull(z)
        self.mean = max(1.0, self.mean + sign * self._variance / spread * pull)
        self.skew = _FADES * (self.skew + sign * noise / spread * pull)
        left = 1 - self._variance / (self._variance + noise) * pull * (pull + z)
        self._variance = max(_NARROWEST, self._variance * max(left, 0.0))
        return z < -_SURPRISING_Z

    def _drift(self, now: float) -> None:
        if self._moved_at is not None:
            self._variance = min(self._variance + _DRIFT_PER_S * (now - self._moved_at), _WIDEST)
        self._moved_at = now


def _pull(z: float) -> float:
    """Return by how many deviations the mean of a normal variable moves if it turns out to be above ``-z``."""
    if z < -6:  # the asymptote of the tail; the quotient would soon be 0/0
        return -z
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(-z / math.sqrt(2)))
