"""Runs on many machines in virtual time, over a store that fails: nothing is bought twice.

Each play is judged three times: by ``judge.py``, which knows the simulation, by
``contract_judge.py``, which does not, and by ``store_judge.py``, which reads the store.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.engine import SystemClock
from crucible_batch.features.shards.command_log import COMMANDS, StoredCommands
from tests.verification.fleet import store_judge
from tests.verification.fleet.bugs import ELSEWHERE, STORE_BUGS, planted
from tests.verification.fleet.contract_judge import contract_broken
from tests.verification.fleet.judge import judge
from tests.verification.fleet.machines_play import (
    URL,
    MachineMember,
    MachinesPlayer,
    MachinesStory,
    play_machines,
)
from tests.verification.fleet.machines_scenario import (
    MachinesScenario,
    Trouble,
    TroubleEvent,
    calm,
    invent_machines,
)
from tests.verification.fleet.store import ProcessObjects, StoreLink
from tests.verification.fleet.store_judge import hasty_starts, store_broken

# Processes that are killed leave what they had begun to be collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

FEW_SEEDS = (1, 8)
SEEDS = [range(part * 25, (part + 1) * 25) for part in range(8)]
LARGE_SEEDS = range(2)
BUG_SEEDS = (1, 3, 8, 9, 2, 4, 0, 7)
TWO_WAVES = replace(calm(jobs=8), budget=Decimal(12), ceiling=Decimal(4), shards=2)
"""What the shards leave of their allowances is divided once more."""
EFFECTS = 186
"""Of the coordinator of ``TWO_WAVES``."""
FEW_EFFECTS = (81, 170)
MORE_EFFECTS = (9, 45, 93, 117, 153)
NEAR_THE_END_OF_A_MERGE = (93, 92, 94)
FOR_WORKERS = replace(TWO_WAVES, engine="workers", longest_s=200.0)
EFFECTS_FOR_WORKERS = 178
BEFORE_A_PLAN_IS_LISTED = (78, 122)
"""Effects between setting aside what shards may spend, and listing them for workers."""
PARTS = 4
WIDE = replace(calm(engine="workers", workers=4, jobs=12), shards=2, time_scale=1.0)
"""More workers than shards, and jobs that take a while."""


def broken(story: MachinesStory) -> list[str]:
    """Return what does not hold by the first judge that objects."""
    read: Any = story  # it has what the judge reads
    return judge(read) or contract_broken(story.evidence) or store_broken(story.evidence)


def stories(
    scenarios: Iterable[MachinesScenario], base: Path, *, killed_at: int | None = None
) -> Iterable[MachinesStory]:
    for number, scenario in enumerate(scenarios):
        folder = base / f"{number}-{killed_at}"
        folder.mkdir()
        yield play_machines(scenario, folder, killed_at=killed_at)


@pytest.mark.parametrize("seed", FEW_SEEDS)
def test_no_trouble_of_machines_or_store_has_anything_bought_twice(
    seed: int, tmp_path: Path
) -> None:
    """The slow tests below play more of them, and a hundred workers."""
    (story,) = stories([invent_machines(seed)], tmp_path)
    assert broken(story) == []
    assert story.deaths + story.zombies > 0


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_the_invariants_of_one_machine_hold_for_all_seeds(seeds: range, tmp_path: Path) -> None:
    troubles: Counter[Trouble] = Counter()
    for story in stories(map(invent_machines, seeds), tmp_path):
        assert broken(story) == [], story.scenario.seed
        troubles += story.troubles
    assert len(troubles) > len(Trouble) // 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", LARGE_SEEDS)
def test_a_hundred_workers_hold_the_invariants_of_one_machine(seed: int, tmp_path: Path) -> None:
    scenario = replace(invent_machines(seed, 100), engine="workers")
    # The product's client repeats a refused request for two minutes, and this store's doesn't: of
    # the hundreds that a merge of 200 shards needs, one would always be refused.
    faults = replace(scenario.store_faults, refused=scenario.store_faults.refused / 100)
    large = replace(scenario, store_faults=faults, longest_s=1500.0)
    (story,) = stories([large], tmp_path)
    assert broken(story) == []
    assert story.deaths + story.zombies > 0


# -- the coordinator


def continues_after_a_kill(at: int, base: Path, scenario: MachinesScenario = TWO_WAVES) -> None:
    (story,) = stories([scenario], base, killed_at=at)
    assert broken(story) == [], at
    assert story.deaths >= 1  # with the processes that it had just started
    assert len(story.evidence.plans) == 2


@pytest.mark.parametrize("effect", FEW_EFFECTS)
def test_a_killed_coordinator_is_continued_by_the_same_command(effect: int, tmp_path: Path) -> None:
    continues_after_a_kill(effect, tmp_path)


@pytest.mark.slow
@pytest.mark.machines
@pytest.mark.parametrize("effect", MORE_EFFECTS)
def test_a_coordinator_that_is_killed_elsewhere_is_continued_too(
    effect: int, tmp_path: Path
) -> None:
    continues_after_a_kill(effect, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_coordinator_is_killed_before_and_after_each_of_its_effects(
    part: int, tmp_path: Path
) -> None:
    for effect in range(1 + part, EFFECTS + 1, PARTS):
        continues_after_a_kill(effect, tmp_path)


@pytest.mark.parametrize("effect", BEFORE_A_PLAN_IS_LISTED)
def test_workers_find_the_shards_of_a_coordinator_that_was_killed(
    effect: int, tmp_path: Path
) -> None:
    continues_after_a_kill(effect, tmp_path, FOR_WORKERS)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_coordinator_of_workers_is_killed_before_and_after_each_of_its_effects(
    part: int, tmp_path: Path
) -> None:
    for effect in range(1 + part, EFFECTS_FOR_WORKERS + 1, PARTS):
        continues_after_a_kill(effect, tmp_path, FOR_WORKERS)


@pytest.mark.slow
@pytest.mark.machines
@pytest.mark.parametrize(
    ("scenario", "effects"),
    [(TWO_WAVES, EFFECTS), (FOR_WORKERS, EFFECTS_FOR_WORKERS)],
    ids=["local", "workers"],
)
def test_the_effects_of_the_coordinator_are_those_that_are_tried(
    scenario: MachinesScenario, effects: int, tmp_path: Path
) -> None:
    (story,) = stories([scenario], tmp_path)
    assert story.effects == effects


@pytest.mark.slow
def test_a_merge_that_the_store_does_not_learn_of_is_found(tmp_path: Path) -> None:
    scenario = replace(TWO_WAVES, longest_s=90.0)
    with planted("the store is not told of a merge"):
        assert any(
            broken(story)
            for effect in NEAR_THE_END_OF_A_MERGE
            for story in stories([scenario], tmp_path, killed_at=effect)
        )


def test_of_four_coordinators_at_the_same_moment_one_divides(tmp_path: Path) -> None:
    (story,) = stories([replace(calm(jobs=8), coordinators=4, shards=2)], tmp_path)
    assert broken(story) == []
    assert len(story.evidence.plans) == 1
    assert len(story.jobs) == 8
    assert sum("another run holds" in error for error in story.errors) >= 3


# -- workers and shards


async def a_running_shard(player: MachinesPlayer) -> MachineMember:
    """Return the process of a shard that has bought something and has not ended."""
    while True:
        await asyncio.sleep(0.1)
        bought = {submit.process for submit in player.seen.submits}
        for member in player.living("shard"):
            if member.link.process in bought:
                return member


def entries_of(player: MachinesPlayer, member: MachineMember) -> list[tuple[float, str]]:
    """The time and the writer of each entry of the log that a process writes."""
    assert member.shard is not None
    folder = f".crucible/shards/{member.shard[0][:8]}/{member.shard[1]}-of-"
    keys = sorted(key for key in player.store.content if key.startswith(folder))
    return [
        (player.store.created_at[key], json.loads(player.store.content[key])["writer"])
        for key in keys
        if not key.endswith("journal.json")
    ]


@pytest.mark.slow
@pytest.mark.machines
@pytest.mark.parametrize(
    ("engine", "how", "least_s", "most_s"),
    [
        # Who started it sees its end, so no silence is awaited.
        ("local", "killed", 0.0, 5.0),
        ("careless", "killed", 0.0, 20.0),  # the engine may have lost sight of it
        ("local", "frozen", 10.0, 20.0),
        ("workers", "killed", 10.0, 20.0),
        ("workers", "frozen", 10.0, 20.0),
        ("workers", "lost", 10.0, 20.0),
        ("careless", "frozen", 10.0, 20.0),
    ],
)
def test_a_shard_is_taken_over_within_20_seconds(
    engine: str, how: str, least_s: float, most_s: float, tmp_path: Path
) -> None:
    taken = list[float]()

    async def act(player: MachinesPlayer) -> None:
        member = await a_running_shard(player)
        writer, began = entries_of(player, member)[-1][1], player.clock.monotonic()
        if how == "killed":
            member.process.kill()
        elif how == "frozen":
            player.freeze(member, for_s=60.0)
        else:
            player.lose(member)
        while entries_of(player, member)[-1][1] == writer:
            await asyncio.sleep(0.05)
        taken.append(player.clock.monotonic() - began)

    story = play_machines(replace(WIDE, engine=engine), tmp_path, act=act)
    assert broken(story) == []
    assert least_s < taken[0] <= most_s


def test_what_was_frozen_for_a_minute_buys_nothing_when_it_wakes(tmp_path: Path) -> None:
    """Its clock was set back by an hour meanwhile."""
    woken = list[tuple[str, float]]()

    async def act(player: MachinesPlayer) -> None:
        member = await a_running_shard(player)
        player.freeze(member, for_s=60.0)
        await asyncio.sleep(60.0)
        woken.append((member.link.process, player.clock.monotonic()))
        await asyncio.sleep(30.0)

    story = play_machines(WIDE, tmp_path, act=act)
    assert broken(story) == []
    assert story.zombies == 1
    ((process, at),) = woken
    seen = story.evidence
    accepted = {each.key: each.accepted_at - seen.began for each in seen.generations}
    sent = [each for each in seen.submits if each.process == process and each.at >= at]
    assert [each.key for each in sent if accepted[each.key] >= at] == []
    assert any("another process continues" in e or "was merged" in e for e in story.errors)


def commands_of(player: MachinesPlayer) -> StoredCommands:
    """The commands to the newest plan, as a person reaches them from elsewhere."""
    listed = sorted(filter(LISTED.fullmatch, player.store.content))
    digest = json.loads(player.store.content[listed[-1]])["plan"]["digest"]
    objects = ProcessObjects(URL, player.store, StoreLink(random.Random(1)))
    return StoredCommands(objects, digest, SystemClock())


LISTED = re.compile(r"\.crucible/shards/\d{8}\.json")
SOMEBODY = ControlSource("somebody", "terminal")


def test_a_pause_holds_everywhere_after_3_5_seconds(tmp_path: Path) -> None:
    """Also for a shard that can't hear it: one that has lost the store, or was frozen."""
    paused = list[tuple[float, float]]()

    async def act(player: MachinesPlayer) -> None:
        await a_running_shard(player)
        await asyncio.sleep(6.0)
        cut, frozen = player.living("shard")[:2]
        player.cut_store(cut, for_s=12.0)
        await commands_of(player).add(ControlCommand(ControlAction.PAUSE), SOMEBODY)
        began = player.store.created_at[f"{COMMANDS}/00000001.json"]
        player.freeze(frozen, for_s=5.0)
        await asyncio.sleep(20.0)
        paused.append((began, player.clock.monotonic()))
        await commands_of(player).add(ControlCommand(ControlAction.RESUME), SOMEBODY)

    scenario = replace(calm(engine="workers", workers=3, jobs=60), shards=3)
    story = play_machines(scenario, tmp_path, act=act)
    assert broken(story) == []
    ((began, ended),) = paused
    times = [submit.at for submit in story.evidence.submits]
    assert [at for at in times if began + 3.5 <= at <= ended] == []
    assert [at for at in times if at < began]
    assert [at for at in times if at > ended]


