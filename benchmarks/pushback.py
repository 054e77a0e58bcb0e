"""The limit of concurrent jobs against gateways that push back, in simulated time, beside an
oracle.

``python -m benchmarks.pushback`` prints each scene. Nothing depends on the machine: the same
command prints the same figures.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.pushback_world import Record, Rule, Scene, World
from benchmarks.row import Row
from crucible_batch.core.gateway_types import JobStatus
from crucible_batch.pace.concurrency import MOST_BY_ITSELF, initial_limit
from crucible_batch.pace.request_rate import RequestRate

MakeRule = Callable[[int | None], Rule]


class Unlimited(RequestRate):
    """Requests that never wait for each other."""

    def poll_answered(self, now: float, *, is_refused: bool) -> None:
        """It does not change."""


class Fixed:
    """A limit that never changes: an oracle, where it is told the best."""

    def __init__(self, limit: int) -> None:
        self.limit = float(limit)
        self.requests = Unlimited()

    @property
    def allowed(self) -> int:
        return max(1, int(self.limit))

    def next_submit_at(self, now: float, _unanswered: int) -> float:
        return now

    def submitted(self, now: float) -> None:
        """It does not pace."""

    def accepted(self) -> None:
        """It does not change."""

    def refused(self, now: float, sent_at: float, retry_after_s: float, in_flight: int) -> None:
        """It does not change."""

    def ended(self, sent_at: float, job_s: float) -> None:
        """It does not pace."""

    def polled(self, status: JobStatus) -> None:
        """It does not change."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a scene went: the share of the oracle's pace or of the limit, and the share of submits
    refused.
    """

    used: float
    refused: float


def strays() -> Iterator[tuple[str, float, Scene]]:
    """Yield scenes of refusals by chance, each with the share of the oracle's pace that is to be
    reached."""
    for share, goal in ((0.002, 0.9), (0.01, 0.9), (0.04, 0.8), (0.1, 0.8)):
        for retry_after_s in (None, 0.0, 2.0, 60.0) if share == 0.01 else (None, 2.0):
            yield (
                _named(f"stray {share:.1%}", retry_after_s),
                goal,
                Scene(stray=share, retry_after_s=retry_after_s),
            )
    yield "stray 1.0%, -c 128", 0.9, Scene(stray=0.01, concurrency=128)
    yield "stray 1.0%, jobs of 8 s", 0.9, Scene(stray=0.01, service_s=8.0)
    yield "stray 4.0% of submits alone", 0.8, Scene(stray=0.04, strays_of_submits=True)
    yield "stray 10.0% of submits alone", 0.8, Scene(stray=0.1, strays_of_submits=True)


def caps() -> Iterator[tuple[str, Scene]]:
    """Yield scenes of gateways that take so many jobs at once."""
    for cap in (1, 2, 8, 20, 200):
        for retry_after_s in (None, 2.0):
            jobs = min(6000, 200 * cap)
            yield (
                _named(f"cap {cap}", retry_after_s),
                Scene(cap=cap, retry_after_s=retry_after_s, jobs=jobs),
            )
    yield "cap 20, -c 128", Scene(cap=20, concurrency=128)
    yield "cap 20, jobs of 8 s", Scene(cap=20, service_s=8.0, jobs=1500)
    yield "cap 20, stray 1.0%", Scene(cap=20, stray=0.01)
    yield "cap 40, others take up to 60%", Scene(cap=40, others=0.6)
    yield "cap 64, then 8", Scene(cap=64, later_cap=(3.0, 8), jobs=2000)
    yield "cap 8, then 64", Scene(cap=8, later_cap=(4.0, 64), jobs=6000)


def rates() -> Iterator[tuple[str, Scene]]:
    """Yield scenes of gateways that take so many requests a second, of all kinds or of submits
    alone."""
    for rps in (5.0, 60.0, 500.0):
        jobs = int(min(4000, 60 * rps))
        for retry_after_s in (None, 2.0):
            yield (
                _named(f"{rps:.0f} requests/s", retry_after_s),
                Scene(rps=rps, retry_after_s=retry_after_s, jobs=jobs),
            )
        yield f"{rps:.0f} requests/s, by the second", Scene(rps=rps, by_the_second=True, jobs=jobs)
        yield f"{rps:.0f} submits/s", Scene(rps=rps, rps_of_submits=True, jobs=jobs)
        yield (
            f"{rps:.0f} submits/s, no burst",
            Scene(rps=rps, rps_of_submits=True, burst_s=0.0, jobs=jobs),
        )


def _named(what: str, retry_after_s: float | None) -> str:
    return what if retry_after_s is None else f"{what}, Retry-After: {retry_after_s:.0f}"


def beside_chance(scene: Scene, rule: MakeRule) -> Result:
    """Play a scene of strays beside an oracle that knows that they are chance."""
    oracle = World(scene, lambda concurrency: Fixed(concurrency or MOST_BY_ITSELF)).play()[0]
    record = World(scene, rule).play()[0]
    return Result(record.pace() / oracle.pace(), _refused([record]))


def beside_cap(scene: Scene, rule: MakeRule) -> Result:
    """Play a scene with a cap beside an oracle that is told it, and of changes at once, and sees
    ends by polls too."""
    world = World(scene, rule)
    record = world.play()[0]
    told = scene
    if scene.later_cap is not None:
        at, cap = scene.later_cap
        told = replace(scene, cap=cap, later_cap=None)
        record = replace(record, made=[time for time in record.made if time > at])
    share = 1 - statistics.fmean(world.gateway.taken or [0]) / (scene.cap or 1)
    oracle = World(
        replace(told, others=0.0, stray=0.0),
        lambda _concurrency: Fixed(told.cap or 1),
        counts_polled=True,
    ).play()[0]
    return Result(record.pace() / (share * oracle.pace()), _refused([record]))


def beside_rate(scene: Scene, rule: MakeRule) -> Result:
    """Play a scene with a rate: what is used of it by requests that were not refused."""
    assert scene.rps is not None
    record = World(scene, rule).play()[0]
    times = sorted(record.accepted if scene.rps_of_submits else record.answered)
    times = times[int(len(times) * 0.15) : int(len(times) * 0.95)]
    clean = World(replace(scene, rps=None), rule).play()[0]
    per_job = 1.0 if scene.rps_of_submits else len(record.answered) / len(record.made)
    most = min(scene.rps, clean.pace() * per_job)
    return Result((len(times) - 1) / (times[-1] - times[0]) / most, _refused([record]))


def outage_trips(scene: Scene, rule: MakeRule) -> float:
    """Return the round trips of a job from the first accepted one after the outage to 90 % of the
    pace before it."""
    assert scene.outage is not None
    record = World(scene, rule).play()[0]
    begin, end = scene.outage
    trip_s = scene.service_s + 0.1
    before = sum(begin - 1.0 <= time < begin for time in record.made)
    first = min(time for time in record.accepted if time > end)
    for trips in range(100):
        at = first + trips * trip_s
        if sum(at <= time < at + trip_s for time in record.made) / trip_s >= 0.9 * before:
            return trips
    return 100.0


def fairness(scene: Scene, rule: MakeRule) -> float:
    """Return Jain's index of the jobs that the runs made in the second half."""
    counts = [
        sum(time > scene.until_s / 2 for time in record.made)
        for record in World(scene, rule).play()
    ]
    return sum(counts) ** 2 / (len(counts) * sum(count * count for count in counts))


