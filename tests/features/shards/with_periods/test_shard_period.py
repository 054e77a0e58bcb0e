"""The budget of a period and a divided run: set aside once, settled by the merge, whenever either
of them is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from crucible_batch.core.budget_period import Calendar
from crucible_batch.core.plan import RunTerms
from crucible_batch.core.sharding import PlannedShard
from crucible_batch.errors import ShardsOutstandingError, UserError
from crucible_batch.features.periods.account import BudgetAccount, account_files
from crucible_batch.features.periods.budgets import budget_states, release_budget
from crucible_batch.features.periods.note import noted_period
from crucible_batch.features.shards.divided_plan import set_aside
from crucible_batch.features.shards.merging import merge
from crucible_batch.features.shards.period_budget import division_limit
from crucible_batch.features.shards.shard_division import Division
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.manifest import load_manifest
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.saved_plans import PlanBasis
from crucible_batch.runs.shard_notes import noted_shards
from crucible_batch.settings import Settings
from tests.features.periods.test_period_budget import NOON, VirtualClock
from tests.features.shards.test_merge_crashes import Boundaries
from tests.harness.shard_ground import BINDING, ShardGround, done, planned
from tests.harness.slow_cases import quick_every

MANIFEST = """version: 1
name: campaign
workflow: w
budget: {credits: 100, per: day, account: studio, max_credits_per_job: 5}
jobs: [{name: job, prompt: a fox}]
"""
WANTED = Decimal(20)
"""Four jobs of at most 5 credits."""


@dataclass(frozen=True)
class PeriodGround:
    """A main run directory with four jobs for two shards, and an account with 100 credits a day."""

    home: Path

    @property
    def ground(self) -> ShardGround:
        return ShardGround(self.home, jobs=4, count=2)

    @property
    def settings(self) -> Settings:
        return Settings(
            api_key="key", base_url=BINDING.gateway, accounts_directory=self.home / "accounts"
        )

    @property
    def terms(self) -> RunTerms:
        return replace(self.ground.terms, ceiling=Decimal(5))

    def divide(self, digest: str = ShardGround.digest) -> Decimal | None:
        """Divide the plan as ``plan_shards`` does; return the budget that it was divided within."""
        self.home.mkdir(exist_ok=True)
        manifest = self.home / "campaign.yaml"
        manifest.write_text(MANIFEST)
        basis = PlanBasis(load_manifest(manifest), self.terms, BINDING.gateway)
        shards = tuple(PlannedShard(number, 2, 2, Decimal(10)) for number in (1, 2))

        async def divided(journal: Journal) -> Decimal | None:
            request = RunRequest(manifest)
            async with division_limit(
                request, basis, journal, self.settings, VirtualClock()
            ) as limit:
                set_aside(
                    journal,
                    Division(shards, [], [], ()),
                    digest,
                    limit.terms.budget,
                    account=limit.account,
                )
            return limit.terms.budget

        with (
            Journal.open(self.ground.main, BINDING, now=NOON) as journal,
            PlanFile.temporary() as plan,
        ):
            plan.fill(planned(number) for number in range(4))
            journal.adopt(plan)
            return asyncio.run(divided(journal))

    def run_shards(self) -> None:
        """Each job is bought for 2 credits."""
        for number in (1, 2):
            self.ground.shard(
                number, [done(job, NOON + job) for job in self.ground.numbers_of(number)]
            )

    def merge(self) -> None:
        merge([self.ground.main], html=False, clock=lambda: NOON + 60, settings=self.settings)

    def figures(self) -> tuple[Decimal, Decimal]:
        """The credits of the day that are spent and set aside, by the account."""
        (state,) = budget_states(self.settings, now=NOON + 60)
        return state.shares.spent, state.shares.set_aside

    def allowances(self) -> list[str | None]:
        """The ids of what the runs of the account have set aside."""
        (file,) = account_files(self.home / "accounts")
        account = BudgetAccount(file)
        period = Calendar("day", ZoneInfo("UTC")).at(NOON)
        return [each.allowance for each in account.shares(period)]

    def outstanding(self) -> bool:
        if not Journal.exists(self.ground.main):
            return False
        with Journal.read(self.ground.main) as journal:
            shards = noted_shards(journal)
        return shards is not None and bool(shards.missing)


@pytest.fixture
def period(tmp_path: Path) -> PeriodGround:
    return PeriodGround(tmp_path)


def test_a_plan_is_divided_within_what_was_set_aside_and_the_merge_settles_it(
    period: PeriodGround,
) -> None:
    assert period.divide() == WANTED
    assert period.figures() == (0, WANTED)
    period.run_shards()
    assert period.figures() == (0, WANTED)
    period.merge()
    assert period.figures() == (8, 0)
    with Journal.read(period.ground.main) as journal:
        figures = noted_period(journal)
    assert figures is not None
    assert (figures.account, figures.spent, figures.set_aside) == ("studio", 8, 0)
    period.merge()
    assert period.figures() == (8, 0)


def test_the_same_plan_again_sets_nothing_aside_and_has_the_same_budget(
    period: PeriodGround,
) -> None:
    """Otherwise what the shards may still spend would count in the new period only."""
    period.divide()
    before = period.allowances()
    period.run_shards()
    assert period.divide() == WANTED
    assert period.figures() == (0, WANTED)
    assert period.allowances() == before


def test_a_plan_that_is_not_made_leaves_nothing_set_aside(
    period: PeriodGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("no job can start", hint="raise the budget")

    with monkeypatch.context() as patch:
        patch.setattr(
            "tests.features.shards.with_periods.test_shard_period.set_aside",
            lambda *_, **__: fail(),
        )
        with pytest.raises(UserError, match="no job can start"):
            period.divide()
    assert budget_states(period.settings, now=NOON + 60)[0].runs == ()


def test_a_run_is_not_released_until_its_shards_are_merged(period: PeriodGround) -> None:
    period.divide()
    period.run_shards()
    with pytest.raises(ShardsOutstandingError):
        release_budget(period.settings, "studio", period.ground.main, now=NOON + 60)
    assert period.figures() == (0, WANTED)
    period.merge()
    (released,) = release_budget(period.settings, "studio", period.ground.main, now=NOON + 60)
    assert released.released == 0


def test_an_account_that_is_gone_does_not_prevent_the_merge(
    period: PeriodGround, caplog: pytest.LogCaptureFixture
) -> None:
    period.divide()
    period.run_shards()
    (period.home / "accounts").rename(period.home / "moved")
    period.merge()
    assert "there is no budget account studio" in caplog.text
    assert f"crucible-batch budget release studio {period.ground.main}" in caplog.text
    assert not (period.home / "accounts").exists()
    (period.home / "moved").rename(period.home / "accounts")
    assert period.figures() == (0, WANTED)
    period.merge()
    assert period.figures() == (8, 0)


def test_a_journal_from_a_backup_does_not_settle_what_a_newer_one_has_set_aside(
    period: PeriodGround,
) -> None:
    period.divide()
    shutil.copytree(period.ground.main / ".crucible", period.home / "backup")
    for number in (1, 2):
        period.ground.shard(number, [done(number - 1, NOON)])
    period.merge()
    period.divide("9" * 64)
    assert period.figures()[1] > 0
    before = period.figures()
    shutil.rmtree(period.ground.main / ".crucible")
    shutil.copytree(period.home / "backup", period.ground.main / ".crucible")
    period.merge()
    assert period.figures() == before


# -- killed at any effect

PARTS = 12


def in_a_process(step: Callable[[], object], point: int, *, after: bool) -> None:
    """Take a step in a process of its own, which is killed at one of its effects, before it or
    after it."""
    child = os.fork()
    if not child:
        try:
            with Boundaries(point, lambda: os._exit(9), after=after).watching():
                step()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in {0, 9}


def effects_of(step: Callable[[], object]) -> int:
    boundaries = Boundaries(None, lambda: None, after=False)
    with boundaries.watching():
        step()
    return boundaries.count


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("part", range(PARTS))
def test_a_division_that_was_killed_is_made_by_the_same_command_with_one_allowance(
    tmp_path: Path, part: int, *, after: bool
) -> None:
    effects = effects_of(PeriodGround(tmp_path / "count").divide)
    for point in range(1 + part, effects + 1, PARTS):
        period = PeriodGround(tmp_path / str(point))
        in_a_process(period.divide, point, after=after)
        is_divided = period.outstanding()
        if is_divided:
            assert period.figures() == (0, WANTED), point
        assert period.divide() == WANTED, point
        assert period.figures() == (0, WANTED), point


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("part", quick_every(PARTS, range(PARTS)))
def test_a_merge_that_was_killed_loses_no_credits_and_counts_none_twice(
    tmp_path: Path, part: int, *, after: bool
) -> None:
    template = PeriodGround(tmp_path / "template")
    template.divide()
    template.run_shards()
    counted = copied(template, tmp_path / "count")
    effects = effects_of(counted.merge)
    for point in range(1 + part, effects + 1, PARTS):
        period = copied(template, tmp_path / str(point))
        in_a_process(period.merge, point, after=after)
        spent, aside = period.figures()
        assert 8 <= spent + aside <= WANTED, point
        if period.outstanding():
            assert (spent, aside) == (0, WANTED), point
        period.merge()
        assert period.figures() == (8, 0), point


def copied(template: PeriodGround, home: Path) -> PeriodGround:
    """The account knows where a run directory is, so the copy takes the template's place in it."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(home)
    shutil.copytree(template.home, home)
    return PeriodGround(home)
