"""Gateways of other kinds: prices by chance, by shape, falling, rising at the end, and faults meanwhile."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.verification.pricing.conftest import Open
from tests.verification.pricing.running import Bench, Outcome, Wish
from tests.verification.pricing.world import Ask, Quote, World, fixed, lying, same, stepped

pytestmark = pytest.mark.slow

PLAIN = [Wish()] * 40


def kept(bench: Bench, outcome: Outcome, *codes: int) -> None:
    """The rule was kept at each row, the run ended as it should, and its books are the ledger's."""
    verdict = bench.judged()
    assert not verdict.breaches, bench.why(outcome)
    assert verdict.most_unbounded <= 1, bench.why(outcome)
    assert outcome.code in codes, bench.why(outcome)
    assert bench.books_are_right(), (bench.report["credits"], bench.why(outcome))


def by_chance(low: int, high: int) -> Callable[[Ask], Quote]:
    """Each answer has its own price; with ``high`` sixteen times ``low`` that is within the bound of any answer."""

    def price(ask: Ask) -> Quote:
        return same(low if ask.accepted == 0 else ask.random.randint(low, high))

    return price


def some(share: float, *faults: str) -> Callable[[Ask], str | None]:
    return lambda ask: ask.random.choice(faults) if ask.attempt < 3 and ask.random.random() < share else None


def test_by_chance_up_to_a_surge(opened: Open) -> None:
    bench = opened(World(by_chance(1, 16), seed=3), PLAIN)
    kept(bench, bench.run("150"), 4)


def test_by_chance_under_a_ceiling_never_exceeds_the_budget(opened: Open) -> None:
    bench = opened(World(by_chance(1, 16), seed=4), PLAIN, max_credits_per_job="16")
    outcome = bench.run("100")
    assert bench.judged().over == 0, bench.why(outcome)
    kept(bench, outcome, 4)


def test_a_rise_to_the_ceiling_at_the_end_of_the_budget_never_exceeds_it(opened: Open) -> None:
    """20 × 2 leave 10 of 50: the ceiling of 16 doesn't fit any more, and from here on that is the price."""
    bench = opened(World(stepped((0, 2), (20, 16))), PLAIN, max_credits_per_job="16")
    outcome = bench.run("50")
    assert bench.judged().over == 0, bench.why(outcome)
    kept(bench, outcome, 4)


def test_a_rise_at_the_end_of_the_budget_with_nothing_declared_is_one_job_alone(opened: Open) -> None:
    """38 × 1 leave 2 of 40: no bound fits, one goes alone at the price expected, and it costs 15."""
    bench = opened(World(stepped((0, 1), (38, 15))), [Wish()] * 60)
    outcome = bench.run("40")
    kept(bench, outcome, 4)
    assert bench.judged().charged == 38 + 15, bench.why(outcome)


def test_a_ceiling_that_is_the_price_lets_the_whole_budget_be_spent(opened: Open) -> None:
    bench = opened(World(fixed(4)), [Wish()] * 30, max_credits_per_job="4")
    outcome = bench.run("100")
    kept(bench, outcome, 4)
    assert bench.judged().charged == 100, bench.why(outcome)


def test_a_budget_made_to_measure_buys_all_of_it(opened: Open) -> None:
    bench = opened(World(fixed("2.5")), [Wish()] * 30)
    outcome = bench.run("75")
    kept(bench, outcome, 0)
    assert bench.judged().charged == 75, bench.why(outcome)


def test_free_jobs_go_one_at_a_time_and_all_of_them_are_made(opened: Open) -> None:
    bench = opened(World(fixed(0), rtt=(0.02, 0.05)), [Wish()] * 12)
    outcome = bench.run("5")
    kept(bench, outcome, 0)
    assert bench.judged().most_unanswered == 1, bench.why(outcome)


def test_falling_prices(opened: Open) -> None:
    bench = opened(World(stepped((0, 16), (3, 4), (9, 1))), PLAIN)
    kept(bench, bench.run("90"), 4, 0)


def test_a_price_that_comes_and_goes(opened: Open) -> None:
    """Dear every seventh time: the highest that was seen is what is expected, not the newest."""
    bench = opened(World(lambda ask: same(12 if ask.accepted % 7 == 6 else 1)), PLAIN)
    outcome = bench.run("45")
    kept(bench, outcome, 4)
    assert bench.judged().over == 0, bench.why(outcome)


