"""The division of a plan into shards: each line of the table at the head of
``features/shards/shard_division.py``.
"""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.budget import HoldRequest, Need
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.prices import SURGE, UPLOAD, PriceBook, Shape
from crucible_batch.features.shards.shard_division import NO_SHARD, Divider, Division

D = Decimal
SMALL, LARGE = Shape("workflow:w", "small"), Shape("workflow:w", "large")


def book(
    small: str | None = "2",
    large: str | None = "5",
    *,
    ceiling: str | None = None,
    upload: str | None = "1",
) -> PriceBook:
    prices = PriceBook(None if ceiling is None else D(ceiling))
    for shape, price in ((SMALL, small), (LARGE, large), (UPLOAD, upload)):
        if price is not None:
            prices.learn(shape, D(price))
    return prices


def divided(
    jobs: list[Shape | tuple[Shape, set[str]]],
    *,
    shards: int,
    left: str,
    prices: PriceBook | None = None,
) -> Division:
    divider = Divider(book() if prices is None else prices, shards=shards, left=D(left))
    for job in jobs:
        shape, missing = (job, set()) if isinstance(job, Shape) else job
        divider.add(shape, missing)
    return divider.divide()


def allowances(division: Division) -> list[str]:
    return [f"{shard.allowance:f}" for shard in division.shards]


def test_job_i_goes_to_shard_i_mod_n() -> None:
    division = divided([SMALL] * 7, shards=3, left="14")
    assert list(division.numbers) == [1, 2, 3, 1, 2, 3, 1]
    assert [(shard.number, shard.jobs, shard.admitted) for shard in division.shards] == [
        (1, 3, 3), (2, 2, 2), (3, 2, 2),
    ]  # fmt: skip
    assert [shard.allowance for shard in division.shards] == [6, 4, 4]


def test_an_open_shard_has_the_highest_reserve_of_its_jobs_once() -> None:
    """With a ceiling of 8, the last job at 2 needs 8 to be held: 2 + 2 + 2 + 6."""
    division = divided([SMALL, LARGE, SMALL], shards=1, left="15", prices=book(ceiling="8"))
    assert list(division.is_admitted) == [1, 1, 1]
    assert [shard.allowance for shard in division.shards] == [15]
    assert list(
        divided([SMALL, LARGE, SMALL], shards=1, left="14.99", prices=book(ceiling="8")).is_admitted
    ) == [
        1,
        1,
        0,
    ]


def test_a_job_without_a_price_counts_at_its_ceiling() -> None:
    division = divided([SMALL, SMALL], shards=2, left="8", prices=book(None, None, ceiling="4"))
    assert [shard.allowance for shard in division.shards] == [4, 4]


def test_a_shard_that_the_budget_can_not_open_gives_its_jobs_to_the_smallest_open_one() -> None:
    """A ceiling of 10 makes opening cost 10; two shards are opened, and the third job's 2 credits
    fit one of them."""
    division = divided([SMALL] * 4, shards=4, left="24", prices=book(ceiling="10"))
    assert list(division.numbers) == [1, 2, 1, 2]
    assert list(division.is_admitted) == [1, 1, 1, 1]
    assert [shard.allowance for shard in division.shards] == [12, 12, 0, 0]


def test_after_the_first_job_that_does_not_fit_none_is_admitted() -> None:
    division = divided([SMALL, LARGE, SMALL, SMALL], shards=2, left="6")
    assert list(division.is_admitted) == [1, 0, 0, 0]
    assert list(division.numbers) == [1, 2, 1, 2]
    assert [shard.jobs for shard in division.shards] == [2, 2]


def test_a_job_above_its_ceiling_is_not_admitted_and_takes_nothing_from_later_ones() -> None:
    division = divided([LARGE, SMALL, SMALL], shards=1, left="8", prices=book(ceiling="4"))
    assert list(division.is_admitted) == [0, 1, 1]
    assert division.shards[0].admitted == 2


def test_an_image_is_paid_for_by_the_first_job_that_needs_it() -> None:
    division = divided([(SMALL, {"a"}), (SMALL, {"a"})], shards=1, left="5")
    assert list(division.is_admitted) == [1, 1]
    assert division.shards[0].allowance == 5
    assert list(divided([(SMALL, {"a"}), (SMALL, {"a"})], shards=1, left="4.99").is_admitted) == [
        1,
        0,
    ]


