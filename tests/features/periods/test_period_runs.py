"""The budget that a run gets of its account's period: what it may buy, what is recorded, and how it
is explained.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.core.events import Accepted, Succeeded
from crucible_batch.core.progress import JobAdvanced, RunBegan
from crucible_batch.errors import BudgetAccountError
from crucible_batch.features.periods.account import BudgetAccount
from crucible_batch.features.periods.budgets import release_budget
from crucible_batch.features.periods.period_budget import RunAllowance
from tests.harness.bench import Watcher
from tests.harness.object_store import URL
from tests.harness.replacing import replace
from tests.harness.stopped_runs import stop_after

SHORT_JOBS = True

DAY_S = 86_400.0


def write(
    bench: Any, jobs: int, *, budget: str = "{credits: 10, per: day, account: studio}"
) -> Path:
    """Write a manifest of jobs of 2 credits."""
    manifest: Path = bench.manifest(
        f'{{name: a, prompt: "{{{{ repeat }}}}", repeat: {jobs}}}',
        budget=None,
        head=f"budget: {budget}\n",
    )
    return manifest


async def run(bench: Any, manifest: Path, **options: Any) -> api.RunResult:
    """Run with the accounts beside the run directory."""
    settings = replace(bench.settings, accounts_directory=bench.path / "accounts")
    result: api.RunResult = await bench.run(manifest, settings=settings, **options)
    return result


def at_noon(bench: Any) -> None:
    bench.clock._wall += DAY_S / 2 - bench.clock.now() % DAY_S


def account(bench: Any) -> BudgetAccount:
    (file,) = (bench.path / "accounts").glob("*.sqlite3")
    return BudgetAccount(file)


async def test_a_directory_of_two_periods_may_spend_the_limit_in_each(start: Any) -> None:
    """The grant replaces the budget of the manifest: together it is higher than the limit."""
    async with start() as bench:
        at_noon(bench)
        manifest = write(bench, 10)
        first = await run(bench, manifest)
        bench.clock._wall += DAY_S
        second = await run(bench, manifest)
        state = await bench.agree(second)
    assert (first.exit_code, first.report.credits.spent, first.report.credits.budget) == (4, 10, 10)
    assert (second.exit_code, second.report.credits.spent, second.report.credits.budget) == (
        0,
        20,
        20,
    )
    assert state["requests"]["generate"] == 10


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "seen"])
async def test_a_machine_leaves_its_allowance_to_the_one_that_continues_by_the_log(
    start: Any, store: Any, watcher: Any, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    """Both see the accounts, and the other one may see the directory of the first. Without the note
    of the log, the allowance would be that of a run that is gone, and nothing would be left."""
    async with start() as bench:
        at_noon(bench)
        manifest = write(bench, 10)
        settings = replace(bench.settings, accounts_directory=bench.path / "accounts")
        with monkeypatch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(bench.path / "lost"))
            patch.setattr(RunAllowance, "settle", lambda *_given: None)  # it is killed
            await stop_after(bench, watcher, manifest, Accepted, 2, out_dir=URL, settings=settings)
        if is_lost:
            shutil.rmtree(bench.path / "lost")
        monkeypatch.setenv("XDG_STATE_HOME", str(bench.path / "other"))
        second = await run(bench, manifest, out_dir=URL)
        state = await bench.agree(second)
        shares = account(bench).of_directory(str(second.run_dir))
    assert (second.exit_code, second.report.credits.spent) == (4, 10)
    assert len(state["jobs"]) == 5
    assert len(shares) == 1


async def test_the_allowance_of_a_run_in_an_object_store_is_released_by_its_url(
    start: Any, store: Any, watcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        at_noon(bench)
        settings = replace(bench.settings, accounts_directory=bench.path / "accounts")
        with monkeypatch.context() as patch:
            patch.setattr(RunAllowance, "settle", lambda *_given: None)  # it is killed
            manifest = write(bench, 10, budget="{credits: 30, per: day, account: studio}")
            await stop_after(bench, watcher, manifest, Succeeded, 2, out_dir=URL, settings=settings)
        (released,) = release_budget(settings, "studio", URL, now=bench.clock.now())
        with pytest.raises(BudgetAccountError, match="has nothing of s3://bucket/other/place"):
            release_budget(settings, "studio", "s3://bucket/other/place", now=bench.clock.now())
    assert released.released >= 10
    assert released.after.spent + released.after.set_aside + released.released == 30


async def test_what_is_in_flight_is_not_above_the_budget_that_a_lower_limit_leaves(
    start: Any,
) -> None:
    """The budget that is recorded covers what was held before; the one that is bought from does
    not."""
    budget = "{{credits: {}, per: day, account: studio, max_credits_per_job: 2}}"

    def fail(message: object) -> None:
        is_success = isinstance(message, JobAdvanced) and isinstance(message.event, Succeeded)
        assert not is_success, "the process is gone"

    async with start() as bench:
        at_noon(bench)
        with pytest.raises(BaseExceptionGroup):
            await run(bench, write(bench, 3, budget=budget.format(10)), observer=Watcher(fail))
        result = await run(bench, write(bench, 5, budget=budget.format(4)))
        state = await bench.agree(result)
    assert state["requests"]["generate"] == 3
    credits = result.report.credits
    assert (result.exit_code, credits.spent, credits.budget, credits.over_budget) == (4, 6, 6, 0)


async def test_a_job_that_the_period_has_no_credits_for_is_explained_by_the_period(
    start: Any,
) -> None:
    async with start() as bench:
        at_noon(bench)
        result = await run(bench, write(bench, 10))
    assert result.report.period is not None
    assert result.report.period.exhausted
    errors: Sequence[Any] = [row.error for row in result.jobs() if row.error is not None]
    assert [error.code for error in errors] == ["BUDGET_EXHAUSTED"] * 5
    for error in (*errors, *result.report.stops.values()):
        assert error.message.startswith("budget studio: 10 of 10 credits used or set aside today; ")
        assert error.hint.startswith("more from ")


async def test_a_journal_from_a_backup_is_another_one_although_its_jobs_are_restored(
    start: Any,
) -> None:
    """What is restored are events of the run that restores: they don't make the journal the
    account's newest one.
    """
    unlimited = "{credits: 100}"
    async with start() as bench:
        at_noon(bench)
        backup, state = bench.path / "backup", bench.path / "out" / ".crucible"

        def copy(message: object) -> None:
            if isinstance(message, RunBegan):
                shutil.copytree(state, backup, ignore=shutil.ignore_patterns("*.sock"))

        await run(bench, write(bench, 1))
        await run(bench, write(bench, 2), observer=Watcher(copy))
        await run(bench, write(bench, 9, budget=unlimited))  # more events than the account has seen
        shutil.rmtree(state)
        shutil.move(backup, state)
        result = await run(
            bench, write(bench, 10, budget="{credits: 60, per: day, account: studio}")
        )
        assert result.exit_code == 0
        shares = account(bench).of_directory(str(bench.path / "out"))
    assert len({share.run for share in shares}) == 2
