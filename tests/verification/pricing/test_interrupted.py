"""Kill -9 in the middle, and the same command again at another price; what stands in files is a claim."""

import json
import re
import shutil
from decimal import Decimal

import pytest

from tests.verification.pricing.conftest import Open
from tests.verification.pricing.running import Bench, Outcome, Wish
from tests.verification.pricing.world import Ask, Quote, World, fixed, lying, same, stepped

pytestmark = pytest.mark.slow

PLAIN = [Wish()] * 40


def within(bench: Bench, outcome: Outcome) -> None:
    """Blocked by the budget, or with a submit in doubt that can't be afforded a second time."""
    assert not bench.judged().breaches, bench.why(outcome)
    assert outcome.code in (4, 5), bench.why(outcome)
    assert bench.books_are_right(), (bench.report["credits"], bench.why(outcome))


@pytest.mark.parametrize("accepted", [1, 12])
def test_killed_and_run_again_after_a_rise(opened: Open, accepted: int) -> None:
    bench = opened(World(fixed(2)), PLAIN)
    first = bench.run("120", kill_after=accepted)
    assert first.code is None, first.words
    bench.gateway.change(price=fixed(30))
    within(bench, bench.run("120"))
    assert bench.judged().over == 0, bench.why()


def test_killed_twice_while_the_price_rises(opened: Open) -> None:
    bench = opened(World(stepped((0, 1), (8, 10), (14, 15))), PLAIN)
    assert bench.run("150", kill_after=7).code is None
    assert bench.run("150", kill_after=3).code is None
    within(bench, bench.run("150"))


def test_killed_with_lost_answers_and_run_again_after_a_rise(opened: Open) -> None:
    def fault(ask: Ask) -> str | None:
        return ask.random.choice([None, None, "cut-after", "cut-before"]) if ask.attempt == 1 else None

    bench = opened(World(fixed(2), fault=fault, seed=21), PLAIN)
    assert bench.run("100", kill_after=10).code is None
    bench.gateway.change(price=fixed(25), fault=lambda _ask: None)
    within(bench, bench.run("100"))


def test_killed_and_run_again_with_a_higher_budget_buys_nothing_twice(opened: Open) -> None:
    bench = opened(World(fixed(2)), [Wish()] * 20)
    assert bench.run("20", kill_after=5).code is None
    within(bench, bench.run("20"))
    outcome = bench.run("40")
    assert outcome.code == 0, bench.why(outcome)
    assert not bench.judged().breaches, bench.why(outcome)
    assert bench.judged().charged == 40, bench.why(outcome)


def test_killed_between_uploads_and_jobs(opened: Open) -> None:
    def price(ask: Ask) -> Quote:
        return same("0.5" if ask.upload else 2)

    bench = opened(World(price), [Wish(image=number) for number in range(20)])
    assert bench.run("60", kill_after=4).code is None
    bench.gateway.change(price=lambda ask: same(6 if ask.upload else 20))
    within(bench, bench.run("60"))


def test_killed_while_the_records_say_more(opened: Open) -> None:
    bench = opened(World(lambda _ask: lying(1, 5, 5)), PLAIN)
    assert bench.run("60", kill_after=6).code is None
    within(bench, bench.run("60"))


NUMBER = re.compile(r'("(?:\w*credits\w*|\w*price\w*|\w*amount\w*|requested\w*)":\s*)"?-?[\d.]+"?')


@pytest.mark.parametrize("claim", ["0", "-50", "NaN"])
def test_a_receipt_lowers_no_figure(opened: Open, claim: str) -> None:
    """The journal is gone and the receipts were edited: 30 of 40 are spent, and no file makes that less."""
    bench = opened(World(fixed(3)), [Wish()] * 10)
    outcome = bench.run("40")
    assert (outcome.code, bench.judged().charged) == (0, 30), bench.why(outcome)
    receipts = bench.run_dir / "receipts.jsonl"
    text, edits = NUMBER.subn(rf'\g<1>"{claim}"', receipts.read_text())
    assert edits, receipts.read_text()[:500]
    receipts.write_text(text)
    shutil.rmtree(bench.run_dir / ".crucible")
    bench.write([Wish()] * 40)
    again = bench.run("40")
    assert bench.judged().over == 0, bench.why(again)
    if again.code != 2:  # refused whole is as good
        assert bench.books() >= bench.judged().charged, (bench.report["credits"], bench.why(again))


def test_the_report_stands_by_its_figures_in_json(opened: Open) -> None:
    """What the last line of --json says is what the ledger says, over both runs."""
    bench = opened(World(stepped((0, 2), (6, 12))), PLAIN)
    assert bench.run("70", kill_after=5).code is None
    outcome = bench.run("70", "--json")
    money = json.loads(outcome.stdout.splitlines()[-1])["data"]["credits"]
    assert Decimal(money["spent"]) + Decimal(money["held"]) >= bench.judged().charged, bench.why(outcome)
    assert not bench.judged().breaches, bench.why(outcome)
