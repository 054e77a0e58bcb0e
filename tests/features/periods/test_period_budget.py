"""A run sets credits of its account's period aside, by its journal and in virtual time."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from crucible_batch.core.budget_period import Calendar
from crucible_batch.core.charge_times import CLOCK_TOLERANCE_S
from crucible_batch.core.events import Accepted, Event, Failed, Succeeded
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.sharding import OutstandingShards
from crucible_batch.errors import (
    CrucibleBatchError,
    JournalError,
    RunBusyError,
    ShardsOutstandingError,
)
from crucible_batch.features.periods.account import BudgetAccount
from crucible_batch.features.periods.active_runs import is_active, noted_as_active
from crucible_batch.features.periods.budgets import budget_states, release_budget
from crucible_batch.features.periods.note import noted_period, noted_run_in_account
from crucible_batch.features.periods.period_budget import (
    PeriodRules,
    RunAllowance,
    account_gateway,
    preview_at,
    set_aside,
    settled,
)
from crucible_batch.features.periods.records import AccountTerms
from crucible_batch.journal import Binding, Journal, PlanFile, lock_run_directory
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.shard_notes import note_shards
from crucible_batch.settings import Settings
from tests.harness.job_events import held_event
from tests.harness.replacing import replace
from tests.harness.run_terms import run_terms

MIDNIGHT = 20_000 * 86_400.0
NOON = MIDNIGHT - 43_200
RULES = PeriodRules(
    AccountTerms("studio", "http://gateway", "day", "UTC"),
    Decimal(20),
    Calendar("day", ZoneInfo("UTC")),
)
TERMS = run_terms()
WITH_CEILING = replace(TERMS, ceiling=Decimal(3))
SHORT = ErrorInfo(
    "BUDGET_EXHAUSTED", "2 of 2 credits used; the next job needs 2", "raise the budget"
)


@dataclass
class VirtualClock:
    """A clock on which only sleeping takes time."""

    time: float = NOON

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Place:
    """A state directory, and run directories beside it."""

    root: Path
    clock: VirtualClock
    opened: list[Journal] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return Settings(api_key="moltazine_one", accounts_directory=self.root / "accounts")

    def journal(self, name: str) -> Journal:
        directory = self.root / name
        (directory / ".crucible").mkdir(parents=True, exist_ok=True)
        with Journal.open(directory, Binding("m", "default", ""), now=self.clock.now()) as journal:
            if not journal.planned():
                planned(journal, 30)
        self.opened.append(Journal(directory))
        return self.opened[-1]

    def begin(
        self,
        journal: Journal,
        *,
        terms: RunTerms = TERMS,
        own: int | None = None,
        settings: Settings | None = None,
    ) -> RunAllowance:
        budget = None if own is None else Decimal(own)
        with ExitStack() as active:  # it ends at once, as that of a killed process does
            ready = set_aside(
                RULES,
                journal,
                terms,
                settings or self.settings,
                self.clock,
                own=budget,
                choice=JobFilter(),
                active=active,
            )
            return asyncio.run(ready)

    def standing(self) -> tuple[Decimal, Decimal]:
        (state,) = budget_states(self.settings, now=self.clock.now())
        return state.shares.spent, state.shares.set_aside


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path, VirtualClock())
    yield place
    for journal in place.opened:
        journal.close()


def write(journal: Journal, *events: tuple[str, Event]) -> None:
    async def append() -> None:
        for name, event in events:
            await journal.append(name * 64, event)

    asyncio.run(append())


def bought(
    name: str, at: float, credits: int, *, ended: Sequence[type[Event]] = (Succeeded,)
) -> list[tuple[str, Event]]:
    amount = Decimal(credits)
    events: list[Event] = [
        held_event(amount, at=at, images=False),
        Accepted(at=at, job_id=name, credits=amount, reused=False),
    ]
    if Succeeded in ended:
        events.append(Succeeded(at=at, outputs=1))
    if Failed in ended:
        events.append(Failed(at=at, error=SHORT))
    return [(name, event) for event in events]


def planned(journal: Journal, count: int) -> None:
    with PlanFile.temporary() as draft:
        draft.fill(
            PlannedJob(number, f"{number:064x}", f"job-{number}", "w", {})
            for number in range(count)
        )
        journal.adopt(draft)


def test_a_new_run_sets_all_aside_that_is_left(place: Place) -> None:
    first = place.begin(place.journal("a"))
    assert (first.budget, first.granted.is_limited_by_period) == (20, True)
    assert place.begin(place.journal("b")).budget == 0
    assert place.standing() == (0, 20)


def test_a_run_that_may_add_jobs_sets_aside_all_that_is_left(place: Place) -> None:
    """What the jobs of its later stages cost is not known yet."""
    journal = place.journal("a")
    planned(journal, 4)
    ready = set_aside(
        RULES,
        journal,
        WITH_CEILING,
        place.settings,
        place.clock,
        own=None,
        choice=JobFilter(),
        may_grow=True,
        active=ExitStack(),
    )
    assert asyncio.run(ready).budget == 20


def test_with_a_ceiling_it_sets_aside_what_its_jobs_may_cost(place: Place) -> None:
    journal = place.journal("a")
    planned(journal, 4)
    allowance = place.begin(journal, terms=WITH_CEILING)
    assert (allowance.budget, allowance.granted.is_limited_by_period) == (12, False)
    assert place.begin(place.journal("b")).budget == 8


def test_a_preview_counts_what_a_killed_run_of_the_directory_had_set_aside_as_free(
    place: Place,
) -> None:
    journal = place.journal("a")
    place.begin(journal, own=12)
    write(journal, *bought("a", NOON + 60, 2))
    place.begin(place.journal("b"), own=5)
    found = preview_at(RULES, place.settings, journal, TERMS, own=None, now=NOON + 90)
    assert (found.budget, found.shares.spent, found.shares.set_aside) == (15, 2, 5)


def test_its_own_budget_counts_over_all_runs_in_the_directory(place: Place) -> None:
    journal = place.journal("a")
    write(journal, *bought("a", NOON - 86_400, 4))
    allowance = place.begin(journal, own=10)
    assert (allowance.budget, allowance.granted.is_limited_by_period) == (10, False)
    assert place.standing() == (0, 6)


def test_the_start_of_a_period_is_awaited_within_the_tolerance_of_clocks(place: Place) -> None:
    place.clock.time = MIDNIGHT + 1
    place.begin(place.journal("a"))
    assert place.clock.time == MIDNIGHT + CLOCK_TOLERANCE_S
    place.begin(place.journal("b"))
    assert place.clock.time == MIDNIGHT + CLOCK_TOLERANCE_S


def test_the_end_of_a_run_returns_what_it_did_not_spend(place: Place) -> None:
    journal = place.journal("a")
    allowance = place.begin(journal)
    write(journal, *bought("a", NOON + 60, 7))
    allowance.settle(journal, TERMS, NOON + 120)
    assert place.standing() == (7, 0)
    period = noted_period(journal)
    assert period is not None
    assert (period.spent, period.set_aside, period.until) == (7, 0, "2024-10-04 00:00 UTC")


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_is_settled_however_it_ends(place: Place, fails: bool) -> None:
    journal = place.journal("a")
    allowance = place.begin(journal)
    write(journal, *bought("a", NOON + 60, 7))

    def run() -> None:
        with settled(allowance, journal, TERMS, place.clock) as settle:
            if fails:
                raise JournalError("the disk is full")
            settle(Ending(RunStatus.SUCCEEDED, 0))

    with pytest.raises(JournalError) if fails else nullcontext():
        run()
    assert place.standing() == (7, 0)


def test_a_killed_run_is_settled_when_its_directory_is_run_again(place: Place) -> None:
    journal = place.journal("a")
    place.begin(journal)
    write(journal, *bought("a", NOON + 60, 7), *bought("b", NOON + 60, 5, ended=()))
    place.clock.time += 3600
    again = place.begin(journal)
    # A job in flight may fail, and its credits are then bought for again: they are part of what is
    # set aside.
    assert (again.budget, again.committed) == (20, 12)
    assert place.standing() == (7, 13)


def test_a_run_over_midnight_counts_whole_in_both_periods_until_it_ends(place: Place) -> None:
    journal = place.journal("a")
    planned(journal, 4)
    allowance = place.begin(journal, terms=WITH_CEILING)
    write(journal, *bought("a", NOON + 60, 3), *bought("b", NOON + 60, 3, ended=()))
    place.clock.time = MIDNIGHT + 3600
    assert place.begin(place.journal("b")).budget == 20 - 12
    write(journal, *bought("c", MIDNIGHT + 60, 3))
    allowance.settle(journal, WITH_CEILING, place.clock.now())
    assert place.standing() == (3, 8)


def spent_yesterday(place: Place) -> Decimal:
    (state,) = budget_states(place.settings, now=NOON)
    return state.shares.spent


def test_a_run_over_midnight_is_settled_in_both_periods(place: Place) -> None:
    journal = place.journal("a")
    allowance = place.begin(journal)
    write(journal, *bought("a", NOON + 60, 7), *bought("b", MIDNIGHT + 60, 2))
    place.clock.time = MIDNIGHT + 3600
    allowance.settle(journal, TERMS, place.clock.time)
    assert (spent_yesterday(place), place.standing()) == (7, (2, 0))


def test_a_run_killed_yesterday_is_settled_in_both_periods(place: Place) -> None:
    journal = place.journal("a")
    place.begin(journal)
    write(journal, *bought("a", NOON + 60, 7))
    place.clock.time = MIDNIGHT + 3600
    assert place.begin(journal, own=12).budget == 12
    assert (spent_yesterday(place), place.standing()) == (7, (0, 5))


def test_a_run_that_ends_just_before_midnight_counts_in_both_periods(place: Place) -> None:
    """The gateway's clock may be ahead."""
    place.clock.time = MIDNIGHT - 60
    journal = place.journal("a")
    allowance = place.begin(journal)
    write(journal, *bought("a", MIDNIGHT - 6, 7))
    allowance.settle(journal, TERMS, MIDNIGHT - 5)
    place.clock.time = MIDNIGHT + 60
    assert place.standing() == (7, 0)


