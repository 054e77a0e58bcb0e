"""Prices that move: each rule alone, all that a gateway was seen to do, and what is refused."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from crucible_batch.sandbox import DEFAULT_KEY, Pricing, Rise, SandboxConfig, parse_pricing
from crucible_batch.sandbox.assets import Intent
from crucible_batch.sandbox.faults import Faults
from crucible_batch.sandbox.jobs import Order
from crucible_batch.sandbox.pricing import Purchase
from crucible_batch.sandbox.world import World
from tests.harness.case_table import each_case
from tests.harness.sandbox_audit import audit_world, price_in

BASE = Decimal(2)
BEGAN = 1000.0


def priced(text: str, *, seed: int = 0) -> World:
    config = SandboxConfig(
        seed=seed,
        accounts={DEFAULT_KEY: Decimal(100_000)},
        pricing=parse_pricing(text),
        time_scale=0,
    )
    return World(config, Faults((), seed), BEGAN)


def bought(
    world: World, *, width: int = 512, height: int = 512, steps: int = 20, after_s: float = 0
) -> Decimal:
    """Buy a job, and give what the ledger took for it."""
    params = {"size.width": width, "size.height": height, "sampler.steps": steps}
    world.submit(
        world.authenticate(DEFAULT_KEY), Order("zimage-base", params, None), BEGAN + after_s
    )
    return next(entry.amount for entry in reversed(world.entries) if entry.entry_type == "reserve")


def uploaded(world: World) -> Decimal:
    account = world.authenticate(DEFAULT_KEY)
    return world.create_asset(account, Intent("image/png", 10, None, {}), BEGAN).charged


@each_case(
    "rule, purchase, price",
    [
        (Pricing(), Purchase(0, 0, 0.9), BASE),
        (Pricing(size=100, steps=10), Purchase(0, 0, 0, pixels=200, steps=30), 12),
        (Pricing(jitter=Decimal("0.5")), Purchase(0, 0, 0.5), Decimal("2.5")),
        (Pricing(rises=(Rise(Decimal(10), after_s=Decimal(60)),)), Purchase(0, 59.9, 0), BASE),
        (Pricing(rises=(Rise(Decimal(10), after_s=Decimal(60)),)), Purchase(0, 60, 0), 20),
        (Pricing(rises=(Rise(Decimal(10)), Rise(Decimal(3), after=1))), Purchase(1, 0, 0), 6),
        (Pricing(size=3), Purchase(0, 0, 0, pixels=1), Decimal("0.666667")),
    ],
)
def test_a_rule_makes_a_price_of_a_base(rule: Pricing, purchase: Purchase, price: Decimal) -> None:
    assert rule.price(BASE, purchase) == price


def test_a_rule_of_all_workflows_and_one_of_its_own_add_up() -> None:
    found = parse_pricing(
        "free=2, zimage-base.rise-after=10x16, upload.rise-at=1.5x50,zimage-base.size=512x256"
    )
    assert found["qwen-edit"] == Pricing(free=2)
    assert found["zimage-base"] == Pricing(
        free=2, size=512 * 256, rises=(Rise(Decimal(16), after=10),)
    )
    assert found["upload"] == Pricing(rises=(Rise(Decimal(50), after_s=Decimal("1.5")),))


def many(count: int, buy: Callable[[World], Decimal]) -> Callable[[World], list[Decimal]]:
    return lambda world: [buy(world) for _ in range(count)]


@each_case(
    "rules, buy, prices",
    [
        (
            "zimage-base.size=512x512",
            lambda world: [bought(world), bought(world, width=1024, height=2048)],
            [2, 16],
        ),
        ("zimage-base.base=100,zimage-base.free=1", many(3, bought), [0, 100, 100]),
        ("zimage-base.rise-after=10x10", many(12, bought), [2] * 10 + [20] * 2),
        ("upload.rise-after=1x50", many(3, uploaded), [Decimal("0.5"), 25, 25]),
        (
            "zimage-base.rise-at=60x3",
            lambda world: [bought(world), bought(world, after_s=60)],
            [2, 6],
        ),
        ("zimage-base.steps=20", lambda world: [bought(world), bought(world, steps=30)], [2, 3]),
    ],
)
def test_what_gateways_were_seen_to_do_can_be_had(
    rules: str, buy: Callable[[World], list[Decimal]], prices: list[Decimal]
) -> None:
    world = priced(rules)
    assert buy(world) == prices
    assert audit_world(world, BEGAN + 1000).problems == ()


def test_chance_comes_from_the_seed_and_stays_within_its_bounds() -> None:
    prices = [bought(world) for world in [priced("jitter=0.5", seed=4)] for _ in range(50)]
    assert prices == [bought(world) for world in [priced("jitter=0.5", seed=4)] for _ in range(50)]
    assert len(set(prices)) > 40
    assert all(2 <= price < 3 and price == round(price, 6) for price in prices)


def test_what_an_order_would_cost_is_what_it_costs() -> None:
    world = priced("jitter=0.5,size=512x512,rise-after=1x3")
    account, order = (
        world.authenticate(DEFAULT_KEY),
        Order("zimage-base", {"size.width": 1024}, None),
    )
    for _ in range(3):
        quoted = price_in(world, account, order, BEGAN)
        assert world.submit(account, order, BEGAN)[0].price == quoted


async def test_the_answer_can_state_another_figure_than_the_record_and_the_ledger(
    start: Any,
) -> None:
    async with start(pricing=parse_pricing("zimage-base.base=7,zimage-base.answer=1")) as client:
        answer = (await client.generate("zimage-base", "k")).json()["data"]
        again = (await client.generate("zimage-base", "k")).json()["data"]
        assert (answer["requested_credits"], again["requested_credits"]) == (1, 1)
        assert (await client.get(f"/api/v1/jobs/{answer['job_id']}"))["requested_credits"] == 7
        assert (await client.get("/api/v1/credits"))["balance"] == 993
        assert (await client.state())["audit"]["problems"] == []


async def test_a_restart_remembers_what_was_stated_and_how_many_were_bought(
    start: Any, tmp_path: Any
) -> None:
    settings = {
        "state": tmp_path / "state",
        "pricing": parse_pricing("base=7,answer=1,record=2,free=1"),
    }
    async with start(**settings) as client:
        job_id = (await client.job("zimage-base", "k"))["job_id"]
    async with start(**settings) as client:
        assert (await client.generate("zimage-base", "k")).json()["data"]["requested_credits"] == 1
        assert (await client.get(f"/api/v1/jobs/{job_id}"))["requested_credits"] == 2
        await client.job("zimage-base", "other")
        assert (await client.get("/api/v1/credits"))["balance"] == 993


@each_case(
    "text, about",
    [
        ("cheap", "not [workflow.]name=value"),
        ("discount=2", "known are base, size"),
        ("nope.base=2", "known are zimage-base"),
        ("upload.size=512x512", "not for uploads"),
        ("size=512", "size=512"),
        ("steps=x", "steps=x"),
        ("rise-after=10", "rise-after=10"),
        ("rise-after=1.5x2", "rise-after=1.5x2"),
        ("base=1.2.3", "base=1.2.3"),
    ],
)
def test_a_rule_that_can_not_be_read_is_refused_with_what_there_is(text: str, about: str) -> None:
    with pytest.raises(ValueError, match=r".*") as refused:
        parse_pricing(text)
    assert about in str(refused.value)


@each_case(
    "pricing",
    [
        {"nope": Pricing()},
        {"zimage-base": Pricing(size=0)},
        {"zimage-base": Pricing(steps=0)},
    ],
)
def test_prices_that_can_not_be_are_refused(pricing: dict[str, Pricing]) -> None:
    with pytest.raises(ValueError, match=r".*"):
        SandboxConfig(pricing=pricing)
