"""The limit of a period holds at every row of the gateway's ledger, whatever runs do and wherever
they are killed."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.features.periods.account_world import CEILING, UPLOAD, AccountWorld, shards_of

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
RUNS = st.sampled_from(["run0", "run1", "run2"])
MAINS = st.sampled_from(["run0", "run1"])
DIVIDED = st.sampled_from(["run0", "run0/1", "run0/2", "run1", "run1/1", "run1/2"])
PRICES = st.sampled_from([Decimal(0), Decimal("0.5"), Decimal(3), Decimal(5)])
LIMIT = Decimal(20)


class Account(RuleBasedStateMachine):
    """Runs on one account, in every order of their steps."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory(dir=IN_MEMORY)

    @initialize(skew=st.sampled_from([0.0, 9.0, -9.0]))
    def begin(self, skew: float) -> None:
        self.world = AccountWorld(Path(self._folder.name), skew=skew)

    def teardown(self) -> None:
        self._folder.cleanup()

    @rule(
        run=RUNS,
        limit=st.sampled_from([LIMIT, LIMIT, Decimal(12)]),
        own=st.sampled_from([None, None, Decimal(10)]),
        need=st.sampled_from([None, None, Decimal(5), Decimal(10)]),
    )
    def start(self, run: str, limit: Decimal, own: Decimal | None, need: Decimal | None) -> None:
        self.world.start(run, limit, own=own, need=need)

    @rule(run=RUNS)
    def hold(self, run: str) -> None:
        self.world.hold(run)

    @rule(run=RUNS, price=PRICES)
    def take_effect(self, run: str, price: Decimal) -> None:
        self.world.take_effect(run, price)

    @rule(run=RUNS, price=PRICES)
    def hold_and_answer(self, run: str, price: Decimal) -> None:
        self.world.hold(run)
        self.world.answer(run, price)

    @rule(run=RUNS, price=PRICES)
    def answer(self, run: str, price: Decimal) -> None:
        self.world.answer(run, price)

    @rule(run=RUNS, price=PRICES)
    def lose_answer(self, run: str, price: Decimal) -> None:
        self.world.lose_answer(run, price)

    @rule(run=RUNS)
    def refuse(self, run: str) -> None:
        self.world.refuse(run)

    @rule(run=RUNS)
    def succeed(self, run: str) -> None:
        self.world.succeed(run)

    @rule(run=RUNS)
    def fail(self, run: str) -> None:
        self.world.fail(run)

    @rule(run=RUNS)
    def upload(self, run: str) -> None:
        self.world.upload(run)

    @rule(run=RUNS, lost=st.booleans())
    def created(self, run: str, lost: bool) -> None:
        self.world.created(run, lost=lost)

    @rule(run=RUNS)
    def ready(self, run: str) -> None:
        self.world.ready(run)

    @rule(run=RUNS, rebate=st.sampled_from([Decimal(1), UPLOAD]))
    def give_back(self, run: str, rebate: Decimal) -> None:
        self.world.give_back(run, rebate)

    @rule(run=RUNS)
    def kill(self, run: str) -> None:
        self.world.kill(run)

    @rule(run=RUNS)
    def end(self, run: str) -> None:
        self.world.end(run)

    @rule(seconds=st.sampled_from([1.0, 3600.0, 40_000.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from([-15.0, -5.0, -1.0]))
    def wait_for_midnight(self, seconds: float) -> None:
        to_midnight = 86_400 - self.world.now % 86_400
        if to_midnight + seconds > 0:
            self.world.wait(to_midnight + seconds)

    @invariant()
    def the_limit_holds(self) -> None:
        if hasattr(self, "world"):
            self.world.check()


class DividedAccount(RuleBasedStateMachine):
    """Runs on one account are divided into shards and merged, in every order of their steps."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory(dir=IN_MEMORY)
        self.world = AccountWorld(Path(self._folder.name), runs=2)

    def teardown(self) -> None:
        self._folder.cleanup()

    @rule(run=MAINS)
    def start(self, run: str) -> None:
        self.world.start(run, LIMIT)

    @rule(run=MAINS, first=st.integers(0, 4), second=st.integers(0, 4))
    def divide_and_buy(self, run: str, first: int, second: int) -> None:
        self.world.start(run, LIMIT)
        self.world.divide(run)
        for shard, times in zip(shards_of(run), (first, second), strict=True):
            self._buy(shard, times, "succeed")

    @rule(
        run=DIVIDED,
        times=st.integers(1, 4),
        fate=st.sampled_from(["succeed", "succeed", "fail", "fly", "lose"]),
    )
    def buy(self, run: str, times: int, fate: str) -> None:
        self._buy(run, times, fate)

    def _buy(self, run: str, times: int, fate: str) -> None:
        for _ in range(times):
            self.world.hold(run)
            if fate == "lose":
                self.world.lose_answer(run, CEILING)
            else:
                self.world.answer(run, CEILING)
            {"succeed": self.world.succeed, "fail": self.world.fail}.get(fate, str)(run)

    @rule(run=DIVIDED)
    def fail_in_flight(self, run: str) -> None:
        self.world.fail(run)

    @rule(shard=DIVIDED)
    def kill_and_start_again(self, shard: str) -> None:
        self.world.kill(shard)
        self.world.start(shard, LIMIT)

    @rule(run=MAINS, is_killed=st.booleans())
    def merge(self, run: str, is_killed: bool) -> None:
        self.world.merge(run, is_killed=is_killed)

    @rule(run=MAINS)
    def end(self, run: str) -> None:
        self.world.end(run)

    @rule(seconds=st.sampled_from([-15.0, -5.0, -1.0, 60.0]))
    def wait_for_midnight(self, seconds: float) -> None:
        to_midnight = 86_400 - self.world.now % 86_400
        self.world.wait(max(1.0, to_midnight + seconds))

    @invariant()
    def the_limit_holds(self) -> None:
        self.world.check()


def test_the_limit_holds_in_every_order_in_which_runs_are_divided_and_merged() -> None:
    run_state_machine_as_test(
        DividedAccount, settings=settings(max_examples=150, stateful_step_count=30)
    )


@pytest.mark.slow
def test_the_limit_holds_in_many_orders_in_which_runs_are_divided_and_merged() -> None:
    run_state_machine_as_test(
        DividedAccount, settings=settings(max_examples=600, stateful_step_count=50)
    )


def test_the_limit_of_a_period_holds_in_every_order_of_steps() -> None:
    run_state_machine_as_test(Account, settings=settings(max_examples=60, stateful_step_count=40))


@pytest.mark.slow
def test_the_limit_of_a_period_holds_in_many_long_orders() -> None:
    run_state_machine_as_test(Account, settings=settings(max_examples=300, stateful_step_count=80))