def test_release_is_refused_while_a_run_is_active(place: Place) -> None:
    journal = place.journal("a")
    place.begin(journal, own=8)
    journal.close()
    with lock_run_directory(place.root / "a"), pytest.raises(RunBusyError):
        release_budget(place.settings, "studio", place.root / "a", now=NOON + 90)
    assert place.standing() == (0, 8)


def nothing(_aside: Path, _instead: Path) -> None:
    pass


def a_copy(aside: Path, instead: Path) -> None:
    shutil.copytree(aside, instead)


def another_run(aside: Path, instead: Path) -> None:
    shutil.copytree(aside.with_name("other"), instead)


def an_empty_one(_aside: Path, instead: Path) -> None:
    instead.mkdir()


def a_file(_aside: Path, instead: Path) -> None:
    instead.touch()


@pytest.mark.parametrize("replace_by", [nothing, a_copy, another_run, an_empty_one, a_file])
def test_release_is_refused_while_the_run_is_active_in_a_directory_that_was_renamed(
    place: Place, replace_by: Callable[[Path, Path], None]
) -> None:
    """Written off, it would count in no later period, in which the run may go on."""
    place.journal("other").close()
    allowance = place.begin(place.journal("a"), own=8)
    with noted_as_active(allowance.account.path, allowance.granted.run):
        replace_by((place.root / "a").rename(place.root / "renamed"), place.root / "a")
        with pytest.raises(CrucibleBatchError) as refused:
            release_budget(place.settings, "studio", place.root / "a", now=NOON + 90)
        assert refused.value.exit_code in {2, 6}
        assert place.standing() == (0, 8)


