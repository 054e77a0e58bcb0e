"""Credits that were not refunded stay set aside in their period."""

from __future__ import annotations

from tests.harness.commands import Cli
from tests.harness.missing_refunds import AT_ONCE, ask, reserved


def test_a_period_has_no_room_for_what_was_not_refunded(dishonest: Cli) -> None:
    budget = "{credits: 4, per: month, account: shared, max_credits_per_job: 2}"
    for name in ("first", "second"):
        dishonest.write(name, "- {name: fox, prompt: a fox, repeat: 4}", budget=budget)
    first = dishonest("run", "first.yaml", *AT_ONCE, "--json")
    assert first.code == 4
    assert reserved(dishonest) == 4
    (account,) = dishonest("budget", "show", "shared", "--json").envelope["data"]["accounts"]
    assert (account["spent"], account["set_aside"], account["left"]) == ("0", "4", "0")
    assert dishonest("run", "second.yaml", *AT_ONCE, "-q").code == 4
    ask(dishonest, "config", {"faults": ""})
    assert dishonest("run", "second.yaml", *AT_ONCE, "-q").code == 4
    assert reserved(dishonest) == 4
