"""Refunds that are late, partial, missing or not listed: the judge is the sandbox's ledger, row by row."""

from __future__ import annotations

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

import crucible_batch as api
from crucible_batch.domain import events
from crucible_batch.engine.run_control import RunDeadline
from crucible_batch.errors import ExitCode
from crucible_batch.journal import Journal

SHORT_JOBS = True
CHARGES = {"reserve": 1, "refund": -1, "upload": 1, "rebate": -1}
D = Decimal


def capped(credits: object, *, attempts: int = 3) -> dict[str, Any]:
    """Return the manifest's head with both maximum prices declared, so that no rule lets the budget be exceeded."""
    budget = f"budget: {{credits: {credits}, max_credits_per_job: 2, max_credits_per_upload: 0.5}}\n"
    return {"budget": None, "head": f"{budget}retry: {{attempts: {attempts}}}\n"}


def foxes(count: int) -> str:
    return f"{{name: fox, prompt: a fox, repeat: {count}}}"


async def most_net(bench: Any) -> Decimal:
    """The highest net charges at any row of the ledger: a failed job's count until it is refunded."""
    state = await bench.state()
    assert state["audit"]["problems"] == []
    net = most = D(0)
    for row in state["ledger"]:
        net += CHARGES.get(row["entry_type"], 0) * row["amount"]
        most = max(most, net)
    return most


async def kinds(bench: Any) -> Counter[str]:
    return Counter(row["entry_type"] for row in (await bench.state())["ledger"])


async def readings(bench: Any) -> int:
    return int((await bench.state())["requests"].get("credits", 0))


def stop_of(result: api.RunResult) -> Any:
    return next(stop for stop in result.report.stops.values() if stop.code == "REFUND_MISSING")


def seen(bench: Any, kind: str) -> list[Any]:
    with Journal.read(bench.path / "out") as journal:
        return [event for _, event in journal.events() if type(event).__name__ == kind]