def test_what_was_bought_while_the_clock_was_ahead_counts_today(place: Place) -> None:
    journal = place.journal("a")
    allowance = place.begin(journal)
    days_ahead = NOON + 3 * 86_400
    write(journal, *bought("a", days_ahead, 7), *bought("b", days_ahead, 5, ended=()))
    write(journal, bought("c", days_ahead, 2)[0])
    allowance.settle(journal, TERMS, NOON + 60)
    assert place.standing() == (12, 2)


def test_jobs_in_flight_since_an_earlier_period_are_no_credit_for_this_one(place: Place) -> None:
    """If they fail, their refunds belong to the earlier period: what was set aside covers what is
    bought instead.
    """
    journal = place.journal("a")
    write(journal, *bought("a", NOON - 86_400, 12, ended=()))
    allowance = place.begin(journal)
    assert (allowance.budget, allowance.committed) == (20, 12)
    place.clock.time = MIDNIGHT + 3600
    write(journal, *bought("a", NOON, 0, ended=(Failed,))[2:])
    other = place.begin(place.journal("b"))
    assert other.budget == 0


def test_a_period_without_credits_admits_nothing_and_says_when_there_are_more(place: Place) -> None:
    other = place.journal("b")
    planned(other, 6)
    place.begin(other, terms=WITH_CEILING)
    allowance = place.begin(place.journal("a"))
    assert allowance.budget == 2
    told = allowance.granted.explain(SHORT)
    assert told.code == "BUDGET_EXHAUSTED"
    assert told.message == (
        "budget studio: 20 of 20 credits used or set aside today; in this run directory 2 of 2"
        " credits used;"
        " the next job needs 2"
    )
    assert told.hint == (
        "more from 2024-10-04 00:00 UTC: run the same command again then; other runs have 18"
        " credits set aside, and"
        " what they leave is available again"
    )
    price = ErrorInfo("PRICE_ABOVE_CEILING", "too much")
    assert allowance.granted.explain(price) == price
    own = place.begin(place.journal("c"), own=0)
    assert own.granted.explain(SHORT) == SHORT


