"""Polling, in simulated time: how soon an end is seen and for how many polls, beside the public
guides' loop.

The client is the product's own scheduler and its own limit of jobs in flight, on stories whose
chance is seeded. Nothing here depends on the machine: the same command prints the same figures
everywhere.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from benchmarks.row import Row
from benchmarks.simulated_client import Played, fixed, oracle, ours
from benchmarks.simulated_gateway import (
    Order,
    Sample,
    Story,
    Tenants,
    heavy_tailed,
    labelled,
    lognormal,
    sampled,
)

_EIGHT = {"a": 8.0}
_TWO = {"short": 4.0, "long": 30.0}
_CAP = 4.0
"""The rate of polls a second, where one is given:

2,000 jobs in flight have one each in 500 seconds.
"""
_BUSY = Tenants(every_s=20.0, together=20, service_s=8.0)

Pair = tuple[Played, Played]
"""The guides' loop and ours, on the same story."""


def rows(quick: bool) -> Iterator[Row]:
    """Measure polling.

    ``quick`` plays one seed instead of two: the times are simulated, so that each says the same.
    """
    seeds = [1] if quick else [1, 2]
    for what, goal, story in _delays():
        pairs = _pairs(story, seeds)
        reached, polls = _ratio(pairs), _polls(pairs)
        yield Row(
            f"polling: delay until an end is detected, {what}",
            f"{goal}x fixed 5 s, at no more polls",
            f"{reached:.2f}x, at {polls:.2f}x the polls",
            reached <= goal and polls <= 1,
            _figures(pairs),
        )
    yield _makespan(seeds)
    yield _budget(seeds)
    for what, goal, stories in _troubles():
        pairs = [pair for story in stories for pair in _pairs(story, seeds)]
        worst = max(_ratio([pair]) for pair in pairs)
        yield Row(
            f"polling: {what}",
            f"{goal}x fixed 5 s at worst",
            f"{worst:.2f}x",
            worst <= goal,
            _figures(pairs),
        )


def _story(sample: Sample, expected_s: dict[str, float], **more: object) -> Callable[[int], Story]:
    story = Story([], expected_s)
    return lambda seed: replace(story, jobs=sampled(sample, 2000, seed), seed=seed, **more)


def _delays() -> Iterator[tuple[str, float, Callable[[int], Story]]]:
    yield "lognormal service times, 40 in flight", 0.65, _story(lognormal, _EIGHT)
    yield "two labelled workflows, 40 in flight", 0.65, _story(labelled, _TWO)
    yield (
        "2,000 in flight, 4 polls a second",
        0.1,
        _story(lognormal, _EIGHT, in_flight=2000, polls_per_s=_CAP),
    )


def _troubles() -> Iterator[tuple[str, float, Sequence[Callable[[int], Story]]]]:
    yield "a heavy tail", 1.0, [_story(heavy_tailed, _EIGHT)]
    yield (
        "estimates wrong by a factor of three, in both directions",
        0.65,
        [
            *(_story(lognormal, {"a": 8.0 * off}) for off in (3, 1 / 3)),
            *(
                _story(labelled, {name: mean * off for name, mean in _TWO.items()})
                for off in (3, 1 / 3)
            ),
        ],
    )
    yield (
        "others' jobs in the same queue",
        0.65,
        [_story(lognormal, _EIGHT, tenants=_BUSY), _story(labelled, _TWO, tenants=_BUSY)],
    )
    yield (
        "jobs that do not run in order, 40 in flight",
        1.25,
        [
            _story(sample, times, order=order)
            for sample, times in ((lognormal, _EIGHT), (labelled, _TWO))
            for order in (Order.ANY, Order.LAST_FIRST)
        ],
    )
    yield (
        "jobs that do not run in order, 2,000 in flight",
        1.25,
        [_story(lognormal, _EIGHT, in_flight=2000, polls_per_s=_CAP, order=order)
         for order in (Order.ANY, Order.LAST_FIRST)],
    )  # fmt: skip


def _pairs(story: Callable[[int], Story], seeds: Sequence[int]) -> list[Pair]:
    return [(fixed(story(seed)), ours(story(seed))) for seed in seeds]


def _ratio(pairs: Sequence[Pair]) -> float:
    return statistics.fmean(mine.delay_s for _, mine in pairs) / statistics.fmean(
        loop.delay_s for loop, _ in pairs
    )


def _polls(pairs: Sequence[Pair]) -> float:
    return max(mine.polls / loop.polls for loop, mine in pairs)


def _figures(pairs: Sequence[Pair]) -> str:
    def mean(of: Callable[[Played], float], side: int) -> float:
        return statistics.fmean(of(pair[side]) for pair in pairs)

    delays = " to ".join(f"{mean(lambda played: played.delay_s, side):.2f} s" for side in (0, 1))
    polls = " to ".join(f"{mean(lambda played: played.polls, side):.2f}" for side in (0, 1))
    longest = max(max(mine.delays) for _, mine in pairs)
    return f"mean delay {delays}, polls a job {polls}, longest delay {longest:.0f} s"


def _makespan(seeds: Sequence[int]) -> Row:
    """How much longer a run takes that finds its number in flight than one that keeps all runners
    at work for sure."""
    stories = [
        story(seed)
        for story in (
            _story(lognormal, _EIGHT, in_flight=None),
            _story(labelled, _TWO, in_flight=None),
        )
        for seed in seeds
    ]
    found = [ours(story) for story in stories]
    best = [oracle(story) for story in stories]
    longer = statistics.fmean(
        mine.makespan_s / told.makespan_s for mine, told in zip(found, best, strict=True)
    )
    in_flight = statistics.fmean(statistics.fmean(mine.in_flight) for mine in found)
    return Row(
        "polling: makespan with -c auto, 20 runners",
        "1.01x an oracle's",
        f"{longer:.3f}x",
        longer <= 1.01,
        f"{in_flight:.1f} jobs in flight on average, determined by the run",
    )


def _budget(seeds: Sequence[int]) -> Row:
    """How far the polls ever were above the given rate, by a bucket that holds one poll."""
    over = 0.0
    for seed in seeds:
        for in_flight in (40, 2000):
            over = max(
                over,
                _over(ours(_story(lognormal, _EIGHT, in_flight=in_flight, polls_per_s=_CAP)(seed))),
            )
    return Row(
        "polling: polls above a rate of 4 a second",
        "none",
        f"{over:.2f} polls",
        over <= 0,
        "one poll, plus those within a timer resolution of 50 ms, may be sent together",
    )


def _over(played: Played) -> float:
    level, before, over = 0.0, 0.0, 0.0
    for at in played.polled_at:
        level = max(level - (at - before) * _CAP, 0.0) + 1
        before, over = at, max(over, level - 1 - 0.05 * _CAP)
    return round(over, 6)
