"""Refunds that are late, partial, missing or not listed: the judge is the sandbox's ledger, row by
row.
"""

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
from crucible_batch.engine.run_control import RunDeadline
from crucible_batch.journal import Journal

SHORT_JOBS = True
CHARGES = {"reserve": 1, "refund": -1, "upload": 1, "rebate": -1}
D = Decimal


def capped(credits: object, *, attempts: int = 3) -> dict[str, Any]:
    """Return the manifest's head with both maximum prices declared, so that no rule lets the budget
    be exceeded."""
    budget = (
        f"budget: {{credits: {credits}, max_credits_per_job: 2, max_credits_per_upload: 0.5}}\n"
    )
    return {"budget": None, "head": f"{budget}retry: {{attempts: {attempts}}}\n"}


def foxes(count: int) -> str:
    return f"{{name: fox, prompt: a fox, repeat: {count}}}"


async def most_net(bench: Any) -> Decimal:
    """The highest net charges at any row of the ledger; a failed job counts until its refund."""
    state = await bench.state()
    assert state["audit"]["problems"] == []
    net = most = D(0)
    for row in state["ledger"]:
        net += CHARGES.get(row["entry_type"], 0) * row["amount"]
        most = max(most, net)
    return most


async def kinds(bench: Any) -> Counter[str]:
    return Counter(row["entry_type"] for row in (await bench.state())["ledger"])


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


def crowded(bench: Any) -> Any:
    """A list of 10 entries that other tenants fill between any two readings."""

    def change(_entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        now = datetime.fromtimestamp(bench.clock.now(), UTC).isoformat()
        kept = {
            "entry_type": "reserve",
            "status": "held",
            "amount": 1,
            "description": "other",
            "created_at": now,
        }
        return [{"id": str(uuid.uuid4()), "job_id": str(uuid.uuid4()), **kept} for _ in range(10)]

    return change


async def test_a_persons_option_releases_what_is_not_visible_and_it_is_recorded(
    start: Any, tampered: Any
) -> None:
    async with start(faults="fail=1,refund-missing:1") as bench:
        manifest = bench.manifest(foxes(1), **capped(2))
        hidden = tampered(listing(crowded(bench)))
        first = await bench.run(manifest, wait_for_gateway_s=30, transport=hidden)
        assert (first.exit_code, "not visible" in stop_of(first).message) == (4, True)
        assert (await kinds(bench))["reserve"] == 1
        result = await bench.run(manifest, forget_refunds=True, transport=hidden)
        (forgotten,) = seen(bench, "RefundForgotten")
        assert (forgotten.attempt, forgotten.credits) == (1, 2)
        assert forgotten.by
        assert forgotten.at > 0
        assert (
            await most_net(bench) == 4
        )  # the person's decision, within the budget of what is known
    credits = result.report.credits
    assert (result.exit_code, credits.spent, credits.held, credits.refunded) == (0, 2, 0, 0)
    assert credits.forgotten_refunds == 2


@pytest.mark.parametrize("lost", ["journal", "directory"])
async def test_a_failed_attempt_found_after_a_loss_is_held_and_blocks_no_replay(
    start: Any, lost: str
) -> None:
    """The list is too short to show the refund of the failed one any more; all that was bought
    comes back free."""
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


async def test_after_a_loss_one_more_is_bought_beside_unseen_refunds_and_not_in_each_run(
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
