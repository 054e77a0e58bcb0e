"""The judge's own bound, on ledgers written by hand: what is within it, and what is one credit
beyond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

import pytest

from tests.verification.simulation.stakes import UPLOAD, Stakes, Wish


@dataclass
class Story:
    """A budget, and what happens. ``complaints`` are the judge's."""

    budget: str | None = "50"
    ceiling: str | None = None
    upload_ceiling: str | None = None
    calm: int = 8
    """How many were answered before."""
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = count()
        self.stakes = Stakes(
            _credits(self.ceiling), _credits(self.upload_ceiling), self.complaints.append
        )
        self.stakes.born(_credits(self.budget))

    def send(self, shape: str = "w/small", key: str = "") -> str:
        self.stakes._answered = self.calm
        wish = Wish(key or f"key-{next(self._numbers)}", shape.partition("/")[0], shape)
        self.stakes.sent(wish)
        return wish.key

    def die(self) -> None:
        self.stakes.forget()

    def hold(self, key: str, shape: str = "w/small") -> None:
        self.stakes.held(Wish(key, shape.partition("/")[0], shape))

    def charge(self, key: str, price: str) -> None:
        self.stakes.charged(key, Decimal(price), "reserve")

    def refund(self, key: str, price: str) -> None:
        self.stakes.charged(key, -Decimal(price), "refund")
        self.stakes.returned(key)

    def answer(self, key: str, price: str) -> None:
        self.stakes.answered(key)
        self.stakes.heard(key, Decimal(price))

    def buy(self, price: str, shape: str = "w/small", *, told: str | None = None) -> str:
        key = self.send(shape)
        self.charge(key, price)
        self.answer(key, told or price)
        return key