@pytest.mark.parametrize("own", [None, 4])
def test_the_report_shows_whether_the_period_or_its_own_budget_ended_the_run(
    place: Place, own: int | None
) -> None:
    journal = place.journal("a")
    allowance = place.begin(journal, own=own)
    allowance.settle(journal, TERMS, NOON + 60, Ending(RunStatus.BLOCKED, 4, {"workflow:w": SHORT}))
    period = noted_period(journal)
    assert period is not None
    assert period.exhausted is (own is None)


def test_a_plan_shows_the_same_and_changes_nothing(place: Place) -> None:
    journal = place.journal("a")
    write(journal, *bought("a", NOON - 60, 4))
    found = preview_at(RULES, place.settings, journal, TERMS, own=None, now=NOON)
    assert (found.budget, found.shares.spent, found.shares.left) == (20, 4, 16)
    assert not (place.root / "accounts").exists()
    place.begin(place.journal("b"), own=5)
    found = preview_at(RULES, place.settings, journal, TERMS, own=None, now=NOON)
    assert (found.budget, found.shares.left) == (15, 11)
    assert found.budget == place.begin(journal).budget


def test_a_copy_of_a_run_directory_has_a_share_of_its_own(place: Place) -> None:
    journal = place.journal("a")
    place.begin(journal, own=8)
    journal.close()
    shutil.copytree(place.root / "a", place.root / "copy")
    copy = place.journal("copy")
    assert place.begin(copy, own=9).budget == 9
    assert place.standing() == (0, 17)
    assert noted_run_in_account(copy) != noted_run_in_account(place.journal("a"))


def test_a_copy_in_the_place_of_an_active_runs_directory_frees_none_of_its_credits(
    place: Place,
) -> None:
    """The run goes on in the renamed directory, and may spend all that it has set aside."""
    journal = place.journal("a")
    planned(journal, 4)
    allowance = place.begin(journal, terms=WITH_CEILING)
    with noted_as_active(allowance.account.path, allowance.granted.run):
        write(journal, *bought("a", NOON + 60, 3))
        shutil.copytree(place.root / "a", place.root / "copy")
        (place.root / "a").rename(place.root / "renamed")
        (place.root / "copy").rename(place.root / "a")
        copied = place.begin(place.journal("a"), terms=WITH_CEILING)
        assert copied.budget + allowance.budget <= 20
        assert sum(place.standing()) >= allowance.budget
    allowance.settle(journal, WITH_CEILING, NOON + 90)


def test_a_moved_run_directory_keeps_its_share(place: Place) -> None:
    journal = place.journal("a")
    place.begin(journal, own=8)
    journal.close()
    (place.root / "a").rename(place.root / "moved")
    assert place.begin(place.journal("moved"), own=9).budget == 9
    assert place.standing() == (0, 9)


@pytest.fixture
def backup(place: Place) -> Path:
    """A copy of a run directory, made when it had spent 2."""
    journal = place.journal("a")
    allowance = place.begin(journal, own=2)
    write(journal, *bought("a", NOON + 1, 2))
    allowance.settle(journal, TERMS, NOON + 60)
    journal.close()
    return Path(shutil.copytree(place.root / "a", place.root / "backup"))


def restored(place: Place, backup: Path) -> Journal:
    shutil.rmtree(place.root / "a")
    backup.rename(place.root / "a")
    return place.journal("a")


