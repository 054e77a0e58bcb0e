"""Which line each job draws: equally often, with few changes, and the same everywhere."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.features.draw.rule import drawn
from tests.harness.case_table import each_case

COUNTS = st.integers(1, 120)
SEEDS = st.integers(-(2**70), 2**70)
NAMES = st.sampled_from(["hair", "pose", "ä"])
LINES = st.integers(1, 40)


@each_case(
    "seed, name, lines, count, indexes",
    [
        (7, "hair", 3, 12, [1, 1, 0, 2, 2, 0, 2, 1, 0, 2, 0, 1]),
        (8, "hair", 3, 12, [1, 0, 2, 2, 1, 0, 0, 1, 0, 1, 2, 2]),
        (7, "pose", 3, 12, [0, 0, 2, 0, 1, 2, 1, 0, 1, 1, 2, 2]),
        (-1, "größe", 2, 5, [0, 0, 0, 1, 1]),
        (0, "many", 8, 3, [1, 4, 3]),
        (1208925819614629174706176, "a", 1, 2, [0, 0]),
    ],
)
def test_draws_never_change(
    seed: int, name: str, lines: int, count: int, indexes: list[int]
) -> None:
    """Golden vectors: with other draws, all jobs would be bought again."""
    assert drawn(seed, name, lines, count) == indexes


def test_another_process_draws_the_same() -> None:
    here = drawn(7, "hair", 30, 200)
    code = "from crucible_batch.features.draw.rule import drawn; print(drawn(7, 'hair', 30, 200))"
    for seed in ("0", "1"):
        made = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert made.stdout == f"{here}\n"


@given(SEEDS, NAMES, LINES, COUNTS)
def test_each_line_is_drawn_equally_often(seed: int, name: str, lines: int, count: int) -> None:
    uses = Counter(drawn(seed, name, lines, count))
    numbers = [uses[line] for line in range(lines)]
    assert sum(numbers) == count
    assert max(numbers) - min(numbers) <= 1


@given(SEEDS, NAMES, LINES, COUNTS)
def test_a_line_at_the_end_changes_its_share_of_the_jobs(
    seed: int, name: str, lines: int, count: int
) -> None:
    before, after = drawn(seed, name, lines, count), drawn(seed, name, lines + 1, count)
    changed = [now for then, now in zip(before, after, strict=True) if then != now]
    assert set(changed) <= {lines}
    assert len(changed) <= math.ceil(count / (lines + 1))


def test_a_list_grows_line_by_line_with_few_changes() -> None:
    for count in (1, 7, 200, 333):
        steps = [drawn(7, "hair", lines, count) for lines in range(1, 60)]
        for lines, (before, after) in enumerate(pairwise(steps), 1):
            changes = sum(then != now for then, now in zip(before, after, strict=True))
            assert changes <= math.ceil(count / (lines + 1))


def deviation(pairs: Counter[tuple[int, int]], expected: float, cells: int) -> float:
    """Return the statistic of a test of independence."""
    unseen = (cells - len(pairs)) * expected
    return sum((seen - expected) ** 2 / expected for seen in pairs.values()) + unseen


@each_case("lines, others", [(10, 10), (10, 5), (7, 12)])
def test_lists_of_a_manifest_do_not_depend_on_each_other(lines: int, others: int) -> None:
    """Over 40 seeds, the chi-squared of all pairs of lines lies where that of chance does."""
    count, freedom = 420, (lines - 1) * (others - 1)
    total = 0.0
    for seed in range(40):
        pairs = zip(drawn(seed, "a", lines, count), drawn(seed, "b", others, count), strict=True)
        total += deviation(Counter(pairs), count / lines / others, lines * others)
    error = math.sqrt(2 * freedom / 40)
    assert abs(total / 40 - freedom) < 4 * error


def test_each_job_draws_each_line_over_all_seeds() -> None:
    count, lines = 10, 7
    draws = [drawn(seed, "hair", lines, count) for seed in range(2100)]
    for job in range(count):
        seen = Counter(draw[job] for draw in draws)
        assert min(seen.values()) > 230
        assert max(seen.values()) < 370


def test_long_lists_are_drawn_from_as_a_whole() -> None:
    indexes = drawn(7, "words", 5000, 200)
    assert len(set(indexes)) == 200
    assert max(indexes) > 4500
    assert 2000 < sum(indexes) / 200 < 3000


def test_neighbours_in_the_list_are_not_neighbours_among_the_jobs() -> None:
    indexes = drawn(7, "hair", 20, 2000)
    equal = sum(first == second for first, second in pairwise(indexes))
    assert 60 < equal < 140
