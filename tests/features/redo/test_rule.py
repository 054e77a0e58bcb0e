"""Which generation is asked for: each row of the table, and what holds for all rejections."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.features.redo.rejections import Rejection
from crucible_batch.features.redo.rule import Choice, KnownGeneration, RedoEnd, choose
from tests.harness.case_table import each_case


def digest(generation: int, index: int = 0) -> str:
    return hashlib.sha256(f"{generation} {index}".encode()).hexdigest()


def made(generation: int, count: int = 1, **changes: object) -> KnownGeneration:
    outputs = {index: digest(generation, index) for index in range(count)}
    return KnownGeneration(outputs, **{"is_complete": True, **changes})  # type: ignore[arg-type]


def line(generation: int, index: int = 0, digits: str | None = None) -> Rejection:
    return Rejection("hero", index, generation, digits or digest(generation, index)[:12])


FIRST, SECOND = made(0), made(1)
UNASKED = KnownGeneration()
SAME = KnownGeneration(FIRST.outputs, is_complete=True)
GONE = KnownGeneration(is_gone=True)


@each_case(
    "lines, known, generation, current, end",
    [
        ([], [], 0, {}, None),
        ([], [FIRST], 0, {0: 0}, None),
        ([], [FIRST, SECOND], 0, {0: 0}, None),
        ([line(0)], [], 0, {}, None),
        ([line(0)], [UNASKED], 0, {}, None),
        ([line(0)], [FIRST], 1, {}, None),
        ([line(0)], [FIRST, UNASKED], 1, {}, None),
        ([line(0)], [FIRST, SECOND], 1, {0: 1}, None),
        ([line(0), line(1)], [FIRST, SECOND], 2, {}, None),
        # An earlier output counts again when its line is taken back.
        ([line(1)], [FIRST, SECOND], 0, {0: 0}, None),
        # The digest counts, not the generation that the line names.
        ([line(7, 0, digest(0)[:12])], [FIRST], 1, {}, None),
        ([line(0, 0, digest(5)[:12])], [FIRST], 0, {0: 0}, None),
        ([line(0, 3, digest(0)[:12])], [FIRST], 0, {0: 0}, None),
        # Each index has its earliest output that is not rejected.
        ([line(0, 1)], [made(0, 3)], 1, {0: 0, 2: 0}, None),
        ([line(0, 1)], [made(0, 3), made(1, 3)], 1, {0: 0, 1: 1, 2: 0}, None),
        ([line(0, 1), line(1, 1)], [made(0, 2), made(1, 2)], 2, {0: 0}, None),
        ([line(0, 1)], [made(0, 2), made(1, 1)], 2, {0: 0}, None),
        # More outputs may come.
        ([line(0, 1)], [made(0, 2), made(1, 1, is_complete=False)], 1, {0: 0}, None),
        ([line(0, 1)], [made(0, 2, is_complete=False)], 1, {0: 0}, None),
        # Bytes that can't be had any more: the generation decides.
        ([line(0)], [GONE], 1, {}, None),
        ([line(1)], [GONE], 0, {}, None),
        ([replace(line(0), name="wolf")], [GONE], 0, {}, None),
        ([], [GONE], 0, {}, None),
        # Ends.
        ([line(0)], [FIRST, SAME], 1, {}, RedoEnd.SAME_OUTPUT),
        ([line(0, 1)], [made(0, 2), made(0, 2)], 1, {0: 0}, RedoEnd.SAME_OUTPUT),
        ([line(n) for n in range(4)], [made(n) for n in range(4)], 3, {}, RedoEnd.REDO_LIMIT),
        # The maximum was lowered after more had been bought.
        ([line(n) for n in range(4)], [made(n) for n in range(5)], 4, {0: 4}, None),
        ([line(n) for n in range(5)], [made(n) for n in range(5)], 4, {}, RedoEnd.REDO_LIMIT),
    ],
)
def test_the_table(
    lines: list[Rejection],
    known: list[KnownGeneration],
    generation: int,
    current: dict[int, int],
    end: RedoEnd | None,
) -> None:
    found = choose(lines, known, name="hero", most=3)
    assert (found.generation, found.current, found.end) == (generation, current, end)


def test_a_fixed_seed_ends_it_and_the_line_is_named() -> None:
    found = choose([line(0)], [FIRST], name="hero", most=3, has_fixed_seed=True)
    assert found == Choice(0, {}, RedoEnd.FIXED_SEED, {(0, 0): line(0)})
    assert found.last == line(0)
    assert choose([], [FIRST], name="hero", most=3, has_fixed_seed=True) == Choice(0, {0: 0})


OUTPUTS = st.integers(1, 3)
REJECTED = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 2)), max_size=12)


def bought(lines: Sequence[Rejection], known: int, count: int, most: int) -> tuple[int, Choice]:
    """Run the rule as runs do, with this many generations known at first: a run asks for what the
    rule wants, the outputs come, and it is asked again. Returns how many generations were asked
    for that were not known, and the last choice."""
    asked = 0
    for _ in range(20):
        choice = choose(
            lines, [made(number, count) for number in range(known)], name="hero", most=most
        )
        if choice.generation < known:
            return asked, choice
        assert choice.generation == known  # none is left out
        known, asked = known + 1, asked + 1
    raise AssertionError("it does not end")


@given(REJECTED, OUTPUTS, st.integers(0, 5))
def test_a_machine_without_state_comes_to_the_same_outputs_by_the_same_keys(
    rejected: set[tuple[int, int]], count: int, most: int
) -> None:
    lines = [line(generation, index) for generation, index in sorted(rejected)]
    asked, choice = bought(lines, 0, count, most)
    assert asked <= most + 1
    # The same command again, and each machine that knows some of it, asks for nothing more.
    assert bought(lines, asked, count, most) == (0, choice)
    for known in range(asked):
        assert bought(lines, known, count, most) == (asked - known, choice)
    for index in range(count):
        wanted = [number for number in range(asked) if (number, index) not in rejected]
        assert choice.current.get(index) == (min(wanted) if wanted else None)
    has_all = len(choice.current) == count
    assert (choice.end is None) == has_all
    if choice.end is not None:
        assert choice.generation == most
    # No generation is asked for that is not needed.
    if has_all and asked > 1:
        assert max(choice.current.values()) == asked - 1


@given(REJECTED, OUTPUTS, st.integers(0, 5), st.data())
def test_a_line_that_is_taken_back_buys_nothing(
    rejected: set[tuple[int, int]], count: int, most: int, data: st.DataObject
) -> None:
    lines = [line(generation, index) for generation, index in sorted(rejected)]
    known, _ = bought(lines, 0, count, most)
    fewer = data.draw(st.lists(st.sampled_from(lines), unique=True)) if lines else []
    choice = choose(fewer, [made(number, count) for number in range(known)], name="hero", most=most)
    assert choice.generation < known
    assert choice.end is None or len(fewer) > most