def test_a_journal_from_a_backup_does_not_return_what_was_spent_since(
    place: Place, backup: Path
) -> None:
    journal = place.journal("a")
    allowance = place.begin(journal)
    write(journal, *bought("b", NOON + 70, 12))
    allowance.settle(journal, TERMS, NOON + 80)
    journal.close()
    journal = restored(place, backup)
    assert (
        preview_at(RULES, place.settings, journal, TERMS, own=None, now=NOON).budget
        == 2 + 20 - 14 - 2
    )
    allowance = place.begin(journal)
    assert allowance.budget == 2 + 20 - 14 - 2
    # More events than the former journal had, which no figure of it may be replaced by.
    for name in "cdef":
        write(journal, *bought(name, NOON + 90, 1))
    allowance.settle(journal, TERMS, NOON + 99)
    assert place.standing() == (14 + 2 + 4, 0)


def test_a_journal_from_a_backup_does_not_settle_a_killed_run(place: Place, backup: Path) -> None:
    """It was made before the credits were set aside, so what was bought out of them is unknown."""
    journal = place.journal("a")
    place.begin(journal, own=10)
    journal.close()
    journal = restored(place, backup)
    # As by commands that repair: as many events as the former journal had, or more.
    write(journal, *bought("c", NOON + 80, 1))
    journal.close()
    assert budget_states(place.settings, now=NOON + 90)[0].runs[0].is_gone
    (released,) = release_budget(place.settings, "studio", place.root / "a", now=NOON + 90)
    assert (released.released, released.after.spent) == (0, 10)


def test_a_journal_from_a_backup_made_during_the_run_is_known_by_its_events(place: Place) -> None:
    journal = place.journal("a")
    allowance = place.begin(journal)
    journal.close()
    backup = Path(shutil.copytree(place.root / "a", place.root / "backup"))
    journal = place.journal("a")
    write(journal, *bought("b", NOON + 70, 12))
    allowance.settle(journal, TERMS, NOON + 80)
    journal.close()
    journal = restored(place, backup)
    # What is restored from receipts at the start of a run doesn't make the journal a newer one.
    write(journal, *bought("c", NOON + 1, 1), *bought("d", NOON + 1, 1))
    ready = set_aside(
        RULES,
        journal,
        TERMS,
        place.settings,
        place.clock,
        own=None,
        choice=JobFilter(),
        after=0,
        active=ExitStack(),
    )
    assert asyncio.run(ready).budget == 2 + 20 - 12 - 2


