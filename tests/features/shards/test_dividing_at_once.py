"""Two machines divide one run in an object store at the same moment: one of them wins. The judge is
the ledger.

They share nothing but the store. Whatever became of a division, each plan file that it left is run,
shard by shard.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.features.registry import plan_kind_of
from crucible_batch.features.shards.merging import merge
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.stored_plans import Listing
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.request import RunRequest
from crucible_batch.saved_plan import read_saved_plan
from tests.harness.object_fakes import DictObjects
from tests.harness.object_store import URL, use_store

SHORT_JOBS = True

BUDGET = Decimal(14)
HEAD = f"budget: {{credits: {BUDGET}, max_credits_per_job: 2}}\n"


@dataclass
class Machines:
    """Machines with a state directory each.

    The manifest of each has other prompts, so that its jobs are others.
    """

    bench: Any
    store: DictObjects
    patch: pytest.MonkeyPatch
    refused: dict[str, CrucibleBatchError] = field(default_factory=dict)
    written: dict[str, api.PlanSummary] = field(default_factory=dict)

    @contextmanager
    def on(self, machine: str) -> Iterator[None]:
        with self.patch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(self.bench.path / machine))
            yield

    def plan(self, machine: str) -> Path:
        path: Path = self.bench.path / f"{machine}.json"
        return path

    def manifest(self, machine: str) -> Path:
        path: Path = self.bench.path / f"{machine}.yaml"
        params = "params: {size.width: 64, size.height: 64}"
        text = f"version: 1\nname: trial\nworkflow: zimage-base\n{params}\n{HEAD}"
        path.write_text(
            f"{text}jobs:\n  - {{name: t, prompt: {machine}, repeat: 20}}\n", encoding="utf-8"
        )
        return path

    async def divide(self, machine: str, shards: int, *, only: str = "*") -> None:
        request = RunRequest(self.manifest(machine), out_dir=Path(URL), only=(only,))
        request = request.having(DivisionOptions(shards))
        with self.on(machine):
            try:
                plan = await plan_request(
                    request, plan_kind_of, self.plan(machine), settings=self.bench.settings
                )
            except CrucibleBatchError as error:
                self.refused[machine] = error
            else:
                self.written[machine] = plan

    async def run_all_shards(self, machine: str) -> None:
        """Run each shard of a plan file, if there is one; what is refused buys nothing."""
        if not self.plan(machine).exists():
            return
        for shard in read_saved_plan(self.plan(machine)).head.shards:
            number = f"{shard.number}/{len(read_saved_plan(self.plan(machine)).head.shards)}"
            with self.on(machine):
                try:
                    await api.run(self.plan(machine), shard=number, settings=self.bench.settings)
                except CrucibleBatchError as error:
                    self.refused[f"{machine} {number}"] = error

    async def run(self, machine: str) -> None:
        """Run the manifest of a machine, as a person does who has no plan."""
        with self.on(machine):
            try:
                await self.bench.run(self.manifest(machine), out_dir=URL)
            except CrucibleBatchError as error:
                self.refused[f"run {machine}"] = error

    async def most_used(self) -> Decimal:
        rows = (await self.bench.state())["ledger"]
        used: Decimal = max(1000 - row["balance_after"] + row["reserved_after"] for row in rows)
        return used


def interrupted(machines: Machines, number: int, request: str) -> list[str]:
    """Let the second machine divide completely right before or after a write of the first.

    Returns a list that has the key of that write once it has been made.
    """
    store, done, seen = machines.store, [], itertools.count()
    create, replace_object = store.create, store.replace
    is_within = [False]

    async def at_write(key: str, write: Any) -> bool:
        if is_within[0]:
            return bool(await write())
        mine = next(seen) == number
        if mine and request == "before":
            await other(key)
        stored = bool(await write())
        if mine and request == "after":
            await other(key)
        return stored

    async def other(key: str) -> None:
        is_within[0] = True
        done.append(key)
        await machines.divide("second", 3)
        is_within[0] = False

    async def created(key: str, content: bytes) -> bool:
        return await at_write(key, lambda: create(key, content))

    async def replaced(key: str, content: bytes, info: Any) -> bool:
        return await at_write(key, lambda: replace_object(key, content, info))

    machines.patch.setattr(store, "create", created)
    machines.patch.setattr(store, "replace", replaced)
    return done


async def divided_at_once(
    bench: Any, patch: pytest.MonkeyPatch, number: int, moment: str
) -> str | None:
    """Divide on two machines, the second one at a write of the first; return the key of the write,
    None if none was.

    Then all shards of all plans are run, and both manifests.
    """
    with patch.context() as inner:
        machines = Machines(bench, use_store(inner), inner)
        done = interrupted(machines, number, moment)
        await machines.divide("first", 2)
        inner.undo()
    if not done:
        return None
    patch.setattr("crucible_batch.outputs.objects.Objects.at", lambda _url: machines.store)
    won, lost = list(machines.written), dict(machines.refused)
    for machine in (*lost, *won):
        await machines.run_all_shards(machine)
    for machine in (*lost, *won):
        await machines.run(machine)
    used = await machines.most_used()
    assert used == BUDGET, (
        f"{used} of {BUDGET} used; the second machine divided at {done[0]}; divided by {won}"
    )
    assert (len(won), len(lost)) == (1, 1)
    for error in lost.values():
        assert error.exit_code in {2, 6}
        assert error.hint
    return done[0]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "number", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 5))]
)
async def test_of_two_machines_that_divide_a_run_at_once_one_wins(
    start: Any, monkeypatch: pytest.MonkeyPatch, number: int, moment: str
) -> None:
    async with start() as bench:
        key = await divided_at_once(bench, monkeypatch, number, moment)
    assert key is not None or number > 2, "the first machine wrote nothing into the store"


async def test_a_division_that_was_killed_before_it_was_listed_yields_to_another_machines(
    start: Any, store: DictObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other machine has spent is known from its receipts, and a plan is made anew."""
    async with start() as bench:
        machines = Machines(bench, store, monkeypatch)
        (bench.path / "both.yaml").write_text(
            machines.manifest("a").read_text() + "  - {name: u, prompt: u, repeat: 20}\n"
        )
        machines.manifest = lambda _machine: bench.path / "both.yaml"

        async def killed(_self: object, _digest: str) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Listing, "add", killed)
            with pytest.raises(KeyboardInterrupt):
                await machines.divide("a", 2, only="t-*")
        await machines.divide("b", 2, only="u-*")
        await machines.run_all_shards("b")
        with machines.on("b"):
            await asyncio.to_thread(merge, [URL], settings=bench.settings)
        spent = await machines.most_used()
        await machines.divide("a", 2, only="t-*")
        await machines.run_all_shards("a")
        assert 0 < spent <= await machines.most_used() <= BUDGET


async def test_a_machine_counts_what_another_one_has_bought_since_its_own_run(
    start: Any, store: DictObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        machines = Machines(bench, store, monkeypatch)
        jobs = "\n".join(f"{{name: {name}, prompt: {name}, repeat: 8}}" for name in "abc")
        manifest = bench.manifest(jobs, budget=None, head=HEAD)
        for machine, only, budget in (("a", "a-*", 6), ("b", "b-*", 14), ("a", "c-*", 14)):
            with machines.on(machine):
                await bench.run(manifest, out_dir=URL, budget=Decimal(budget), only=[only])
            assert await machines.most_used() <= budget