def listing(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Any:
    """Let ``change`` rewrite the entries in each answer to ``GET /credits``."""

    async def tamper(request: httpx.Request, send: Any) -> httpx.Response:
        answer = await send()
        if not request.url.path.endswith("/credits") or answer.status_code != 200:
            return answer
        body = json.loads(await answer.aread())
        body["data"]["recent_entries"] = change(body["data"]["recent_entries"])
        return httpx.Response(200, json=body)

    return tamper


# -- the budget -------------------------------------------------------------------------------------------------------


async def test_one_job_whose_refunds_never_come_is_bought_once_for_a_budget_of_one(start: Any) -> None:
    async with start(faults="fail:1,refund-missing:1") as bench:
        result = await bench.run(bench.manifest(foxes(1), **capped(2, attempts=100)))
        assert await most_net(bench) <= 2
        assert (await kinds(bench))["reserve"] == 1
    credits = result.report.credits
    assert result.exit_code == ExitCode.OUT_OF_CREDITS == 4
    assert (credits.spent, credits.held, credits.held_for_refunds, credits.refunded) == (0, 2, 2, 0)
    (row,) = result.jobs()
    assert row.error is not None
    stop = stop_of(result)
    assert "fox" in f"{stop.message} {stop.hint}"
    assert "2" in stop.message
    assert "did not come" in stop.message
    assert "visible" not in stop.message


@pytest.mark.parametrize("jobs", [40, pytest.param(400, marks=pytest.mark.slow)])
async def test_many_jobs_whose_refunds_never_come_stay_within_the_budget(start: Any, jobs: int) -> None:
    async with start(faults="fail:0.5,refund-missing:1") as bench:
        result = await bench.run(bench.manifest(foxes(jobs), **capped(20)))
        assert await most_net(bench) <= 20
    credits = result.report.credits
    assert result.exit_code == 4
    assert credits.spent + credits.held <= 20
    assert credits.held_for_refunds == credits.held > 0
    assert (credits.refunded, credits.over_budget) == (0, 0)


@pytest.mark.parametrize("jobs", [30, pytest.param(400, marks=pytest.mark.slow)])
async def test_refunds_a_minute_late_are_waited_for_within_the_budget(start: Any, jobs: int) -> None:
    async with start(faults="fail:0.3,refund-late:1") as bench:
        result = await bench.run(bench.manifest(foxes(jobs), **capped(2 * jobs + 4, attempts=100)))
        assert await most_net(bench) <= 2 * jobs + 4
        failed = (await kinds(bench))["reserve"] - jobs
    credits = result.report.credits
    assert (result.exit_code, credits.spent) == (0, 2 * jobs)
    assert failed > 2
    # The run doesn't wait for the last refunds, which no purchase needs.
    assert credits.refunded == 2 * failed - credits.held
    assert credits.held == credits.held_for_refunds <= 4


async def test_late_refunds_are_waited_for_as_long_as_the_patience(start: Any) -> None:
    async with start(faults="fail=1,refund-late:1", refund_late_s=900) as bench:
        manifest = bench.manifest(foxes(1), **capped(2))
        began = bench.clock.monotonic()
        result = await bench.run(manifest, wait_for_gateway_s=300)
        waited = bench.clock.monotonic() - began
        assert result.exit_code == 4
        assert 300 <= waited < 400
        assert stop_of(result)
        await bench.clock.sleep(700)
        again = await bench.run(manifest, wait_for_gateway_s=300)
        assert await most_net(bench) <= 2
    assert (again.exit_code, again.report.credits.spent, again.report.credits.held) == (0, 2, 0)
    assert again.report.credits.refunded == 2


async def test_without_patience_a_missing_refund_ends_the_run_at_once(start: Any) -> None:
    async with start(faults="fail:1,refund-missing:1") as bench:
        began = bench.clock.monotonic()
        result = await bench.run(bench.manifest(foxes(1), **capped(2)), wait_for_gateway_s=0)
        assert bench.clock.monotonic() - began < 60
    assert (result.exit_code, bool(stop_of(result))) == (4, True)


async def test_a_run_whose_purchases_all_fit_ends_as_its_jobs_do_without_waiting(start: Any) -> None:
    async with start(faults="fail=2,refund-missing:1") as bench:
        began = bench.clock.monotonic()
        result = await bench.run(bench.manifest(foxes(4), **capped(100)))
        assert bench.clock.monotonic() - began < 120
    credits = result.report.credits
    assert (result.exit_code, credits.spent, credits.held, credits.held_for_refunds) == (0, 8, 4, 4)
    assert "REFUND_MISSING" not in {stop.code for stop in result.report.stops.values()}


async def test_jobs_that_have_failed_for_good_end_the_run_with_their_own_code(start: Any) -> None:
    async with start(faults="moderate:1,refund-missing:1") as bench:
        began = bench.clock.monotonic()
        result = await bench.run(bench.manifest(foxes(2), **capped(4)))
        assert bench.clock.monotonic() - began < 120
    assert (result.exit_code, result.report.credits.held) == (1, 4)


async def test_an_honest_gateway_costs_a_run_no_waiting_and_no_budget(start: Any) -> None:
    async with start(faults="fail=3") as bench:
        began = bench.clock.monotonic()
        result = await bench.run(bench.manifest(foxes(3), **capped(6)))
        assert bench.clock.monotonic() - began < 60
        assert await most_net(bench) <= 6
        await bench.agree(result)
    credits = result.report.credits
    assert (result.exit_code, credits.spent, credits.held, credits.refunded) == (0, 6, 0, 6)
    assert credits.held_for_refunds == 0


# -- what an entry releases -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget", "ends"), [(4, 0), (2, 4)])
async def test_a_partial_refund_releases_its_amount(start: Any, budget: int, ends: int) -> None:
    async with start(faults="fail=1,refund-partial:1") as bench:
        result = await bench.run(bench.manifest(foxes(1), **capped(budget)))
        assert await most_net(bench) <= budget
    credits = result.report.credits
    assert (result.exit_code, credits.held, credits.refunded) == (ends, 1, 1)
    assert credits.spent == (2 if ends == 0 else 0)


async def test_a_refund_above_the_charge_releases_the_charge(start: Any, tampered: Any) -> None:
    def generous(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "amount": 50} if entry["entry_type"] == "refund" else entry for entry in entries]

    async with start(faults="fail=2") as bench:
        result = await bench.run(bench.manifest(foxes(2), **capped(4)), transport=tampered(listing(generous)))
        assert await most_net(bench) <= 4
    credits = result.report.credits
    assert (result.exit_code, credits.spent, credits.held, credits.refunded) == (0, 4, 0, 4)


def consumed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**entry, "entry_type": "consume"} if entry["entry_type"] == "refund" else entry for entry in entries]