def test_a_job_that_is_not_admitted_and_needs_a_missing_image_is_in_no_shard() -> None:
    division = divided([SMALL, (LARGE, {"a"}), SMALL, (SMALL, {"a"})], shards=2, left="3")
    assert list(division.is_admitted) == [1, 0, 0, 0]
    assert list(division.numbers) == [1, NO_SHARD, 1, NO_SHARD]
    assert division.left_out == 2
    assert division.missing == ()
    above = divided([(LARGE, {"a"}), SMALL], shards=1, left="8", prices=book(ceiling="4"))
    assert (list(above.numbers), above.missing) == ([NO_SHARD, 1], ())


def test_what_is_left_over_is_margin_of_the_open_shards_up_to_one_bound() -> None:
    assert allowances(divided([SMALL, SMALL], shards=3, left="5")) == ["2.50", "2.50", "0"]
    assert allowances(divided([SMALL, SMALL], shards=3, left="4.03")) == ["2.01", "2.01", "0"]
    division = divided([SMALL, SMALL], shards=3, left="1000")
    assert [shard.allowance for shard in division.shards] == [2 + SURGE * 2, 2 + SURGE * 2, 0]


def test_nothing_left_admits_nothing() -> None:
    for left in ("0", "-3"):
        division = divided([SMALL], shards=2, left=left)
        assert (sum(shard.allowance for shard in division.shards), list(division.is_admitted)) == (
            0,
            [0],
        )


amounts = st.decimals(min_value=0, max_value=40, places=2)
IMAGES = st.sets(st.sampled_from("abcdef"), max_size=2)


@st.composite
def plans(draw: st.DrawFn) -> tuple[PriceBook, list[tuple[Shape, set[str]]], int, Credits]:
    ceiling = draw(st.none() | amounts)
    prices = PriceBook(ceiling, draw(st.none() | amounts))
    shapes = [SMALL, LARGE]
    for shape in shapes:
        if ceiling is None or draw(st.booleans()):
            prices.learn(shape, draw(amounts))
    if prices.upload_ceiling is None:
        prices.learn(UPLOAD, draw(amounts))
    jobs = draw(st.lists(st.tuples(st.sampled_from(shapes), IMAGES), max_size=30))
    return (
        prices,
        jobs,
        draw(st.integers(1, 6)),
        draw(st.decimals(min_value=0, max_value=300, places=2)),
    )


@given(plans())
def test_the_allowances_are_never_more_than_what_is_left(
    plan: tuple[PriceBook, list[tuple[Shape, set[str]]], int, Credits],
) -> None:
    prices, jobs, shards, left = plan
    division = divided(list(jobs), shards=shards, left=str(left), prices=prices)
    assert sum(shard.allowance for shard in division.shards) <= left
    assert all(shard.allowance >= 0 for shard in division.shards)
    assert all(shard.allowance == 0 for shard in division.shards if not shard.admitted)
    assert [shard.jobs for shard in division.shards] == [
        list(division.numbers).count(n) for n in range(1, shards + 1)
    ]


@given(plans())
def test_each_admitted_job_fits_its_shards_allowance_at_the_expected_prices(
    plan: tuple[PriceBook, list[tuple[Shape, set[str]]], int, Credits],
) -> None:
    """Played as by a shard: in order, each held at its need, then settled at its price."""
    prices, jobs, shards, left = plan
    division = divided(list(jobs), shards=shards, left=str(left), prices=prices)
    spent = dict.fromkeys(range(1, shards + 1), ZERO)
    uploaded: set[str] = set()
    for (shape, missing), number, is_admitted in zip(
        jobs, division.numbers, division.is_admitted, strict=True
    ):
        if not is_admitted:
            continue
        need = Need.of(HoldRequest(shape, len(missing - uploaded)), prices)
        assert need.fits(division.shards[number - 1].allowance - spent[number])
        spent[number] += need.expected
        uploaded |= missing


@given(plans())
def test_each_missing_image_of_a_job_in_a_shard_is_reported(
    plan: tuple[PriceBook, list[tuple[Shape, set[str]]], int, Credits],
) -> None:
    prices, jobs, shards, left = plan
    division = divided(list(jobs), shards=shards, left=str(left), prices=prices)
    in_shards = [
        missing
        for (_, missing), number in zip(jobs, division.numbers, strict=True)
        if number != NO_SHARD
    ]
    assert set(division.missing) == set().union(*in_shards)