def two_commands_at_once(base: Path) -> MachinesStory:
    async def act(player: MachinesPlayer) -> None:
        await a_running_shard(player)
        await asyncio.gather(
            commands_of(player).add(ControlCommand(ControlAction.CONCURRENCY, 1.0), SOMEBODY),
            commands_of(player).add(ControlCommand(ControlAction.CONCURRENCY, 2.0), SOMEBODY),
        )

    return play_machines(calm(), base, act=act)


def test_two_commands_at_the_same_moment_are_both_kept(tmp_path: Path) -> None:
    story = two_commands_at_once(tmp_path)
    assert broken(story) == []
    assert sum(key.startswith(COMMANDS) for key in story.store.content) == 2


# -- planted bugs


@pytest.mark.slow
@pytest.mark.machines
def test_a_command_that_replaces_another_is_found(tmp_path: Path) -> None:
    with planted("a command replaces another"):
        assert "00000001.json was changed" in str(broken(two_commands_at_once(tmp_path)))


@pytest.mark.slow
@pytest.mark.machines
def test_a_tick_that_is_no_entry_is_found(tmp_path: Path) -> None:
    slow = replace(WIDE, time_scale=40.0, jobs=6)
    with planted("a tick is no entry"):
        (story,) = stories([slow], tmp_path)
    assert "was silent" in str(broken(story))
    (tmp_path / "right").mkdir()
    (story,) = stories([slow], tmp_path / "right")
    assert broken(story) == []


