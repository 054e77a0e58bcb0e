"""No party can set aside more than the limit leaves, and what it doesn't spend is free again."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.allowance import Allowance, Share, ShareRequest, most_needed
from crucible_batch.core.prices import UPLOAD, PriceBook, Shape
from tests.harness.case_table import each_case

W = Shape("workflow:w")


def d(number: float | None) -> Decimal | None:
    return None if number is None else Decimal(str(number))


def share(spent: float, set_aside: float = 0) -> Share:
    return Share(Decimal(str(spent)), Decimal(str(set_aside)))


@each_case(
    "others, wanted, certain, used, granted, own",
    [
        # other parties        wanted  certain  used   granted  own share afterwards
        ((), 8, 0, 0, 8, share(0, 8)),
        ((), None, 0, 0, 20, share(0, 20)),
        ((), 30, 0, 0, 20, share(0, 20)),
        ((share(5), share(2, 3)), None, 0, 0, 10, share(0, 10)),
        ((share(5), share(2, 13)), None, 0, 0, 0, share(0, 0)),
        ((share(30),), None, 0, 0, 0, share(0, 0)),
        # what it has spent in this period counts for it
        ((share(5),), None, 6, 6, 9, share(6, 9)),
        ((share(5),), 4, 6, 6, 4, share(6, 4)),
        ((share(5),), 0, 6, 6, 0, share(6, 0)),
        # jobs in flight are covered by what is set aside, or count beside it if that is less
        ((share(5),), None, 6, 10, 9, share(6, 9)),
        ((share(12),), None, 6, 10, 2, share(6, 4)),
        ((share(20),), None, 6, 10, 0, share(6, 4)),
    ],
)
def test_what_a_party_can_set_aside(
    others: tuple[Share, ...],
    wanted: float | None,
    certain: float,
    used: float,
    granted: float,
    own: Share,
) -> None:
    allowance = Allowance(Decimal(20), {str(number): each for number, each in enumerate(others)})
    request = ShareRequest(d(wanted), Decimal(certain), Decimal(used))
    after, credits = allowance.granted("me", request)
    assert (credits, after.shares["me"]) == (granted, own)
    assert after.without("me") == allowance


def test_a_party_that_asks_again_returns_what_it_had_first() -> None:
    allowance, _ = Allowance(Decimal(20)).granted("me", ShareRequest(None))
    after, credits = allowance.granted("me", ShareRequest(None, Decimal(3), Decimal(3)))
    assert (credits, after.shares["me"]) == (17, share(3, 17))


def test_settling_returns_the_rest_and_may_be_repeated() -> None:
    allowance, _ = Allowance(Decimal(20)).granted("me", ShareRequest(None))
    assert allowance.left == 0
    once = allowance.settled("me", share(3))
    assert (once.spent, once.set_aside, once.left) == (3, 0, 17)
    assert once.settled("me", share(3)) == once


AMOUNTS = st.decimals(min_value=0, max_value=30, places=1)
STEPS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from(["set aside", "spend", "settle", "crash"]), AMOUNTS
    ),
    max_size=30,
)


@given(STEPS)
def test_spent_and_set_aside_never_exceed_the_limit(steps: list[tuple[str, str, Decimal]]) -> None:
    """Whatever the parties do in which order; a crash changes nothing, and the party may ask or
    settle afterwards."""
    allowance, bought = Allowance(Decimal(20)), dict.fromkeys("abc", Decimal(0))
    for party, step, amount in steps:
        aside = allowance.shares.get(party, Share())
        if step == "set aside":
            allowance, _ = allowance.granted(
                party, ShareRequest(amount, bought[party], bought[party])
            )
        elif step == "spend":
            bought[party] += min(amount, max(Decimal(0), aside.total - bought[party]))
        elif step == "settle":
            allowance = allowance.settled(party, Share(bought[party]))
        assert allowance.spent + allowance.set_aside <= allowance.limit
        assert sum(bought.values()) <= allowance.limit


def test_the_most_that_jobs_need_is_each_at_its_bound() -> None:
    assert most_needed(PriceBook(Decimal(4), Decimal(1)), {W: 3}, 2) == 14
    assert most_needed(PriceBook(Decimal(4)), {W: 3}, 0) == 12
    assert most_needed(PriceBook(Decimal(4)), {W: 3}, 2) is None
    seen = PriceBook()
    assert most_needed(seen, {W: 1}, 0) is None
    seen.learn(W, Decimal(2))
    assert most_needed(seen, {W: 3}, 0) == 96
    seen.learn(UPLOAD, Decimal(1))
    assert most_needed(seen, {W: 3}, 1) == 112
    assert most_needed(PriceBook(), {}, 0) == 0
