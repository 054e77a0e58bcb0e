"""Bugs to be planted: each makes the nights go wrong in another way, and the judge has to notice
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from unittest.mock import patch

from crucible_batch.core.allowance import Allowance
from crucible_batch.features.notify import part as notifying
from crucible_batch.features.notify.part import RunNotices
from crucible_batch.features.periods import account, period_budget
from crucible_batch.features.periods.account import BudgetAccount
from crucible_batch.features.periods.period_budget import RunAllowance
from crucible_batch.features.schedule import catch_up, scheduled_runs
from crucible_batch.features.schedule.scheduled_runs import PreparedRun
from tests.verification.nights import play, scheduler
from tests.verification.nights.machine import NightLoop

Plant = Callable[[ExitStack], None]
BUGS: dict[str, Plant] = {}


def _bug(plant: Plant) -> Plant:
    BUGS[plant.__name__] = plant
    return plant


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """Plant a bug for the block."""
    with ExitStack() as stack:
        BUGS[name](stack)
        yield


def _set(stack: ExitStack, owner: object, name: str, value: object) -> None:
    stack.enter_context(patch.object(owner, name, value))


def _now() -> datetime:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, NightLoop)
    return datetime.fromtimestamp(loop.began + loop.time(), UTC)


# -- times


@_bug
def missed_times_run_newest_first(stack: ExitStack) -> None:
    missed = catch_up.missed_runs
    _set(stack, scheduled_runs, "missed_runs", lambda *given: missed(*given)[::-1])


@_bug
def a_killed_night_taken_for_finished(stack: ExitStack) -> None:
    _set(
        stack, catch_up.KnownRun, "is_finished", property(lambda run: run.exit_code in (0, 1, None))
    )


@_bug
def a_killed_night_taken_for_active(stack: ExitStack) -> None:
    _set(stack, scheduled_runs, "is_locked", lambda _directory: True)


@_bug
def a_blocked_night_taken_for_finished(stack: ExitStack) -> None:
    _set(stack, catch_up, "_FINISHED", frozenset({0, 1, 4}))


@_bug
def the_run_id_of_the_present_time(stack: ExitStack) -> None:
    def at(self: PreparedRun, _due: Any) -> tuple[Any, Any]:
        return replace(self.request, scheduled_at=_now(), run_id=None), replace(
            self.manifest, scheduled_at=_now()
        )

    _set(stack, PreparedRun, "at", at)


@_bug
def a_skipped_local_time_that_is_left_out(stack: ExitStack) -> None:
    times = scheduler.times_after

    def without_gaps(expression: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
        written = expression.split()[:2]
        is_fixed = all(each.isdigit() for each in written)
        for moment in times(expression, zone, after):
            local = moment.astimezone(zone)
            if not is_fixed or [local.minute, local.hour] == list(map(int, written)):
                yield moment

    _set(stack, scheduler, "times_after", without_gaps)


@_bug
def an_exit_code_that_hides_a_blocked_night(stack: ExitStack) -> None:
    _set(stack, play, "first_code", lambda codes: 0 if set(codes) <= {0, 4} else 5)


# -- the budget


@_bug
def an_allowance_that_is_never_settled(stack: ExitStack) -> None:
    _set(stack, RunAllowance, "settle", lambda *_given, **_named: None)


@_bug
def an_allowance_of_the_month_before_that_is_not_counted(stack: ExitStack) -> None:
    shares = BudgetAccount.shares
    usage = period_budget.usage_of

    def of_this_month(self: BudgetAccount, period: Any) -> list[Any]:
        return [each for each in shares(self, period) if each.first in (None, period.first)]

    def all_at_the_start(*given: Any) -> Any:
        found = usage(*given)
        total = sum(found.by_period.values())
        first = min(found.by_period)
        return replace(
            found,
            by_period={each: total if each == first else total * 0 for each in found.by_period},
        )

    _set(stack, BudgetAccount, "shares", of_this_month)
    _set(stack, period_budget, "usage_of", all_at_the_start)


@_bug
def a_killed_run_that_returns_as_another_one(stack: ExitStack) -> None:
    def another(journal: Any, _account: Any) -> str:
        run = secrets.token_hex(16)
        period_budget.note_run_in_account(journal, run)
        return run

    _set(stack, period_budget, "_identify", another)
    _set(stack, account, "_close_predecessors", lambda *_: None)


@_bug
def credits_that_others_have_set_aside_taken_for_free(stack: ExitStack) -> None:
    _set(stack, Allowance, "left", property(lambda self: max(self.limit * 0, self.limit)))


# -- purchases and messages


@_bug
def a_run_id_that_changes_when_a_night_is_resumed(stack: ExitStack) -> None:
    at = PreparedRun.at

    def another(self: PreparedRun, due: Any) -> tuple[Any, Any]:
        request, manifest = at(self, due)
        return replace(request, run_id=f"{due.run_id}-{_now():%d%H%M}"), manifest

    _set(stack, PreparedRun, "at", another)


@_bug
def no_message_of_a_blocked_night(stack: ExitStack) -> None:
    end = RunNotices.end

    async def silent(
        self: RunNotices, head: Any, codes: list[str], next_command: str | None
    ) -> Sequence[Any]:
        if head.exit_code == 4:
            return []
        return await end(self, head, codes, next_command)

    _set(stack, RunNotices, "end", silent)


@_bug
def a_blocked_night_reported_as_a_success(stack: ExitStack) -> None:
    event = notifying.event_of
    _set(
        stack,
        notifying,
        "event_of",
        lambda code, succeeded: event(0 if code == 4 else code, succeeded),
    )


@_bug
def a_message_that_is_sent_once_only(stack: ExitStack) -> None:
    from crucible_batch.features.notify import delivery

    _set(stack, delivery.Patience, "wait_s", lambda *_: timedelta(hours=1).total_seconds())