def _credits(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


# -- within the bound, and the least more: each story ends with a purchase that should not have been
# sent -------------


def surge(story: Story, last: str) -> None:
    """Three rise to sixteen times the highest price that was named.

    The fourth's bound no longer fits beside them.
    """
    story.buy("1")
    keys = [story.send() for _ in range(4)]
    for key, price in zip(keys, ("16", "16", "16", last), strict=True):
        story.charge(key, price)


def beyond_surge(story: Story, last: str) -> None:
    """Each of two unanswered ones costs 5 more than its bound: so much may be gone beyond the
    budget.
    """
    story.buy("2")
    keys = [story.send() for _ in range(3)]
    for key, price in zip(keys, ("37", "37", last), strict=True):
        story.charge(key, price)


def ceiling(story: Story, last: str) -> None:
    """What is declared counts, whatever was named."""
    story.buy("2")
    keys = [story.send("w/large") for _ in range(4)]
    for key, price in zip(keys, ("16", "16", "16", last), strict=True):
        story.charge(key, price)


def shapes(story: Story, last: str) -> None:
    """The price of a shape counts for it, whatever another shape of its workflow costs."""
    story.buy("2")
    story.buy("80", "w/large")
    keys = [story.send() for _ in range(4)]
    for key, price in zip(keys, ("32", "32", "32", last), strict=True):
        story.charge(key, price)


def first_price(story: Story, last: str) -> None:
    """What nobody knew may cost what it likes. Then nothing is left."""
    story.buy("100")
    story.charge(story.send(), last)


def last_one_alone(story: Story, last: str) -> None:
    """The bound of the last doesn't fit, the price that is expected does: alone it may cost more,
    with none beside.
    """
    for _ in range(49):
        story.buy("1")
    alone, beside = story.send(), story.send()
    story.charge(alone, "3")
    story.charge(beside, last)


def expected(story: Story, last: str) -> None:
    """One whose known price doesn't fit into what is left is not sent, not even alone."""
    story.buy("2")
    story.buy("40")
    story.charge(story.send(), last)


def uploads(story: Story, last: str) -> None:
    """Uploads have a ceiling of their own."""
    story.buy("0.5", UPLOAD)
    keys = [story.send(UPLOAD) for _ in range(3)]
    for key, price in zip(keys, ("25", "25", last), strict=True):
        story.charge(key, price)


def lies(story: Story, last: str) -> None:
    """The answers say 1, the ledger takes 7. Nobody can know it until the records name it."""
    for _ in range(4):
        story.buy("7", told="1")
    keys = [story.send() for _ in range(3)]
    for key, price in zip(keys, ("16", "16", last), strict=True):
        story.charge(key, price)


def records(story: Story, last: str) -> None:
    """The records named 7: the four count so, and the bound is sixteen times 7, for which one has
    to be alone.
    """
    for number in range(4):
        story.buy("7", told="1")
        story.stakes.heard(f"key-{number}", Decimal(7))
    alone, beside = story.send(), story.send()
    story.charge(alone, "11")
    story.charge(beside, last)


def lost_directory(story: Story, last: str) -> None:
    """What was gone when the directory was lost, and what arrives of it later, is beyond what
    anybody can know."""
    story.buy("30")
    late = story.send()
    story.stakes.past_is_lost()
    story.stakes.forget()
    story.stakes.told_all()
    story.charge(late, "20")
    story.buy("50")
    story.charge(story.send(), last)


def killed(story: Story, last: str) -> None:
    """What was sent by a process that died is unanswered, and keeps its bound of 16 until it is
    answered."""
    story.buy("1")
    doubtful = story.send()
    story.die()
    story.hold("key-0")
    story.answer("key-0", "1")
    story.hold(doubtful)
    story.stakes.told_all()
    keys = [story.send() for _ in range(3)]
    story.send(key=doubtful)
    for key, price in zip((*keys, doubtful), ("16", "16", last, "16"), strict=True):
        story.charge(key, price)


def given_up(story: Story, last: str) -> None:
    """An upload whose answer never came is unanswered for ever, at its bound."""
    story.buy("1", UPLOAD)
    lost = story.send(UPLOAD)
    story.stakes.given_up(lost)
    story.charge(lost, "16")
    story.buy("1")
    keys = [story.send() for _ in range(3)]
    for key, price in zip(keys, ("16", "16", last), strict=True):
        story.charge(key, price)


def refunded(story: Story, last: str) -> None:
    """What came back may be spent again, once our books know of it."""
    story.refund(story.buy("50"), "50")
    keys = [story.send() for _ in range(2)]
    for key, price in zip(keys, ("50", last), strict=True):
        story.charge(key, price)


def refused(story: Story, last: str) -> None:
    """What was refused holds nothing."""
    story.buy("1")
    key = story.send()
    story.stakes.answered(key)
    story.stakes.refused(key)
    surge(story, last)


def raised_budget(story: Story, last: str) -> None:
    """A later process may have a higher budget; one that is lowered again doesn't unmake what was
    bought."""
    story.buy("40")
    for budget in (60, 20):
        story.stakes.born(Decimal(budget))
    story.charge(story.send(), last)


@pytest.mark.parametrize(
    ("tell", "terms", "most"),
    [
        (surge, {}, "1"),
        (beyond_surge, {"budget": "70"}, "4"),
        (ceiling, {"ceiling": "16", "budget": "51"}, "1"),
        (shapes, {"budget": "200"}, "22"),
        (last_one_alone, {}, "0"),
        (expected, {}, "8"),
        (uploads, {"upload_ceiling": "25", "budget": "52"}, "1.5"),
        (lies, {}, "14"),
        (records, {}, "11"),
        (lost_directory, {}, "0"),
        (killed, {}, "1"),
        (given_up, {}, "0"),
        (refunded, {}, "0"),
        (refused, {"budget": "51"}, "1"),
        (raised_budget, {}, "20"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_so_much_is_within_the_bound_and_the_least_more_is_not(
    tell: Callable[[Story, str], None], terms: dict[str, str], most: str
) -> None:
    within, beyond = Story(**terms), Story(**terms)
    tell(within, most)
    assert within.complaints == []
    tell(beyond, str(Decimal(most) + Decimal("0.000001")))
    assert len(beyond.complaints) == 1
    assert "were gone after reserve" in beyond.complaints[0]


def test_after_a_first_price_that_took_all_nothing_may_be_bought() -> None:
    story = Story()
    first_price(story, "0.000001")
    assert len(story.complaints) == 1


def test_the_price_that_is_expected_is_the_last_that_was_heard() -> None:
    """Once it is low again, one that fits at it may be sent alone, and cost more."""
    story = Story()
    story.buy("40")
    story.buy("2")
    story.charge(story.send(), "9")
    assert story.complaints == []


@pytest.mark.parametrize(("shape", "complaints"), [("w/free", 0), ("w/new", 1)])
def test_a_shape_that_cost_nothing_is_expected_to_cost_nothing_and_a_new_one_what_its_workflow_did(
    shape: str, complaints: int
) -> None:
    story = Story()
    story.buy("0", "w/free")
    story.buy("2")
    story.buy("48")
    story.charge(story.send(shape), "2")
    assert len(story.complaints) == complaints


def test_one_may_go_alone_beside_a_bounded_one_in_doubt_and_not_beside_one_on_its_way() -> None:
    for in_doubt, complaints in ((True, 0), (False, 1)):
        story = Story(budget="30")
        story.buy("1")
        doubtful = story.send()
        story.charge(doubtful, "16")
        if in_doubt:
            story.stakes.came_to_nothing(doubtful)
        story.charge(story.send(), "29.5")
        assert len(story.complaints) == complaints


# -- one without a bound is alone


def after_nothing(story: Story) -> None:
    """No price was named yet."""


def after_one_for_nothing(story: Story) -> None:
    story.buy("0")


def after_another_workflow(story: Story) -> None:
    story.buy("1", "other/small")


def after_a_death(story: Story) -> None:
    """What a dead process was told and hadn't written down is known no more."""
    story.buy("1")
    story.die()
    story.stakes.told_all()


@pytest.mark.parametrize(
    "before", [after_nothing, after_one_for_nothing, after_another_workflow, after_a_death]
)
def test_one_without_a_bound_is_alone_among_the_unanswered(before: Callable[[Story], None]) -> None:
    story = Story()
    before(story)
    first = story.send()
    assert story.complaints == []
    story.send()
    assert len(story.complaints) == 1
    assert "no bound" in story.complaints[0]
    story = Story()
    before(story)
    first = story.send()
    story.stakes.answered(first)
    story.send()
    assert story.complaints == [], "its answer has come"


def test_nothing_is_sent_beside_one_without_a_bound() -> None:
    story = Story()
    story.buy("1")
    unknown = story.send("other/small")
    assert story.complaints == []
    story.send()
    assert len(story.complaints) == 1
    story.stakes.answered(unknown)


def test_one_with_a_ceiling_needs_not_be_alone() -> None:
    story = Story(ceiling="5", upload_ceiling="5")
    for shape in ("w/small", "w/large", UPLOAD, "other/small"):
        story.send(shape)
    assert story.complaints == []


@pytest.mark.parametrize(("answered", "most"), [(0, 1), (1, 2), (3, 6)])
def test_twice_as_many_are_on_their_way_as_were_answered(answered: int, most: int) -> None:
    story = Story(budget="1000", ceiling="1", calm=answered)
    for _ in range(most):
        story.send()
    assert story.complaints == []
    story.send()
    assert len(story.complaints) == 1


def test_without_a_budget_nothing_is_bounded() -> None:
    story = Story(budget=None)
    for _ in range(3):
        story.charge(story.send(), "1000")
    assert story.complaints == []


def test_a_shape_has_the_bound_of_its_own_prices_and_a_new_one_that_of_its_workflow() -> None:
    story = Story(budget="10000")
    story.buy("2")
    story.buy("80", "w/large")
    story.charge(story.send(), "40")
    assert story.stakes.unheard == 40 - 32
    story.charge(story.send("w/huge"), "1281")
    assert story.stakes.unheard == 8 + 1


def test_what_nobody_could_know_of_what_is_gone() -> None:
    """What books may show less than the ledger: beyond a bound, or beyond all figures that were
    named.
    """
    story = Story(budget="100")
    story.buy("7", told="1")
    assert story.stakes.unheard == 6
    story.charge(story.send(), "20")
    assert story.stakes.unheard == 6 + 4
    story.stakes.heard("key-0", Decimal(7))
    assert story.stakes.unheard == 4


def test_a_job_that_never_left_holds_what_is_left_when_it_leaves() -> None:
    """Credits are held for it and its image, the image takes a part of them, and a later process
    sends the job."""
    story = Story()
    image = story.send(UPLOAD)
    story.charge(image, "2")
    story.die()
    story.hold("job")
    story.hold(image, UPLOAD)
    story.answer(image, "2")
    story.stakes.told_all()
    story.send(key="job")
    story.charge("job", "60")
    assert story.complaints == []
    assert story.stakes.allowance == 60 - 48
    story.charge("another", "0.000001")
    assert len(story.complaints) == 1


def test_a_job_that_left_keeps_what_was_held_for_it_then() -> None:
    """Its first try may have been charged: a lower budget takes nothing of its hold."""
    story = Story()
    alone = story.send()
    story.die()
    story.stakes.born(Decimal(10))
    story.hold(alone)
    story.stakes.told_all()
    story.send(key=alone)
    story.charge(alone, "60")
    assert story.stakes.allowance == 60 - 50


@pytest.mark.parametrize(("budget", "complaints"), [("50", 0), ("49", 1)])
def test_what_a_declared_ceiling_leaves_no_room_for_is_not_excused_by_being_alone(
    budget: str, complaints: int
) -> None:
    """The first upload's answer is lost, and it is bought again: its ceiling no longer fits."""
    story = Story(budget, upload_ceiling="25")
    lost = story.send(f"{UPLOAD}/{UPLOAD}")
    story.charge(lost, "25")
    story.stakes.given_up(lost)
    story.charge(story.send(f"{UPLOAD}/{UPLOAD}"), "25")
    assert len(story.complaints) == complaints


def test_one_went_alone_if_its_bound_did_not_fit_and_nothing_was_heard_of_its_price() -> None:
    story = Story(budget="51")
    first = story.send()
    assert story.stakes.went_alone(first), "nothing bounds it"
    story.answer(first, "1")
    assert not story.stakes.went_alone(first), "its price is known"
    keys = [story.send() for _ in range(4)]
    assert [story.stakes.went_alone(key) for key in keys] == [False, False, False, True]
    story.stakes.refused(keys[-1])
    assert not story.stakes.went_alone(keys[-1]), "nothing was bought"
    free = Story(budget=None)
    assert not free.stakes.went_alone(free.send()), "without a budget there is nothing to fit into"


def test_that_one_went_alone_outlives_the_process() -> None:
    story = Story(budget="20")
    story.buy("1")
    alone = [story.send() for _ in range(2)][-1]
    story.die()
    story.answer("key-0", "1")
    story.hold(alone)
    story.stakes.told_all()
    assert story.stakes.went_alone(alone)


def test_a_job_went_alone_with_an_upload_whose_bound_was_not_known() -> None:
    story = Story(budget="20", ceiling="7")
    upload = story.buy("0.1", f"{UPLOAD}/{UPLOAD}")
    job = story.send()
    assert not story.stakes.went_alone(job), "its own bound fits"
    assert story.stakes.went_alone(job, [upload])
    assert not story.stakes.went_alone(job, [story.buy("0.1", f"{UPLOAD}/{UPLOAD}")]), (
        "that one is bounded and fits"
    )
    story.answer(job, "1")
    assert not story.stakes.went_alone(job, [upload]), "its price is known"


@pytest.mark.parametrize(
    ("booked", "shown", "next_price", "complaints"),
    [
        ("0", "0", "20", 0),
        ("0", "0", "21", 1),
        ("10", "10", "30", 0),
        ("10", "10", "31", 1),
        ("30", "30", "50", 0),
    ],
)
def test_a_failed_job_costs_its_price_less_the_refund_that_was_seen(
    booked: str, shown: str, next_price: str, complaints: int
) -> None:
    story = Story(ceiling="50")
    failed = story.buy("30")
    story.stakes.charged(failed, -Decimal(booked), "refund")
    story.stakes.returned_in_all(failed, Decimal(shown))
    story.buy(next_price)
    assert len(story.complaints) == complaints


def test_a_refund_that_is_told_again_or_exceeds_the_price_returns_the_price_once() -> None:
    story = Story(ceiling="20")
    failed, _ = story.buy("20"), story.buy("20")
    for credits in ("5", "30", "30"):
        story.stakes.returned_in_all(failed, Decimal(credits))
    story.stakes.charged(failed, Decimal(-20), "refund")
    story.buy("20")
    assert story.complaints == []
    story.buy("11")
    assert len(story.complaints) == 1