def test_thirty_shapes_with_a_price_each(opened: Open) -> None:
    wishes = [Wish(width=64 * number, style=style) for number in range(1, 16) for style in ("noir", "ink")]

    def price(ask: Ask) -> Quote:
        return same(int(ask.params["size.width"]) // 64 * (3 if ask.params["style.value"] == "ink" else 1))

    bench = opened(World(price), wishes)
    kept(bench, bench.run("150"), 4)


def test_two_workflows_of_which_one_is_cheap(opened: Open) -> None:
    wishes = [Wish(workflow=name) for name in ["flat"] * 12 + ["dear"] * 12 + ["flat", "dear"] * 6]
    bench = opened(World(lambda ask: same(50 if ask.workflow == "dear" else "0.1"), workflows=("flat", "dear")), wishes)
    outcome = bench.run("120")
    kept(bench, outcome, 4)
    assert bench.judged().over == 0, bench.why(outcome)


def test_a_price_above_the_declared_ceiling_stops_the_run(opened: Open) -> None:
    """The excess is what the unanswered ones cost beyond their ceiling, and nothing is bought after the answer."""
    bench = opened(World(stepped((0, 2), (5, 9))), PLAIN, max_credits_per_job="4")
    outcome = bench.run("60")
    kept(bench, outcome, 4)
    assert "PRICE_ABOVE_CEILING" in outcome.stderr + bench.report_text, bench.why(outcome)


def test_refusals_of_the_edge_while_the_price_rises(opened: Open) -> None:
    world = World(stepped((0, 2), (8, 20)), fault=some(0.3, "429", "503"), seed=5)
    bench = opened(world, PLAIN)
    kept(bench, bench.run("150"), 4, 5)


def test_lost_answers_while_the_price_rises(opened: Open) -> None:
    world = World(stepped((0, 2), (8, 20)), fault=some(0.3, "cut-after"), seed=6)
    bench = opened(world, PLAIN)
    kept(bench, bench.run("150"), 4, 5)


def test_in_doubt_is_sent_again_at_a_price_that_has_risen(opened: Open) -> None:
    """Cut before they took effect: the second time the same key costs thirty times as much."""
    price = stepped((0, 2), (6, 60))
    bench = opened(World(price, fault=some(0.5, "cut-before"), seed=7), PLAIN)
    kept(bench, bench.run("160"), 4, 5)


def test_bundles_of_an_upload_and_a_job(opened: Open) -> None:
    def price(ask: Ask) -> Quote:
        return same(ask.random.choice(["0.5", "1", "4"] if ask.upload else [2, 5, 16]))

    bench = opened(World(price, seed=8), [Wish(image=number) for number in range(24)])
    kept(bench, bench.run("100"), 4)


def test_lost_uploads_while_they_get_more_expensive(opened: Open) -> None:
    def price(ask: Ask) -> Quote:
        return same(1 if not ask.upload else 0.5 if ask.accepted < 3 else 6)

    world = World(price, fault=lambda ask: "cut-after" if ask.upload and ask.accepted % 4 == 3 else None, seed=9)
    bench = opened(world, [Wish(image=number) for number in range(16)])
    outcome = bench.run("60")
    assert not bench.judged().breaches, bench.why(outcome)
    assert outcome.code in (4, 5), bench.why(outcome)


def test_refunds_free_credits_for_others(opened: Open) -> None:
    world = World(fixed(4), fails=lambda ask: ask.accepted % 3 == 0, seed=10)
    bench = opened(world, [Wish()] * 20)
    outcome = bench.run("48")
    kept(bench, outcome, 4)
    assert bench.judged().charged == 48, bench.why(outcome)


def test_refunds_while_the_price_rises(opened: Open) -> None:
    world = World(stepped((0, 2), (12, 14)), fails=lambda ask: ask.accepted % 3 == 0, seed=11)
    bench = opened(world, PLAIN)
    kept(bench, bench.run("80"), 4)


@pytest.mark.parametrize("lag", [0.3, 1.5])
def test_a_ledger_that_charges_later(opened: Open, lag: float) -> None:
    bench = opened(World(stepped((0, 2), (6, 20)), ledger_lag=lag), PLAIN)
    outcome = bench.run("90")
    assert not bench.judged().breaches, bench.why(outcome)
    assert bench.judged().over == 0, bench.why(outcome)


def test_a_ledger_that_charges_more_than_the_record_is_found_by_the_audit(opened: Open) -> None:
    """No figure that a run is sent says so: its books are within the budget, and the audit finds the difference."""
    bench = opened(World(lambda _ask: lying(1, 1, 3)), PLAIN)
    outcome = bench.run("20")
    assert not bench.judged().breaches, bench.why(outcome)
    assert bench.books() <= 20, bench.why(outcome)
    audit = bench.command("check", "outputs/priced/default")
    assert audit.code == 7, audit.words


@pytest.mark.parametrize("ceiling", [None, "4"])
def test_a_record_beyond_what_is_allowed_stops_new_purchases(opened: Open, ceiling: str | None) -> None:
    declared = {"max_credits_per_job": ceiling} if ceiling else {}
    bench = opened(World(lambda _ask: lying(1, 40, 40), rtt=(0.15, 0.2)), [Wish()] * 50, **declared)
    outcome = bench.run("4000", c="4")
    kept(bench, outcome, 4, 5)
    assert "price_differs" in bench.report_text, bench.why(outcome)


def test_an_account_with_less_than_the_budget(opened: Open) -> None:
    bench = opened(World(stepped((0, 2), (6, 20)), balance=Decimal(50)), PLAIN)
    outcome = bench.run("200")
    kept(bench, outcome, 4)
