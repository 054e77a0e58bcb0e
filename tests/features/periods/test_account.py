"""The file of an account: what runs may do at once, and what is never overwritten."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import replace
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from crucible_batch.core.allowance import ShareRequest
from crucible_batch.core.budget_period import BudgetPeriod, Calendar
from crucible_batch.errors import BudgetAccountError, ExitCode
from crucible_batch.features.periods.account import BudgetAccount, account_file, account_files
from crucible_batch.features.periods.active_runs import noted_as_active
from crucible_batch.features.periods.database import transaction
from crucible_batch.features.periods.records import AccountTerms, AllowanceRequest, Grant, RunUsage

TERMS = AccountTerms("studio", "https://gateway", "day", "UTC")
DAY = Calendar("day", ZoneInfo("UTC"))
B = 20_000 * 86_400.0
TODAY, TOMORROW = DAY.at(B), DAY.at(B + 86_400)
LIMIT = Decimal(50)
KEY = "moltazine_first"


@pytest.fixture
def account(tmp_path: Path) -> BudgetAccount:
    return BudgetAccount.create(tmp_path, TERMS)


def usage(
    run: str,
    spent: Mapping[BudgetPeriod, int] | None = None,
    *,
    unanswered: int = 0,
    events: int = 1,
) -> RunUsage:
    by_period = {period.first: Decimal(credits) for period, credits in (spent or {}).items()}
    return RunUsage(run, f"/outputs/{run}", f"{run}.yaml", events, by_period, Decimal(unanswered))


def ask(
    account: BudgetAccount,
    run: str,
    wanted: int | None = None,
    *,
    certain: int = 0,
    period: BudgetPeriod = TODAY,
    limit: Decimal = LIMIT,
    used: RunUsage | None = None,
    is_divided: bool = False,
) -> Grant:
    request = ShareRequest(
        None if wanted is None else Decimal(wanted), Decimal(certain), Decimal(certain)
    )
    before, token = account.of_run((used or usage(run)).run), os.urandom(4).hex()
    previous = None if before is None else before.newest
    at = period.start + 60
    want = AllowanceRequest(token, previous, period, limit, request, at, is_divided)
    return account.set_aside(used or usage(run), want)


def totals(account: BudgetAccount, period: BudgetPeriod = TODAY) -> dict[str, tuple[int, int]]:
    return {
        each.run: (int(each.share.spent), int(each.share.set_aside))
        for each in account.shares(period)
    }


def test_a_run_gets_what_others_have_left(account: BudgetAccount) -> None:
    assert ask(account, "a", 30).credits == 30
    assert ask(account, "b").credits == 20
    assert ask(account, "c").credits == 0
    assert totals(account) == {"a": (0, 30), "b": (0, 20)}


def test_settling_twice_changes_nothing(account: BudgetAccount) -> None:
    ask(account, "a")
    for _ in range(2):
        account.settle(usage("a", {TODAY: 12}), B + 90)
        assert totals(account) == {"a": (12, 0)}


def test_unanswered_requests_stay_set_aside_in_each_later_period(account: BudgetAccount) -> None:
    ask(account, "a")
    account.settle(usage("a", {TODAY: 12}, unanswered=4), B + 90)
    assert totals(account) == {"a": (8, 4)}
    assert totals(account, TOMORROW) == {"a": (0, 4)}
    assert ask(account, "b", period=TOMORROW).credits == 46
    account.settle(usage("a", {TODAY: 12, TOMORROW: 0}, unanswered=0, events=2), B + 90_000)
    assert totals(account, TOMORROW) == {"b": (0, 46)}


def test_an_allowance_counts_in_the_next_period_while_it_is_open(account: BudgetAccount) -> None:
    ask(account, "a", 30)
    assert ask(account, "b", period=TOMORROW).credits == 20
    account.settle(usage("b"), B + 90_000)
    account.settle(usage("a", {TODAY: 25, TOMORROW: 5}), B + 90_000)
    assert ask(account, "b", period=TOMORROW).credits == 45


def test_each_run_keeps_to_its_own_limit(account: BudgetAccount) -> None:
    ask(account, "a", 30)
    assert ask(account, "b", limit=Decimal(35)).credits == 5
    assert ask(account, "c", limit=Decimal(20)).credits == 0
    assert account.limit() == 20


def test_a_clock_that_was_set_back_does_not_free_credits(account: BudgetAccount) -> None:
    ask(account, "b")
    account.settle(usage("b", {TODAY: 15}), B + 90)
    ask(account, "a", 30, period=TOMORROW)
    assert ask(account, "c").credits == 5


def test_an_older_journal_lowers_no_figure(account: BudgetAccount) -> None:
    ask(account, "a")
    account.settle(usage("a", {TODAY: 12}, unanswered=3, events=40), B + 90)
    account.settle(usage("a", {TODAY: 2}, events=10), B + 95)
    assert totals(account) == {"a": (9, 3)}
    account.settle(usage("a", {TODAY: 12}, events=41), B + 99)
    assert totals(account) == {"a": (12, 0)}


def test_of_two_copies_that_ask_at_once_under_the_same_id_one_is_refused(
    account: BudgetAccount,
) -> None:
    """Both have read that the id is theirs: the directory that they were copied from is gone."""
    first = ask(account, "a", 5)
    account.settle(usage("a", {TODAY: 2}), B + 90)
    request = ShareRequest(None, Decimal(2), Decimal(2))
    wanted = [
        AllowanceRequest(token, first.allowance, TODAY, LIMIT, request, B + 99)
        for token in ("b", "c")
    ]
    assert account.set_aside(usage("a", {TODAY: 2}), wanted[0]).credits == 48
    with pytest.raises(BudgetAccountError, match="a copy of this run directory"):
        account.set_aside(usage("a", {TODAY: 2}), wanted[1])
    assert totals(account) == {"a": (2, 48)}


def test_a_directory_whose_journal_was_deleted_has_spent_all_that_it_had_set_aside(
    account: BudgetAccount,
) -> None:
    ask(account, "a", 30)
    again = replace(usage("a2"), run_dir="/outputs/a")
    assert ask(account, "a2", used=again).credits == 20
    assert totals(account) == {"a": (30, 0), "a2": (0, 20)}
    assert totals(account, TOMORROW) == {"a2": (0, 20)}


@pytest.mark.parametrize(("one", "other"), [(TODAY, TOMORROW), (TOMORROW, TODAY)])
def test_a_deleted_journal_counts_in_its_own_period_and_in_that_of_the_run_that_finds_it_gone(
    account: BudgetAccount, one: BudgetPeriod, other: BudgetPeriod
) -> None:
    """The clock may have been set back, so that its own period is still to come."""
    ask(account, "a", 30, period=one)
    assert (
        ask(account, "a2", period=other, used=replace(usage("a2"), run_dir="/outputs/a")).credits
        == 20
    )
    assert [totals(account, period)["a"] for period in (one, other)] == [(30, 0), (30, 0)]


def test_requests_without_an_answer_of_a_deleted_journal_count_once(account: BudgetAccount) -> None:
    ask(account, "a")
    account.settle(usage("a", {TODAY: 12}, unanswered=4), B + 90)
    assert (
        ask(account, "a2", period=TOMORROW, used=replace(usage("a2"), run_dir="/outputs/a")).credits
        == 46
    )
    assert totals(account, DAY.at(B + 2 * 86_400)) == {"a2": (0, 46)}


def newest(account: BudgetAccount) -> str | None:
    share = account.of_run("a")
    return None if share is None else share.newest


def test_a_run_that_sets_credits_aside_while_it_is_released_keeps_them(
    account: BudgetAccount,
) -> None:
    """It may continue where its directory was moved, between the reading and the writing of the
    release."""
    ask(account, "a", 2)
    before = newest(account)
    ask(account, "a", 30)
    for release in (
        lambda: account.write_off("a", before, {TODAY.first: Decimal(2)}, B + 99),
        lambda: account.release(usage("a"), before, B + 99),
    ):
        with pytest.raises(BudgetAccountError, match="set credits aside again"):
            release()
    assert totals(account)["a"] == (0, 30)


def _take(path: Path) -> int:
    run = f"run-{os.getpid()}-{os.urandom(4).hex()}"
    return int(ask(BudgetAccount(path), run, 7).credits)


def test_processes_that_ask_at_once_get_no_more_than_there_is(account: BudgetAccount) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        granted = list(pool.map(_take, [account.path] * 16))
    assert sorted(granted, reverse=True) == [7] * 7 + [1] + [0] * 8
    assert sum(spent + aside for spent, aside in totals(account).values()) == 50


def _create(directory: Path) -> str:
    return BudgetAccount.create(directory, TERMS).terms().account


def test_processes_that_create_the_file_at_once_use_the_same(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        assert list(pool.map(_create, [tmp_path / "new"] * 8)) == ["studio"] * 8
    assert [path.name for path in (tmp_path / "new").iterdir()] == [
        account_file(tmp_path, "studio", TERMS.gateway).name
    ]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(TERMS, per="month"), "budget.per 'month', and the runs before had 'day'"),
        (
            replace(TERMS, zone="Europe/Berlin"),
            "timezone 'Europe/Berlin', and the runs before had 'UTC'",
        ),
    ],
)
def test_another_period_or_zone_is_refused(
    account: BudgetAccount, other: AccountTerms, message: str
) -> None:
    before = account.path.read_bytes()
    for opened in (BudgetAccount.create, BudgetAccount.existing):
        with pytest.raises(BudgetAccountError, match=message) as refused:
            opened(account.path.parent, other)
        assert refused.value.exit_code is ExitCode.USER_ERROR
    assert account.path.read_bytes() == before


def test_another_gateway_has_another_file(account: BudgetAccount) -> None:
    other = BudgetAccount.create(account.path.parent, replace(TERMS, gateway="http://127.0.0.1:1"))
    assert other.path != account.path
    assert account_files(account.path.parent) == sorted([account.path, other.path])


def test_a_file_under_the_name_of_another_account_is_refused(account: BudgetAccount) -> None:
    """As on a file system that ignores case."""
    account.path.rename(account_file(account.path.parent, "STUDIO", TERMS.gateway))
    with pytest.raises(BudgetAccountError, match="name 'STUDIO', and the runs before had 'studio'"):
        BudgetAccount.create(account.path.parent, replace(TERMS, account="STUDIO"))


def test_a_power_cut_does_not_revert_what_was_set_aside(account: BudgetAccount) -> None:
    with transaction(account.path, write=True) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_only_the_user_can_read_the_file(tmp_path: Path) -> None:
    account = BudgetAccount.create(tmp_path / "state" / "accounts", TERMS)
    assert stat.S_IMODE(account.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(account.path.parent.stat().st_mode) == 0o700


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("not a database, but a letter to the editor\n" * 100)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE meta (key, value)")


def _without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE shares")


def _not_a_number(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE spent SET credits = 'NaN'")
        connection.commit()


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "damage",
    [_empty, _text, _foreign, _without_tables, _not_a_number, _newer, _link],
    ids=lambda each: each.__name__,
)
def test_a_damaged_or_foreign_file_is_refused_and_left_as_it_is(
    account: BudgetAccount, damage: Callable[[Path], None]
) -> None:
    ask(account, "a")
    account.settle(usage("a", {TODAY: 12}), B + 90)
    if damage is _foreign:
        account.path.unlink()
    damage(account.path)
    before = account.path.read_bytes()
    with pytest.raises(BudgetAccountError) as refused:
        ask(BudgetAccount.create(account.path.parent, TERMS), "b")
    assert refused.value.hint
    assert account.path.name in refused.value.message
    assert account.path.read_bytes() == before


def test_a_directory_that_cannot_be_made_is_a_clear_error() -> None:
    with pytest.raises(BudgetAccountError, match="can't be used: Not a directory") as refused:
        BudgetAccount.create(Path("/dev/null/accounts"), TERMS)
    assert "CRUCIBLE_BATCH_ACCOUNTS" in (refused.value.hint or "")


def test_an_account_that_has_no_file_yet_is_not_created_by_reading(tmp_path: Path) -> None:
    assert BudgetAccount.existing(tmp_path, TERMS) is None
    assert list(tmp_path.iterdir()) == []
    assert account_files(tmp_path / "none") == []


def test_a_transaction_that_fails_changes_nothing(account: BudgetAccount) -> None:
    ask(account, "a", 30)
    before = totals(account)
    with pytest.raises(BudgetAccountError):
        ask(account, "a", 5, used=replace(usage("a"), run_dir=None))  # type: ignore[arg-type]
    assert totals(account) == before


@pytest.mark.parametrize("is_divided", [True, False])
def test_what_may_be_spent_later_counts_in_each_later_period_though_its_journal_is_gone(
    account: BudgetAccount, is_divided: bool
) -> None:
    """By its shards, or by a run that is active where its directory was moved."""
    ask(account, "a", 30, is_divided=is_divided)
    active = nullcontext() if is_divided else noted_as_active(account.path, "a")
    with active:
        new = replace(usage("b"), run_dir="/outputs/a")
        assert ask(account, "b", used=new).credits == 20
        assert totals(account, TOMORROW) == {"a": (0, 30), "b": (0, 20)}
    account.settle(usage("a", {TODAY: 4}), B + 90)
    assert totals(account) == {"a": (4, 0), "b": (0, 20)}