def _refused(records: Sequence[Record]) -> float:
    return sum(record.refused for record in records) / sum(record.submits for record in records)


def _median(
    scene: Scene, play: Callable[[Scene, MakeRule], Result], rule: MakeRule, seeds: Sequence[int]
) -> Result:
    results = [play(replace(scene, seed=seed), rule) for seed in seeds]
    return Result(
        statistics.median(result.used for result in results),
        statistics.median(result.refused for result in results),
    )


def rows(quick: bool) -> Iterator[Row]:
    """Measure the product's rule. ``quick`` plays one seed instead of five."""
    seeds = [1] if quick else [1, 2, 3, 4, 5]
    for share in ("0.2%", "1.0%", "4.0%", "10.0%"):
        played = [
            (what, goal, _median(scene, beside_chance, initial_limit, seeds))
            for what, goal, scene in strays()
            if share in what
        ]
        worst = min(played, key=lambda item: item[2].used)
        goal = worst[1]
        yield Row(
            f"pushback: pace with {share} stray answers, beside an oracle",
            f">= {goal:.2f}x in each scene",
            f"{worst[2].used:.2f}x",
            worst[2].used >= goal,
            f"{len(played)} scenes; the worst: {worst[0]}",
        )
    yield from _limits("a cap of jobs in flight", caps(), beside_cap, seeds)
    yield from _limits("a limit of requests a second", rates(), beside_rate, seeds)
    trips = [
        outage_trips(
            Scene(outage=(3.0, 6.0), retry_after_s=asked_s, seed=seed, runners=128), initial_limit
        )
        for seed in seeds
        for asked_s in (None, 2.0)
    ]
    yield Row(
        "pushback: after an outage, until the old pace is reached again",
        "<= 10 round trips",
        f"{max(trips):.0f}",
        max(trips) <= 10,
        "from the first job accepted; the worst of the seeds, with and without Retry-After",
    )
    index = statistics.median(
        fairness(
            Scene(cap=40, clients=4, apart_s=apart_s, jobs=10**6, until_s=80.0, seed=seed),
            initial_limit,
        )
        for seed in seeds
        for apart_s in (0.0, 0.5)
    )
    what = "started together, and half a second apart"
    yield Row(
        "pushback: four runs on one cap of 40, Jain's index",
        ">= 0.9",
        f"{index:.2f}",
        index >= 0.9,
        what,
    )


def _limits(
    what: str,
    scenes: Iterator[tuple[str, Scene]],
    play: Callable[[Scene, MakeRule], Result],
    seeds: Sequence[int],
) -> Iterator[Row]:
    played = [(name, _median(scene, play, initial_limit, seeds)) for name, scene in scenes]
    name, least = min(played, key=lambda item: item[1].used)
    count = len(played)
    yield Row(
        f"pushback: use of {what}",
        ">= 0.80x in each scene",
        f"{least.used:.2f}x",
        least.used >= 0.8,
        f"{count} scenes; the least: {name}",
    )
    name, most = max(played, key=lambda item: item[1].refused)
    yield Row(
        f"pushback: submits refused at {what}",
        "< 15 % in each scene",
        f"{most.refused:.0%}",
        most.refused < 0.15,
        f"{count} scenes; the most: {name}",
    )


def main() -> None:
    """Print each scene, or those whose names contain the argument."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    scenes = [
        *((what, scene, beside_chance) for what, _, scene in strays()),
        *((what, scene, beside_cap) for what, scene in caps()),
        *((what, scene, beside_rate) for what, scene in rates()),
    ]
    print(f"{'':38}   used  refused")
    for what, scene, play in scenes:
        if only in what:
            result = _median(scene, play, initial_limit, [1, 2, 3])
            print(f"{what:38} {result.used:6.2f} {result.refused:8.1%}", flush=True)


if __name__ == "__main__":
    main()
