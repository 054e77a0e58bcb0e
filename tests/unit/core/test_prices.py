"""What a price depends on, and what one more may cost."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.prices import SURGE, UPLOAD, Certainty, PriceBook, Quote, Shape, shape_of
from crucible_batch.core.sharding import LearnedPrice
from tests.harness.case_table import each_case
from tests.harness.run_terms import run_terms

D = Decimal
SMALL, LARGE, OTHER = Shape("workflow:w", "s"), Shape("workflow:w", "l"), Shape("workflow:v", "s")


def planned(workflow_id: str = "w", prompt: str | None = "a heron", **params: object) -> PlannedJob:
    named = {name.replace("__", "."): value for name, value in params.items()}
    return PlannedJob(0, "id", "name", workflow_id, named, prompt=prompt)


@each_case(
    "one, other, is_same",
    [
        (planned(prompt__text="a heron"), planned(prompt__text="a lighthouse"), True),
        (planned(seed=1), planned(seed=2), True),
        (planned(sampler__seed=1), planned(sampler__seed=2), True),
        (planned(noise_seed=1), planned(noise_seed=2), True),
        (planned(Seed=1), planned(Seed=2), True),
        (planned(negative_prompt__text="fog"), planned(negative_prompt__text="rain"), True),
        (planned(text__value="a heron"), planned(prompt="a tern", text__value="a tern"), True),
        (planned(size__width=512), planned(size__width=1024), False),
        (planned(sampler__steps=20), planned(sampler__steps=30), False),
        (planned(size__width=512), planned(), False),
        (planned(), planned("v"), False),
        (planned(text__value="a heron"), planned(text__value="a tern"), False),
    ],
)
def test_a_shape_is_the_workflow_and_its_parameters_without_prompt_and_seed(
    one: PlannedJob, other: PlannedJob, is_same: bool
) -> None:
    assert (shape_of(one) == shape_of(other)) is is_same


def test_a_shapes_digest_stays_what_journals_hold() -> None:
    shape = shape_of(planned(size__width=512, prompt__text="a heron", seed=7))
    assert (shape.price_class, shape.name, shape.digest) == ("workflow:w", "w", "e9aa0edc0adeaa3b")


def test_a_book_has_the_ceilings_of_its_runs_terms() -> None:
    terms = run_terms(9, 4, run_id="r", attempts=1, upload_ceiling=D(2))
    book = PriceBook.of(terms)
    assert (book.ceiling_of(SMALL), book.ceiling_of(UPLOAD)) == (4, 2)
    assert list(book.learned()) == []


def test_a_book_has_the_prices_that_its_plan_brought() -> None:
    terms = run_terms(9, run_id="r", attempts=1)
    book = PriceBook.of(
        replace(
            terms, learned=(LearnedPrice("workflow:w", "s", D(3)), LearnedPrice("upload", "", D(1)))
        )
    )
    assert (book.seen(SMALL), book.seen(LARGE), book.seen(UPLOAD)) == (3, None, 1)


def test_a_price_is_seen_of_the_very_shape_alone() -> None:
    book = PriceBook(ceiling=D(20))
    book.learn(SMALL, D(2))
    assert book.seen(SMALL) == 2
    assert (book.seen(LARGE), book.seen(OTHER)) == (None, None)
    assert book.expected(LARGE) == 2  # of its price class


def test_learned_prices_come_with_their_shapes_by_class_and_digest() -> None:
    book = PriceBook()
    for shape, credits in ((SMALL, 3), (UPLOAD, 1), (LARGE, 9), (OTHER, 2)):
        book.learn(shape, D(credits))
    assert list(book.learned()) == [
        (UPLOAD, 1),
        (Shape("workflow:v"), 2),
        (OTHER, 2),
        (Shape("workflow:w"), 9),
        (LARGE, 9),
        (SMALL, 3),
    ]


def test_a_book_without_ceilings_has_the_same_prices_and_learns_for_itself() -> None:
    book = PriceBook(D(20), D(4))
    book.learn(SMALL, D(3))
    other = book.without_ceilings()
    assert (other.ceiling, other.upload_ceiling, other.seen(SMALL)) == (None, None, 3)
    other.learn(SMALL, D(7))
    assert (book.seen(SMALL), book.ceiling) == (3, 20)


def test_the_highest_price_is_kept_whatever_came_last() -> None:
    book = PriceBook()
    for credits in ("2", "9", "3"):
        book.learn(SMALL, D(credits))
    assert book.expected(SMALL) == 9


def test_a_shape_without_a_price_is_expected_to_cost_the_highest_of_its_workflow() -> None:
    book = PriceBook()
    assert book.expected(LARGE) is None
    book.learn(SMALL, D(2))
    assert (book.expected(LARGE), book.expected(OTHER), book.expected(UPLOAD)) == (2, None, None)
    book.learn(LARGE, D(16))
    assert (
        book.expected(SMALL),
        book.expected(LARGE),
        book.expected(Shape("workflow:w", "x")),
    ) == (2, 16, 16)


@each_case(
    "ceiling, seen, bound",
    [("4", None, "4"), ("4", "2", "4"), (None, "2", "32"), (None, "0", None), (None, None, None)],
)
def test_each_line_of_the_table_of_bounds(
    ceiling: str | None, seen: str | None, bound: str | None
) -> None:
    for shape in (SMALL, UPLOAD):
        declared = ceiling and D(ceiling)
        book = PriceBook(*((declared, None) if shape is SMALL else (None, declared)))
        if seen is not None:
            book.learn(shape, D(seen))
        assert book.bound(shape) == (bound and D(bound))
    assert SURGE == 16


def test_a_quote_is_what_was_seen_else_the_ceiling() -> None:
    book = PriceBook(D(4))
    assert book.quote(SMALL) == Quote(Certainty.BOUNDED, D(4))
    assert book.quote(UPLOAD) == Quote(Certainty.UNKNOWN, None)
    book.learn(SMALL, D(2))
    assert book.quote(SMALL) == Quote(Certainty.LEARNED, D(2))


def test_a_shape_that_cost_nothing_is_expected_to_cost_nothing_whatever_its_workflow_did() -> None:
    """A free shape goes alone, also where the rest of the budget is below the workflow's price; it
    has no bound."""
    book, free, paid = PriceBook(), Shape("workflow:w", "free"), Shape("workflow:w", "paid")
    book.learn(free, Decimal(0))
    book.learn(paid, Decimal(5))
    assert (book.expected(free), book.bound(free)) == (Decimal(0), None)
    assert (book.expected(Shape("workflow:w", "new")), book.expected(paid)) == (
        Decimal(5),
        Decimal(5),
    )