async def test_a_failed_job_that_was_consumed_is_spent_until_a_refund_follows(start: Any, tampered: Any) -> None:
    async with start(faults="fail=1") as bench:
        manifest = bench.manifest(foxes(1), **capped(2, attempts=2))
        first = await bench.run(manifest, transport=tampered(listing(consumed)), wait_for_gateway_s=30)
        assert (await kinds(bench))["reserve"] == 1
        credits = first.report.credits
        assert (first.exit_code, credits.spent, credits.held, credits.refunded) == (4, 2, 0, 0)
        assert [event.attempt for event in seen(bench, "Consumed")] == [1]

        def both(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
            refunds = [entry for entry in entries if entry["entry_type"] == "refund"]
            charged_at = min(entry["created_at"] for entry in entries if entry["entry_type"] == "reserve")
            earlier = {"id": str(uuid.UUID(int=1)), "created_at": charged_at}
            return entries + [{**entry, **earlier} for entry in consumed(refunds)]

        again = await bench.run(manifest, transport=tampered(listing(both)))
    credits = again.report.credits
    assert (again.exit_code, credits.spent, credits.held, credits.refunded) == (0, 2, 0, 2)


async def test_a_price_of_0_needs_no_refund(start: Any) -> None:
    async with start(faults="fail=1,refund-missing:1", prices={"zimage-base": D(0)}) as bench:
        began = bench.clock.monotonic()
        result = await bench.run(bench.manifest(foxes(1), **capped(2)))
        assert bench.clock.monotonic() - began < 60
    assert (result.exit_code, result.report.credits.held) == (0, 0)


# -- the list ---------------------------------------------------------------------------------------------------------


def without_field(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in entry.items() if name != "job_id"} for entry in entries]


@pytest.mark.parametrize("change", [list, without_field], ids=["null", "missing"])
async def test_ids_are_found_in_the_texts(start: Any, tampered: Any, change: Any) -> None:
    async with start(faults="fail=2,ids-in-text:1") as bench:
        manifest = bench.manifest(foxes(2), **capped(4))
        result = await bench.run(manifest, transport=tampered(listing(change)))
    credits = result.report.credits
    assert (result.exit_code, credits.spent, credits.refunded) == (0, 4, 4)


@pytest.mark.parametrize("sign", [1, -1])
async def test_entries_of_other_kinds_and_either_sign_are_understood_or_left_alone(
    start: Any, tampered: Any, sign: int
) -> None:
    """The refund is named in other words; an unknown kind about the same job is no refund."""

    def renamed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        words = {"refund": "job-Refunded", "reserve": "RESERVATION", "consume": "consumption"}
        found = [
            {
                **entry,
                "entry_type": words.get(entry["entry_type"], entry["entry_type"]),
                "amount": sign * entry["amount"],
            }
            for entry in entries
        ]
        odd = [
            {**entry, "id": str(uuid.uuid4()), "entry_type": "adjustment"}
            for entry in found
            if entry["entry_type"] == "RESERVATION"
        ]
        return found + odd

    async with start(faults="fail=1") as bench:
        result = await bench.run(bench.manifest(foxes(1), **capped(2)), transport=tampered(listing(renamed)))
    credits = result.report.credits
    assert (result.exit_code, credits.spent, credits.held, credits.refunded) == (0, 2, 0, 2)


async def test_an_unknown_kind_is_no_refund(start: Any, tampered: Any) -> None:
    def adjusted(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**each, "entry_type": "adjustment"} if each["entry_type"] == "refund" else each for each in entries]

    async with start(faults="fail:1") as bench:
        manifest = bench.manifest(foxes(1), **capped(2))
        result = await bench.run(manifest, transport=tampered(listing(adjusted)), wait_for_gateway_s=30)
        assert (await kinds(bench))["reserve"] == 1
    assert (result.exit_code, result.report.credits.held, result.report.credits.refunded) == (4, 2, 0)


