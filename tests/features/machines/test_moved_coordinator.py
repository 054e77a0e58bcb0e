"""A coordinator that is killed at any of its effects in the store is continued on another machine,
which has nothing but the store.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.progress import ShardsAdvanced
from crucible_batch.core.sharding import ShardId
from crucible_batch.errors import CrucibleBatchError, ExitCode
from crucible_batch.features.machines import coordinator
from crucible_batch.features.machines.coordinator import run_on_machines
from crucible_batch.features.machines.run_options import MachineOptions
from crucible_batch.features.machines.shard_process import ShardEnd, ShardTask
from crucible_batch.features.registry import kind_of
from crucible_batch.features.shards.log import WatchedLog
from crucible_batch.features.shards.run_options import ShardChoice
from crucible_batch.features.shards.stored_plans import MANIFEST_FILE, fetch_stored_plan
from crucible_batch.runs.request import RunRequest, follow_plan
from crucible_batch.runs.running import run_request
from tests.harness.bench import Watcher
from tests.harness.object_fakes import DictObjects, SharedDirectory
from tests.harness.object_store import KINDS, use_kind
from tests.harness.replacing import replace
from tests.harness.stopped_runs import STRIDE

SHORT_JOBS = True

JOBS, PRICE, BUDGET = 9, 2, 14
_OF_A_SHARD = "-of-"
_HOMES = itertools.count()


class Killed(BaseException):
    """The process is gone: nothing that follows is done."""


@dataclass
class Shards:
    """An engine whose shards run in this process, with directories of their own."""

    bench: Any
    home: str
    started: Iterator[int] = field(default_factory=itertools.count)

    async def places(self) -> int:
        return 1

    async def run(self, task: ShardTask) -> ShardEnd:
        plan = await fetch_stored_plan(task.url, task.digest)
        shard = ShardId(task.number, len(plan.head.shards))
        features = (ShardChoice(str(shard)), WatchedLog(task.watched))
        directory = self.bench.path / f"{self.home}-shard-{next(self.started)}"
        request = RunRequest(plan.path, out_dir=directory, html=False, features=features)
        request = follow_plan(request, {})
        request = replace(request, manifest=plan.path.with_name(MANIFEST_FILE), plan=plan)
        try:
            result = await run_request(request, kind_of, settings=self.bench.settings)
        except CrucibleBatchError as error:
            return ShardEnd(int(error.exit_code), error.message)
        return ShardEnd(int(result.exit_code), "")

    async def close(self) -> None: ...


Effect = int | tuple[str, str]
"""The n-th effect of a coordinator in the store, before or after it; or a request with the end of
its key.
"""


class Killer:
    """Kills the coordinator at an effect."""

    def __init__(self, at: Effect) -> None:
        self._at = at
        self._count = 0
        self.has_struck = False

    def __call__(self, request: str, key: str) -> None:
        is_of_shard = _OF_A_SHARD in key or key.endswith(".png")
        if request not in {"create", "replace", "answer"} or is_of_shard or self.has_struck:
            return
        self._count += 1
        if isinstance(self._at, int):
            self.has_struck = self._count == self._at
        else:
            self.has_struck = request == self._at[0] and key.endswith(self._at[1])
        if self.has_struck:
            raise Killed


async def coordinate(
    bench: Any, manifest: Path, url: str, patch: pytest.MonkeyPatch, home: str
) -> Any:
    home = f"{home}-{next(_HOMES)}"
    patch.setenv("XDG_STATE_HOME", str(bench.path / home))
    options = MachineOptions(on="local:1", divide=2)
    request = RunRequest(manifest, out_dir=Path(url), html=False, features=(options,))
    watcher = Watcher()
    result = await run_on_machines(
        request,
        kind_of,
        settings=bench.settings,
        engine=Shards(bench, home),
        observer=watcher,
    )
    for message in watcher.messages:
        if isinstance(message, ShardsAdvanced):
            assert Counter(message.counts).total() == JOBS
    return result


def spent_by_shards(store: DictObjects | SharedDirectory) -> Iterator[Decimal]:
    for key, content in store.content.items():
        if _OF_A_SHARD in key and key.endswith("journal.json"):
            yield Decimal(json.loads(content)["figures"]["spent"])


@pytest.fixture(params=KINDS)
def play(start: Any, request: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    store = use_kind(request.param, monkeypatch, tmp_path)
    url = str(store.url)

    async def play(at: Effect) -> bool:
        """Play a run whose coordinator is killed; return whether it was."""
        async with start() as bench:
            monkeypatch.setattr(coordinator, "SystemClock", lambda: bench.clock)
            store.content.clear()
            manifest = bench.manifest(
                f'{{name: t, prompt: "{{{{ repeat }}}}", repeat: {JOBS}}}',
                budget=f"{BUDGET}, max_credits_per_job: {PRICE}",
            )
            store.fault = killer = Killer(at)
            try:
                result = await coordinate(bench, manifest, url, monkeypatch, "first")
            except BaseException as error:
                if "Killed" not in repr(error):
                    raise
            store.fault = lambda _request, _key: None
            if killer.has_struck:
                result = await coordinate(bench, manifest, url, monkeypatch, "second")
            assert result.exit_code == ExitCode.OUT_OF_CREDITS
            assert result.report.credits.spent == BUDGET
            assert result.report.counts.succeeded == BUDGET // PRICE
            state = await bench.state()
            keys = Counter(job["idempotency_key"] for job in state["jobs"])
            assert set(keys.values()) == {1}
            levels = [
                1000 - row["balance_after"] + row["reserved_after"] for row in state["ledger"]
            ]
            assert max(levels) <= Decimal(BUDGET)
            assert len([key for key in store.content if key.endswith(".png")]) == BUDGET // PRICE
            assert sum(spent_by_shards(store)) > 0
            before = len(keys)
            third = await coordinate(bench, manifest, url, monkeypatch, "third")
            assert third.report.credits.spent == BUDGET
            assert len((await bench.state())["jobs"]) == before
            return killer.has_struck

    return play


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(("answer", "shards/00000001.json"), id="shards are out"),
        pytest.param(("create", "shards/00000002.json"), id="merged, and not listed so"),
    ],
)
async def test_a_coordinator_that_is_killed_while_its_shards_count(
    play: Any, at: tuple[str, str]
) -> None:
    assert await play(at)


async def test_a_coordinator_that_is_killed_is_continued_on_another_machine(play: Any) -> None:
    for at in itertools.count(1, 2 * STRIDE):
        if not await play(at):
            break
    assert at > 20
