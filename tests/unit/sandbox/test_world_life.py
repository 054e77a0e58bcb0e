"""The pure world through any life: the books stay right at every row."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.faults import Faults, parse_faults
from crucible_batch.sandbox.jobs import Order
from crucible_batch.sandbox.records import RefusedError
from crucible_batch.sandbox.store import Store
from crucible_batch.sandbox.world import World
from tests.harness.sandbox_audit import audit_world
from tests.unit.sandbox.test_world import entry_types, order, uploaded


class Life(RuleBasedStateMachine):
    """Any life of two accounts: the books stay right at every row, and a key never buys twice."""

    keys = Bundle("keys")
    asset_ids = Bundle("asset_ids")

    def __init__(self) -> None:
        super().__init__()
        self.config = SandboxConfig(
            accounts={"a": Decimal(12), "b": Decimal("7.3")},
            runners=2,
            faults=parse_faults(
                "fail:0.3,never-ready:0.2,refund-late:0.3,refund-partial:0.3,refund-missing:0.2"
            ),
            refund_late_s=4,
        )
        self.store = Store(None)
        self.now = 0.0
        self.open()

    def open(self) -> None:
        self.world = World(
            self.config, Faults(self.config.faults, self.config.seed), self.now, self.store.load()
        )
        self.accounts = {name: self.world.authenticate(name) for name in "ab"}
        self.store.save(self.world.take_changes())

    @rule(
        target=keys,
        name=st.sampled_from("ab"),
        key=st.none() | st.text("xyz", min_size=1, max_size=2),
        n=st.integers(0, 1),
    )
    def submit(self, name: str, key: str | None, n: int) -> Any:
        reserves = entry_types(self.world).count("reserve")
        made = order(key, prompt__text=f"p{n}")
        try:
            job, is_new = self.world.submit(self.accounts[name], made, self.now)
        except RefusedError as refused:
            if refused.code not in ("INSUFFICIENT_CREDITS", "IDEMPOTENCY_KEY_REUSED"):
                raise
            return multiple()
        assert entry_types(self.world).count("reserve") - reserves == int(is_new)
        return multiple() if key is None else (name, made, job.job_id)

    @rule(bought=keys)
    def submit_again(self, bought: tuple[str, Order, str]) -> None:
        name, made, job_id = bought
        reserves = entry_types(self.world).count("reserve")
        job, is_new = self.world.submit(self.accounts[name], made, self.now)
        assert (job.job_id, is_new) == (job_id, False)
        assert entry_types(self.world).count("reserve") == reserves

    @rule(target=asset_ids, name=st.sampled_from("ab"))
    def upload(self, name: str) -> Any:
        try:
            return (name, uploaded(self.world, self.accounts[name], self.now))
        except RefusedError:
            return multiple()

    @rule(held=consumes(asset_ids))
    def delete(self, held: tuple[str, str]) -> None:
        name, asset_id = held
        assert self.world.delete_asset(self.accounts[name], asset_id, self.now) == Decimal("0.5")

    @rule(held=asset_ids, name=st.sampled_from("ab"))
    def edit(self, held: tuple[str, str], name: str) -> None:
        owner, asset_id = held
        try:
            self.world.submit(
                self.accounts[name], order(None, "qwen-edit", image__image=asset_id), self.now
            )
        except RefusedError:
            return
        assert owner == name

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        before = audit_world(self.world, self.now)
        self.store.save(self.world.take_changes())
        self.open()
        assert audit_world(self.world, self.now) == before

    @invariant()
    def the_books_are_right(self) -> None:
        found = audit_world(self.world, self.now)
        assert found.problems == ()
        assert found.lowest_available >= 0
        assert found.balance + found.spent_on_jobs + found.spent_on_uploads == Decimal("19.3")

    def teardown(self) -> None:
        self.store.__exit__()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)


@pytest.mark.slow
class TestManyLives(Life.TestCase):
    settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