async def test_a_refund_that_only_a_later_reading_shows_is_seen(start: Any, tampered: Any) -> None:
    shown = 0

    def lagging(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        nonlocal shown
        refunds = [entry for entry in entries if entry["entry_type"] == "refund"]
        shown += bool(refunds)
        return entries if shown > 3 else [entry for entry in entries if entry not in refunds]

    async with start(faults="fail=1") as bench:
        result = await bench.run(bench.manifest(foxes(1), **capped(2)), transport=tampered(listing(lagging)))
        assert await most_net(bench) <= 2
    assert (result.exit_code, result.report.credits.refunded, shown > 3) == (0, 2, True)


def crowded(bench: Any) -> Any:
    """A list of 10 entries that other tenants fill between any two readings."""

    def change(_entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        now = datetime.fromtimestamp(bench.clock.now(), UTC).isoformat()
        kept = {"entry_type": "reserve", "status": "held", "amount": 1, "description": "other", "created_at": now}
        return [{"id": str(uuid.uuid4()), "job_id": str(uuid.uuid4()), **kept} for _ in range(10)]

    return change


async def test_a_refund_that_may_have_passed_between_two_readings_is_not_visible(start: Any, tampered: Any) -> None:
    async with start(faults="fail:1") as bench:
        manifest = bench.manifest(foxes(1), **capped(2))
        result = await bench.run(manifest, transport=tampered(listing(crowded(bench))), wait_for_gateway_s=60)
        assert (await kinds(bench))["reserve"] == 1
    assert (result.exit_code, result.report.credits.held) == (4, 2)
    assert "not visible" in stop_of(result).message
    assert "did not come" not in stop_of(result).message


@pytest.mark.parametrize("concurrency", [1, "auto"])
async def test_a_list_of_10_entries_never_lets_the_budget_be_exceeded(start: Any, concurrency: Any) -> None:
    """One at a time, each refund is listed when it is looked for; in bursts, one may pass between two readings."""
    async with start(faults="fail:0.4", recent_entries=10) as bench:
        manifest = bench.manifest(foxes(30), **capped(64, attempts=100))
        result = await bench.run(manifest, concurrency=concurrency, wait_for_gateway_s=120)
        assert await most_net(bench) <= 64
    credits = result.report.credits
    assert credits.spent + credits.held <= 64
    if concurrency == 1:
        assert (result.exit_code, credits.spent, credits.held) == (0, 60, 0)


async def test_one_reading_serves_all_failures_of_a_moment(start: Any) -> None:
    async with start(faults="moderate:1", recent_entries=500) as bench:
        result = await bench.run(bench.manifest(foxes(60), **capped(120, attempts=1)), concurrency=60)
        assert await readings(bench) <= 20
    assert (result.exit_code, result.report.credits.refunded, result.report.credits.held) == (1, 120, 0)


# -- the way out ------------------------------------------------------------------------------------------------------


async def test_a_persons_option_releases_what_is_not_visible_and_it_is_recorded(start: Any, tampered: Any) -> None:
    async with start(faults="fail=1,refund-missing:1") as bench:
        manifest = bench.manifest(foxes(1), **capped(2))
        hidden = tampered(listing(crowded(bench)))
        assert (await bench.run(manifest, wait_for_gateway_s=30, transport=hidden)).exit_code == 4
        result = await bench.run(manifest, forget_refunds=True, transport=hidden)
        (forgotten,) = seen(bench, "RefundForgotten")
        assert (forgotten.attempt, forgotten.credits) == (1, 2)
        assert forgotten.by
        assert forgotten.at > 0
        assert await most_net(bench) == 4  # the person's decision, within the budget of what is known
    credits = result.report.credits
    assert (result.exit_code, credits.spent, credits.held, credits.refunded) == (0, 2, 0, 0)
    assert credits.forgotten_refunds == 2


async def test_a_refund_that_did_not_come_is_not_released_by_the_option(start: Any) -> None:
    async with start(faults="fail=1,refund-missing:1") as bench:
        manifest = bench.manifest(foxes(1), **capped(2))
        assert (await bench.run(manifest, wait_for_gateway_s=30)).exit_code == 4
        result = await bench.run(manifest, forget_refunds=True, wait_for_gateway_s=30)
        assert await most_net(bench) == 2
    assert (result.exit_code, result.report.credits.held, seen(bench, "RefundForgotten")) == (4, 2, [])


async def test_what_the_ledger_shows_is_not_forgotten_by_the_option_but_refunded(start: Any) -> None:
    async with start(faults="fail=1") as bench:
        result = await bench.run(bench.manifest(foxes(1), **capped(2)), forget_refunds=True)
        assert [event.attempt for event in seen(bench, "Refunded")] == [1]
        assert seen(bench, "RefundForgotten") == []
    assert (result.exit_code, result.report.credits.refunded) == (0, 2)


async def test_what_was_seen_of_a_refund_is_journalled_with_its_entry(start: Any) -> None:
    async with start(faults="fail=1") as bench:
        await bench.run(bench.manifest(foxes(1), **capped(2)))
        (refund,) = [row for row in (await bench.state())["ledger"] if row["entry_type"] == "refund"]
        (event,) = seen(bench, "Refunded")
    assert isinstance(event, events.Refunded)  # type: ignore[attr-defined]
    assert (event.attempt, event.credits, event.entry_id) == (1, 2, refund["entry_id"])


@pytest.mark.parametrize("lost", ["journal", "directory"])
async def test_a_failed_attempt_found_after_a_loss_is_held_and_blocks_no_replay(start: Any, lost: str) -> None:
    """The list is too short to show the refund of the failed one any more; all that was bought comes back free."""
    async with start(faults="moderate=1,refund-missing:1", recent_entries=4) as bench:
        manifest = bench.manifest(foxes(6), **capped(12))
        first = await bench.run(manifest, concurrency=1)
        assert (first.exit_code, first.report.credits.spent) == (1, 10)
        bought = (await kinds(bench))["reserve"]
        shutil.rmtree(bench.path / "out" / ".crucible" if lost == "journal" else bench.path / "out")
        again = await bench.run(manifest)
        assert (await kinds(bench))["reserve"] == bought
        assert await most_net(bench) <= 12
    credits = again.report.credits
    assert Counter(row.status for row in again.jobs()) == {"succeeded": 5, "failed": 1}
    assert (again.exit_code, credits.spent, credits.held, credits.held_for_refunds) == (1, 10, 2, 2)


@pytest.mark.parametrize("recent_entries", [4, 6])
async def test_a_refund_older_than_the_list_blocks_no_replay_after_the_loss_of_the_directory(
    start: Any, recent_entries: int
) -> None:
    """The readings of the second run don't cover the time in which the first run's failed job was refunded."""
    async with start(faults="moderate=1", recent_entries=recent_entries) as bench:
        manifest = bench.manifest(foxes(6), **capped(10))
        first = await bench.run(manifest, concurrency=1)
        assert (first.exit_code, first.report.credits.spent, first.report.credits.refunded) == (1, 10, 2)
        bought = (await kinds(bench))["reserve"]
        shutil.rmtree(bench.path / "out")
        again = await bench.run(manifest, concurrency=1)
        assert (await kinds(bench))["reserve"] == bought
    assert Counter(row.status for row in again.jobs()) == {"succeeded": 5, "failed": 1}
    assert (again.exit_code, again.report.credits.spent, again.report.credits.held) == (1, 10, 2)


async def test_after_a_loss_one_more_is_bought_beside_refunds_that_are_not_visible_and_not_in_each_run(
    start: Any,
) -> None:
    async with start(faults="fail:1,refund-missing:1", recent_entries=1) as bench:
        manifest = bench.manifest(foxes(1), **capped(4, attempts=20))
        assert (await bench.run(manifest, wait_for_gateway_s=1)).exit_code == 4
        shutil.rmtree(bench.path / "out")
        await bench.run(manifest, wait_for_gateway_s=1)
        bought = (await kinds(bench))["reserve"]
        assert bought <= 3
        for _ in range(3):
            assert (await bench.run(manifest, wait_for_gateway_s=1)).exit_code == 4
        assert (await kinds(bench))["reserve"] == bought


async def test_each_attempt_has_a_hold_of_its_own(start: Any) -> None:
    async with start(faults="fail=3,refund-missing:1") as bench:
        result = await bench.run(bench.manifest(foxes(1), **capped(8, attempts=5)))
        assert await most_net(bench) <= 8
    credits = result.report.credits
    assert (result.exit_code, credits.spent, credits.held, credits.held_for_refunds) == (0, 2, 6, 6)
    resumed = result.report.credits.budget
    assert resumed == 8


async def test_a_hold_for_a_refund_outlives_the_run(start: Any) -> None:
    async with start(faults="fail=2,refund-missing:1") as bench:
        first = await bench.run(bench.manifest(foxes(1), **capped(6, attempts=3)))
        assert (first.exit_code, first.report.credits.held) == (0, 4)
        more = bench.manifest(foxes(2), **capped(6, attempts=3))
        second = await bench.run(more, wait_for_gateway_s=30)
        assert await most_net(bench) <= 6
    assert (second.exit_code, second.report.credits.spent, second.report.credits.held) == (4, 2, 4)


async def test_a_run_with_nothing_left_but_a_refund_is_not_stopped_by_its_deadline(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunDeadline, "is_over", property(lambda _deadline: True))
    async with start(faults="fail=1,refund-missing:1") as bench:
        manifest = bench.manifest(foxes(1), **capped(6, attempts=2))
        with monkeypatch.context() as before:
            before.setattr(RunDeadline, "is_over", False)
            first = await bench.run(manifest)
        second = await bench.run(manifest, deadline_s=1000)
    assert (first.exit_code, first.report.credits.held) == (0, 2)
    assert (second.exit_code, second.report.stops) == (0, {})