@pytest.mark.slow
@pytest.mark.parametrize("bug", STORE_BUGS)
def test_a_planted_bug_is_found_within_a_few_seeds(bug: str, tmp_path: Path) -> None:
    with planted(bug):
        assert any(broken(story) for story in stories(map(invent_machines, BUG_SEEDS), tmp_path))


def started_twice() -> MachinesScenario:
    events = [TroubleEvent(at, Trouble.STARTED_TWICE, 1.0, 0.0) for at in (8.0, 12.0, 16.0)]
    return replace(WIDE, events=tuple(events))


@pytest.mark.slow
@pytest.mark.machines
def test_a_shard_that_is_started_twice_stays_with_its_process(tmp_path: Path) -> None:
    (story,) = stories([started_twice()], tmp_path)
    assert broken(story) == []
    assert hasty_starts(story.evidence) == 0
    assert story.troubles[Trouble.STARTED_TWICE] > 0


@pytest.mark.slow
@pytest.mark.machines
def test_who_begins_without_watching_wastes_work_and_no_credits(tmp_path: Path) -> None:
    """So no judge objects, and it is counted."""
    with planted("a shard begins without watching"):
        (story,) = stories([started_twice()], tmp_path)
    assert broken(story) == []
    assert hasty_starts(story.evidence) > 0