def test_a_run_is_active_before_the_account_has_its_allowance(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is frozen in between goes on later: no copy may take its place meanwhile."""
    original = BudgetAccount.set_aside
    seen = list[bool]()

    def looked_at(account: BudgetAccount, usage: Any, wanted: Any) -> Any:
        seen.append(is_active(account.path, usage.run))
        return original(account, usage, wanted)

    monkeypatch.setattr(BudgetAccount, "set_aside", looked_at)
    place.begin(place.journal("a"))
    assert seen == [True]


def test_a_copy_of_a_run_that_is_setting_credits_aside_gets_an_id_of_its_own(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the first run goes on when the copy has begun, and its directory is back."""
    journal = place.journal("a")
    place.begin(journal, own=3).settle(journal, TERMS, NOON + 1)
    original = BudgetAccount.set_aside
    copied = list[RunAllowance]()

    def begin_copy() -> None:
        with closing(Journal(place.root / "copy")) as other:
            copied.append(place.begin(other))

    def frozen(account: BudgetAccount, usage: Any, wanted: Any) -> Any:
        granted = original(account, usage, wanted)
        monkeypatch.setattr(BudgetAccount, "set_aside", original)
        shutil.copytree(place.root / "a", place.root / "copy")
        (place.root / "a").rename(place.root / "away")
        with ThreadPoolExecutor(1) as thread:
            thread.submit(begin_copy).result()
        (place.root / "away").rename(place.root / "a")
        return granted

    monkeypatch.setattr(BudgetAccount, "set_aside", frozen)
    first = place.begin(journal)
    assert first.budget + copied[0].budget <= 20


@pytest.mark.parametrize("is_after", [False, True])
def test_a_run_killed_while_it_sets_credits_aside_keeps_its_id(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, is_after: bool
) -> None:
    """Otherwise what it had set aside would count as spent by a journal that is gone."""
    journal = place.journal("a")
    place.begin(journal, own=10)
    run = noted_run_in_account(journal)
    original = BudgetAccount.set_aside

    def killed(*given: Any) -> None:
        if is_after:
            original(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(BudgetAccount, "set_aside", killed)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                place.begin(journal, own=10)
    assert place.begin(journal, own=7).budget == 7
    assert (noted_run_in_account(journal), place.standing()) == (run, (0, 7))


@pytest.mark.parametrize(
    ("one", "other"),
    [("http://gateway", "HTTP://Gateway:80/"), ("https://gateway/v1", "https://GATEWAY:443/v1//")],
)
def test_the_address_of_a_gateway_may_be_written_in_several_ways(one: str, other: str) -> None:
    assert account_gateway(one) == account_gateway(other) == one


def test_a_file_that_cannot_be_written_at_the_end_leaves_the_allowance(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    journal = place.journal("a")
    allowance = place.begin(journal)
    kept = allowance.account.path.read_bytes()
    allowance.account.path.write_bytes(b"")
    allowance.settle(journal, TERMS, NOON + 60)
    assert f"crucible-batch budget release studio {place.root / 'a'}" in caplog.text
    allowance.account.path.write_bytes(kept)
    assert place.standing() == (0, 20)


def test_release_settles_by_the_journal_and_keeps_what_is_unanswered(place: Place) -> None:
    journal = place.journal("a")
    place.begin(journal)
    write(journal, *bought("a", NOON + 60, 7), bought("b", NOON + 60, 5)[0])
    journal.close()
    (released,) = release_budget(place.settings, "studio", place.root / "a", now=NOON + 90)
    assert (released.released, released.after.spent, released.after.set_aside) == (8, 7, 5)
    for _ in range(2):
        (released,) = release_budget(
            place.settings, "studio", place.root / "a", now=NOON + 95, forget_unanswered=True
        )
        assert place.standing() == (7, 0)


def test_a_refund_that_was_not_seen_stays_set_aside(place: Place) -> None:
    journal = place.journal("a")
    allowance = place.begin(journal)
    write(journal, *bought("a", NOON + 60, 7, ended=(Failed,)))
    allowance.settle(journal, TERMS, NOON + 70)
    assert place.standing() == (0, 7)


def test_release_of_a_directory_that_is_gone_keeps_what_is_unanswered_unless_it_is_to_be_forgotten(
    place: Place,
) -> None:
    journal = place.journal("a")
    allowance = place.begin(journal)
    write(journal, *bought("a", NOON + 60, 7), bought("b", NOON + 60, 5)[0])
    allowance.settle(journal, TERMS, NOON + 70)
    journal.close()
    shutil.rmtree(place.root / "a")
    release_budget(place.settings, "studio", place.root / "a", now=NOON + 90)
    assert place.standing() == (7, 5)
    place.clock.time = MIDNIGHT + 3600
    assert place.standing() == (0, 5)
    release_budget(
        place.settings, "studio", place.root / "a", now=MIDNIGHT + 3600, forget_unanswered=True
    )
    assert place.standing() == (0, 0)


def test_nothing_is_released_until_the_shards_of_the_directory_are_merged(place: Place) -> None:
    """What they have spent is not in its journal yet."""
    journal = place.journal("a")
    place.begin(journal)
    note_shards(journal, OutstandingShards("a" * 64, {1: Decimal(20)}))
    journal.close()
    with pytest.raises(ShardsOutstandingError):
        release_budget(place.settings, "studio", place.root / "a", now=NOON + 90)
    assert place.standing() == (0, 20)


def test_release_of_a_directory_that_is_gone_counts_all_that_was_set_aside(place: Place) -> None:
    place.begin(place.journal("a"), own=8)
    shutil.rmtree(place.root / "a")
    release_budget(place.settings, "studio", place.root / "a", now=NOON + 90)
    assert place.standing() == (8, 0)
    place.clock.time = MIDNIGHT + 3600
    assert place.standing() == (0, 0)


def test_an_account_is_read_as_it_is_now(place: Place) -> None:
    journal = place.journal("a")
    place.begin(journal)
    write(journal, *bought("a", NOON + 60, 7))
    assert place.standing() == (0, 20)
    (state,) = budget_states(place.settings, now=NOON + 60, account="studio")
    assert (state.runs[0].is_open, state.runs[0].is_gone, state.until) == (
        True,
        False,
        "2024-10-04 00:00 UTC",
    )
    assert BudgetAccount(state.file).limit() == 20
