"""Each row of the table in the design of the cap, with the result that is stated there."""

from decimal import Decimal

from tests.verification.pricing.conftest import Open
from tests.verification.pricing.running import Bench, Outcome, Wish
from tests.verification.pricing.world import Ask, Price, Quote, World, lying, same, stepped

BY_SIZE = [Wish(width=512), *[Wish(width=2048)] * 80]


def by_size(ask: Ask) -> Quote:
    return same(2 if ask.params["size.width"] == 512 else 16)


def quick(price: Price) -> World:
    """A gateway as fast as the fastest of ``scenario.py``; how long its jobs take is nothing to the table."""
    return World(price, rtt=(0.02, 0.05), service=0.05)


def dear_uploads(job: str) -> World:
    """The first upload costs 0.5, each other 25."""

    def price(ask: Ask) -> Quote:
        return same(job if not ask.upload else 0.5 if ask.accepted == 0 else 25)

    return quick(price)


def within_the_rule(bench: Bench, outcome: Outcome, code: int = 4) -> None:
    assert not bench.judged().breaches, bench.why(outcome)
    assert outcome.code == code, bench.why(outcome)


def test_price_by_size_with_a_declared_ceiling(opened: Open) -> None:
    bench = opened(quick(by_size), BY_SIZE, max_credits_per_job="16")
    outcome = bench.run("50", c="64")
    assert bench.judged().charged == 50, bench.why(outcome)
    within_the_rule(bench, outcome)


def test_price_by_size_with_nothing_declared(opened: Open) -> None:
    bench = opened(quick(by_size), BY_SIZE)
    outcome = bench.run("50", c="auto")
    assert bench.judged().charged == 50, bench.why(outcome)
    within_the_rule(bench, outcome)


def test_first_free_and_then_a_hundred_each(opened: Open) -> None:
    bench = opened(quick(stepped((0, 0), (1, 100))), [Wish()] * 64)
    outcome = bench.run("50")
    assert bench.judged().highest == 100, bench.why(outcome)
    assert bench.gateway.book.accepted() == 2, bench.why(outcome)
    within_the_rule(bench, outcome)


def test_two_becomes_twenty_after_ten_jobs(opened: Open) -> None:
    bench = opened(quick(stepped((0, 2), (10, 20))), [Wish()] * 64)
    outcome = bench.run("200")
    assert bench.judged().charged == 200, bench.why(outcome)
    within_the_rule(bench, outcome)


def test_uploads_become_fifty_times_as_dear(opened: Open) -> None:
    bench = opened(dear_uploads("0"), [Wish(image=number) for number in range(40)])
    outcome = bench.run("60", c="40")
    assert bench.judged().charged == Decimal("50.5"), bench.why(outcome)
    within_the_rule(bench, outcome)


def test_uploads_become_fifty_times_as_dear_and_jobs_cost_too(opened: Open) -> None:
    """The rise is beyond a surge, so the budget may be exceeded by what is beyond the bounds of the unanswered ones."""
    bench = opened(dear_uploads("1"), [Wish(image=number) for number in range(40)])
    outcome = bench.run("60", c="40")
    within_the_rule(bench, outcome)


def test_uploads_within_their_declared_ceiling(opened: Open) -> None:
    bench = opened(dear_uploads("1"), [Wish(image=number) for number in range(40)], max_credits_per_upload="25")
    outcome = bench.run("60", c="40")
    assert bench.judged().over == 0, bench.why(outcome)
    assert bench.judged().charged > 25, bench.why(outcome)
    within_the_rule(bench, outcome)


def test_uploads_above_their_declared_ceiling_stop_the_run(opened: Open) -> None:
    bench = opened(dear_uploads("1"), [Wish(image=number) for number in range(40)], max_credits_per_upload="1")
    outcome = bench.run("60", c="40")
    assert bench.judged().charged > 25, bench.why(outcome)
    within_the_rule(bench, outcome)


def test_the_record_and_the_ledger_say_more_than_the_answer(opened: Open) -> None:
    bench = opened(quick(lambda _ask: lying(1, 7, 7)), [Wish()] * 20)
    outcome = bench.run("30")
    within_the_rule(bench, outcome)
    money, charged = bench.report["credits"], bench.judged().charged
    assert bench.books() == charged, (money, bench.why(outcome))
    assert Decimal(money["over_budget"]) == max(Decimal(0), charged - 30), (money, bench.why(outcome))
    assert {job["credits"] for job in bench.report["jobs"] if job["job_id"]} == {"7"}, bench.why(outcome)
    assert "price_differs" in bench.report_text, bench.why(outcome)
