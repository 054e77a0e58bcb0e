"""Copies of a run directory, an abandoned shard that runs after all, a clock that is set back:
nothing is paid twice.

The judge is the sandbox's ledger, with the gateway's own times.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.core.sharding import OutstandingShards
from crucible_batch.errors import ShardsOutstandingError
from crucible_batch.journal import Binding, Journal
from crucible_batch.runs.shard_notes import note_shards

DAY_S = 86_400.0
SOCKETS = shutil.ignore_patterns("*.sock")


def bought_twice(state: Any) -> list[str]:
    """The contents of which more than one job was not refunded."""
    kept = (job for job in state["jobs"] if job["status"] != "failed")
    contents = Counter(json.dumps([job["workflow_id"], job["params"]], default=str) for job in kept)
    return [content for content, count in contents.items() if count > 1]


def highest_of_each_day(state: Any) -> Mapping[str, Decimal]:
    """The most that was charged and reserved on each day, less refunds, at any row."""
    present: dict[str, Decimal] = defaultdict(Decimal)
    highest: dict[str, Decimal] = {}
    for row in state["ledger"]:
        day = datetime.fromtimestamp(float(row["created_at"]), UTC).date().isoformat()
        present[day] += {"reserve": 1, "refund": -1}.get(row["entry_type"], 0) * abs(row["amount"])
        highest[day] = max(highest.get(day, Decimal(0)), present[day])
    return highest


def daily(bench: Any, name: str, credits: int) -> Path:
    """A manifest of twelve jobs of 2 credits, with this limit for each day."""
    path: Path = bench.path / f"{name}.yaml"
    path.write_text(
        f"version: 1\nname: {name}\nworkflow: zimage-base\nparams:"
        f" {{size.width: 64, size.height: 64}}\n"
        f"budget: {{credits: {credits}, per: day, account: studio, max_credits_per_job: 3}}\n"
        f'jobs: [{{name: a, prompt: "{name} {{{{ repeat }}}}", repeat: 12}}]\n'
    )
    return path


def at_noon(bench: Any) -> None:
    bench.clock._wall += DAY_S / 2 - bench.clock.now() % DAY_S


async def run(bench: Any, manifest: Path, out: str, **options: Any) -> api.RunResult:
    settings = replace(bench.settings, accounts_directory=bench.path / "accounts")
    result: api.RunResult = await bench.run(
        manifest, settings=settings, out_dir=bench.path / out, **options
    )
    return result


async def test_two_copies_of_a_directory_go_on_at_once_within_the_limit_of_the_day(
    start: Any,
) -> None:
    async with start(faults="fail:0.3") as bench:
        at_noon(bench)
        manifest = daily(bench, "copied", 14)
        await run(bench, manifest, "one", budget="4")
        shutil.copytree(bench.path / "one", bench.path / "two", ignore=SOCKETS)
        await asyncio.gather(run(bench, manifest, "one"), run(bench, manifest, "two"))
        for out in ("two", "one"):
            assert (await run(bench, manifest, out)).exit_code == 4
        state = await bench.state()
    assert max(highest_of_each_day(state).values()) <= 14
    assert bought_twice(state) == []


async def test_a_clock_that_is_set_back_over_the_start_of_a_day_buys_no_more_on_either(
    start: Any,
) -> None:
    async with start() as bench:
        at_noon(bench)
        first, second = daily(bench, "first", 10), daily(bench, "second", 10)
        await run(bench, first, "first")
        bench.clock._wall -= DAY_S
        await run(bench, second, "second")
        await run(bench, first, "first")
        bench.clock._wall += DAY_S
        await run(bench, second, "second")
        await run(bench, first, "first")
        state = await bench.state()
    assert len(highest_of_each_day(state)) == 2
    assert max(highest_of_each_day(state).values()) <= 10
    assert bought_twice(state) == []


@pytest.mark.parametrize("faults", ["", "fail:0.4"])
async def test_an_abandoned_shard_that_runs_after_all_finds_what_was_bought(
    start: Any, monkeypatch: pytest.MonkeyPatch, faults: str
) -> None:
    """On a machine that doesn't see the main run directory, it can't be refused."""
    async with start(faults=faults) as bench:
        monkeypatch.chdir(bench.path)
        head = "budget: {credits: 40, max_credits_per_job: 4}\n"
        manifest = bench.manifest(
            '{name: a, prompt: "x {{ repeat }}", repeat: 8}', budget=None, head=head
        )
        plan, elsewhere = bench.path / "plan.json", bench.path / "elsewhere"
        await api.plan(
            manifest, save_to=plan, out_dir=bench.path / "out", shards=2, settings=bench.settings
        )
        elsewhere.mkdir()
        shutil.copy(plan, elsewhere)
        shutil.copy(manifest, elsewhere)
        await bench.run(plan, shard="1/2", out_dir=None)
        api.merge([bench.path / "out"], abandon=[2])
        await bench.run(manifest)
        before = len((await bench.state())["jobs"])
        monkeypatch.chdir(elsewhere)
        await bench.run(elsewhere / "plan.json", shard="2/2", out_dir=elsewhere / "shard")
        state = await bench.state()
    assert len(state["jobs"]) == before
    assert bought_twice(state) == []


async def test_a_directory_that_was_divided_while_consent_was_asked_is_not_run(start: Any) -> None:
    """Its shards may spend what the run would spend."""
    async with start() as bench:
        manifest, out = (
            bench.manifest("{name: t, prompt: text, repeat: 2}", budget=None),
            bench.path / "out",
        )
        binding = Binding(manifest.stem, "default", bench.settings.gateway)

        def divide(_plan: api.PlanSummary) -> bool:
            with Journal.open(out, binding, now=1.0) as journal:
                note_shards(journal, OutstandingShards("a" * 64, {1: Decimal(5)}))
            return True

        with pytest.raises(ShardsOutstandingError):
            await api.run(manifest, out_dir=out, confirm=divide, settings=bench.settings)
        assert (await bench.state())["jobs"] == []