def test_each_bug_that_seeds_do_not_find_has_a_test_above() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in ELSEWHERE if f'planted("{name}")' not in text] == []


def test_the_third_judge_uses_no_code_of_the_product() -> None:
    nodes = ast.walk(ast.parse(inspect.getsource(store_judge)))
    imported = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert [module for module in imported if module.startswith("crucible_batch")] == []


@pytest.mark.slow
@pytest.mark.machines
def test_the_third_judge_objects_to_each_change(tmp_path: Path) -> None:
    (story,) = stories([TWO_WAVES], tmp_path)
    seen = story.evidence
    assert store_broken(seen) == []
    entry = next(key for key in sorted(seen.stored_at) if key.endswith("-of-2/00000003.json"))
    listed = ".crucible/shards/00000002.json"
    changes: dict[str, Callable[[], Any]] = {
        "an entry is missing": lambda: replace(seen, stored_at=_without(seen.stored_at, entry)),
        "an entry came late": lambda: replace(seen, stored_at={**seen.stored_at, entry: 1e6}),
        "a merge is missing": lambda: replace(seen, stored_at=_without(seen.stored_at, listed)),
        "an object was replaced": lambda: replace(seen, overwritten=[entry]),
        "a shard is of another log": lambda: replace(
            seen, shards={name: (digest, 3 - n) for name, (digest, n) in seen.shards.items()}
        ),
    }
    unnoticed = [name for name, change in changes.items() if not store_broken(change())]
    assert unnoticed == []


def _without(stored_at: Mapping[str, float], key: str) -> dict[str, float]:
    return {name: at for name, at in stored_at.items() if name != key}
