"""Seeds of hostile weather, each judged; and the seeds that once broke something."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from crucible_batch.core.control import ControlAction
from tests.harness.slow_cases import quick_where
from tests.verification.simulation import soak
from tests.verification.simulation.play import Tally, make_images
from tests.verification.simulation.price_worlds import FIRST_SCENE, FIRST_SEED, price_world
from tests.verification.simulation.refund_worlds import RefundWorld, refund_world
from tests.verification.simulation.scenario import Mishap
from tests.verification.simulation.scenes import scene
from tests.verification.simulation.soak import judged, play_all, workshop
from tests.verification.simulation.weather import FAULTS, Moment

# Parts, so that a parallel run can share them out.
FEW_SEEDS = [range(20), range(FIRST_SEED, FIRST_SEED + 10), range(FIRST_SCENE, FIRST_SCENE + 15)]
SEEDS = [range(part * 500, (part + 1) * 500) for part in range(4)]
PRICE_SEEDS = [range(FIRST_SEED + part * 150, FIRST_SEED + (part + 1) * 150) for part in range(4)]
SCENE_SEEDS = [range(FIRST_SCENE + part * 50, FIRST_SCENE + (part + 1) * 50) for part in range(3)]
_ALWAYS_FIRE = {name for name, fault in FAULTS.items() if fault.moment is not Moment.ASIDE}


@pytest.mark.parametrize("seeds", FEW_SEEDS, ids=str)
def test_the_first_seeds_buy_nothing_twice_overspend_and_lose_nothing(seeds: range) -> None:
    """The long proofs below play these and the seeds after them."""
    assert play_all(seeds).broken == []


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_whatever_happens_nothing_is_bought_twice_overspent_or_lost(seeds: range) -> None:
    total = play_all(seeds)
    assert total.broken == []
    assert total.seeds == len(seeds) == 500
    assert total.runs > 2000
    assert total.crashes > 250
    assert set(total.faults) >= _ALWAYS_FIRE - {"402-page", "workflow-gone"}


@pytest.mark.slow
@pytest.mark.parametrize("seeds", PRICE_SEEDS, ids=str)
def test_whatever_prices_do_the_budget_is_exceeded_by_no_more_than_is_stated(seeds: range) -> None:
    assert play_all(seeds).broken == []


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SCENE_SEEDS, ids=str)
def test_whatever_commands_are_given_and_picks_are_made_nothing_is_bought_too_much(
    seeds: range,
) -> None:
    total = play_all(seeds)
    assert total.broken == []
    assert min(total.pauses, total.derived) > 30


def test_the_scenes_of_the_seeds_have_all_commands_losses_and_changes(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    scenes = [scene(seed, images) for seeds in SCENE_SEEDS for seed in seeds]
    lives = [life for each in scenes for life in each.lives]
    assert {order.command.action for life in lives for order in life.orders} == set(ControlAction)
    assert {life.mishap for life in lives} == set(Mishap)
    staged = [each for each in scenes if each.staged is not None]
    assert {(each.staged.is_picked, each.staged.has_finish) for each in staged if each.staged} == {
        (one, other) for one in (True, False) for other in (True, False)
    }
    editions = [life.edition for each in staged for life in each.lives if life.edition is not None]
    assert any(max(edition.revisions) > 0 for edition in editions)
    assert any(edition.picks == () for edition in editions)
    assert any(life.effects is not None and life.orders for life in lives)
    assert scene(FIRST_SCENE - 1, images).staged is None


def test_the_prices_of_the_seeds_do_all_that_gateways_were_seen_to_do() -> None:
    worlds = [
        price_world(seed, ["zimage-base", "qwen-edit"]) for seeds in PRICE_SEEDS for seed in seeds
    ]
    rules = [rule for world in worlds for rule in world.pricing.values()]
    for name in ("size", "steps", "rises", "free", "jitter", "answer", "record"):
        assert any(getattr(rule, name) for rule in rules), name
    assert any(world.pricing.get("upload") for world in worlds)
    factors = {rise.factor for rule in rules for rise in rule.rises}
    assert min(factors) < 1 < 16 < max(factors)
    assert {(world.ceiling_factor is None, world.upload_factor is None) for world in worlds} == {
        (one, other) for one in (True, False) for other in (True, False)
    }
    assert price_world(FIRST_SEED - 1, ["zimage-base"]).pricing == {}


def test_the_refunds_of_the_seeds_are_late_partial_and_missing_in_all_three_worlds() -> None:
    for seeds in (SEEDS[:1], PRICE_SEEDS, SCENE_SEEDS):
        worlds = [refund_world(seed) for part in seeds for seed in part]
        kinds = Counter(rule.partition(":")[0] for world in worlds for rule in world.faults)
        assert (
            min(kinds[kind] for kind in ("fail", "refund-late", "refund-partial", "refund-missing"))
            > 25
        )
        assert sum(world == RefundWorld() for world in worlds) > 50
        dishonest = [world for world in worlds if world.faults]
        assert {world.recent_entries for world in dishonest} == {10, 50, 1000}
        assert {world.ids_in_text for world in dishonest} == {True, False}


ONCE = [
    (437, "a job that listed its outputs late lost all but the first"),
    (64, "a download without a length was saved although its last bytes were missing"),
    (2, "an upload's answer was lost before any had named a price, which nobody can count"),
    (561431387, "five refusals of jobs in doubt kept a run from ever asking for the others"),
    (773004124, "the judge took a price for unknown that a submit in doubt had just named"),
    (201, "a price rose while several submits were in flight"),
    (1047, "each run sent one more submit in doubt at a price that only the run before had seen"),
    (
        5977,
        "refusals for want of credits ended runs before they had collected what they had bought",
    ),
    (
        1523,
        (
            "a job that was lost, known again and not done within its timeout ended "
            "a run as if all had failed"
        ),
    ),
    (
        510001863,
        (
            "a deadline passed while a run whose jobs were done waited "
            "for the evidence of a lost upload"
        ),
    ),
    (
        510009929,
        "a deadline passed while a run whose jobs were all done read the ledger for a refund",
    ),
    (
        3011288,
        (
            "an upload's answer and the search for it were lost, "
            "and the judge took it to be on its way for ever"
        ),
    ),
    (
        681220622,
        "a submit in doubt waited for ever for an upload whose patience had been settled elsewhere",
    ),
    (
        722000051,
        "a refund paid for a second submit of a price that nobody knew, beside one in doubt",
    ),
    (20280, "an earlier run's price is enough to begin with, and may have risen since"),
    (
        93002170,
        "a submit in doubt that can no longer be settled kept the price of its workflow unknown",
    ),
    (562005798, "a partition that had begun before a run counted for nothing to the judge"),
    (
        255000139,
        (
            "a submit in doubt named a price, which rose before that was durable, "
            "and the judge knew none"
        ),
    ),
    (
        700000113,
        (
            "a hold was cut to what the account had, "
            "which had more by the time that the job was charged"
        ),
    ),
    (
        720001732,
        (
            "submits in doubt that were refused again held today's price, "
            "and kept others from what was left"
        ),
    ),
    (
        224005764,
        "the deadline passed while lost outputs were looked for, and the judge saw no reason for 5",
    ),
    (
        667407390,
        (
            "jobs that were blocked, then refused since their workflow was gone, "
            "left 4 with nothing blocked"
        ),
    ),
    (
        175264952,
        (
            "all that was left was held for an image and its job, "
            "and the judge took it for the job's alone"
        ),
    ),
    (
        524060827,
        (
            "one that went alone was in doubt for good, "
            "and the judge knew only of those of unknown price"
        ),
    ),
    (
        1524060524,
        "a record named a price where the answer had named none, and the judge had not heard it",
    ),
    (
        1524060771,
        (
            "a record within the bound of its submit, "
            "of a new shape that was answered low, ended each run"
        ),
    ),
    (
        1524061638,
        (
            "more runs than the judge allowed were each ended by a ceiling, "
            "by the price of one more shape"
        ),
    ),
    (
        316575308,
        "a run was left while a refusal was still being written, and released what that had ended",
    ),
    (
        1186729816,
        (
            "a run was killed between a job's image and its submit, "
            "and the judge held for both once more"
        ),
    ),
    (
        1700000545,
        (
            "a record named a price while its job was in flight, "
            "and the judge heard of it at the job's end"
        ),
    ),
    (
        2584190045,
        "a run was told to stop when it had just ended, and the judge took it for interrupted",
    ),
    (
        2584190197,
        (
            "a submit without an answer, then refused, was sent again in a pause, "
            "and the judge forgot the first"
        ),
    ),
    (
        2584190504,
        (
            "a job that the manifest has no longer went alone, "
            "and the judge looked at those of the report only"
        ),
    ),
    (
        2584190869,
        (
            "a job left the manifest after its images were ready, "
            "and the judge took its submit for not sent"
        ),
    ),
    (
        2584190980,
        (
            "a job was lost, left the manifest and failed, "
            "and the judge expected its refund to be known"
        ),
    ),
    (
        2584191055,
        (
            "a deadline passed while a job that had left the manifest was collected, "
            "and the judge asked for 0"
        ),
    ),
    (
        2584190634,
        (
            "a submit in doubt waited after a pause for the slot of a job that waited "
            "for its credits, for ever"
        ),
    ),
    (
        2584188387,
        (
            "a file was deleted after a run was killed before its last look at a job, "
            "and the next left it so"
        ),
    ),
    (
        1186729907,
        (
            "24 jobs waited in a queue that stood still, "
            "and looks at them until the timeout seemed endless"
        ),
    ),
    (
        2530000433,
        (
            "a submit in doubt of an earlier run, refused, "
            "was sent once more in a run that was stopped"
        ),
    ),
    (
        2923000560,
        (
            "a source was bought again on request, "
            "and the judge expected the next stage of its first output"
        ),
    ),
    (
        2023001083,
        "a job that the gateway lost has left the manifest before it ended: it counts as paid",
    ),
    (2628000017, "a run without other work did not search for an upload that was never answered"),
    (
        1331000211,
        "five accepted jobs in a row were lost, which ends a run with 5, and the judge asked for 1",
    ),
    (
        2700000345,
        "the files of a source and of its job were deleted, and the job's was not noticed",
    ),
    (
        2700000371,
        "a job of the first stage proved the account, and those of the second were another's",
    ),
    (
        2700000638,
        "a directory without a journal all of whose jobs were forgotten had no way to continue",
    ),
    (
        2700000845,
        "a deleted file whose run was cut short; the judge compared its path with absolute ones",
    ),
    (2900000470, "a run ended at its deadline, to a rounding error, and the judge saw no reason"),
    (
        2900000902,
        "the file of a killed run was in the way of the draft's new prompt; the judge missed that",
    ),
    (
        7000001944,
        "the time was up in the moment in which the last lost file was fetched again",
    ),
    (
        9000000383,
        "a failed job was restored while the gateway did not know it, and its charge was too high",
    ),
    (
        9000002168,
        "the output of a job that had left the manifest was moved before its list was read again",
    ),
    (
        9000008009,
        "a submit that an earlier run left in doubt was withheld before its first try left",
    ),
    (
        9500000867,
        "an upload in doubt stayed held, since the list of assets could not be read at the end",
    ),
]
_LONG = {1523, 1186729907, 1524061638, 1700000545}
"""Seeds that take seconds each."""


@pytest.mark.parametrize(("seed", "once"), quick_where(ONCE, lambda case: case[0] not in _LONG))
def test_a_seed_that_once_showed_something_holds(seed: int, once: str) -> None:
    assert play_all([seed]).broken == [], once


def test_the_same_seed_tells_the_same_story_in_every_process() -> None:
    program = (
        "from tests.verification.simulation.soak import play_all\n"
        "for seed in range(40, 46): print(play_all([seed]).story)"
    )
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={"PYTHONHASHSEED": other},
    )
    assert done.stdout.splitlines() == [play_all([seed]).story for seed in range(40, 46)]


def test_a_broken_seed_ends_the_soak_with_the_command_that_replays_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        soak, "play", lambda seed, *_: Tally(seeds=1, broken=["of course"] * (seed == 12))
    )
    assert soak.main(["0", "12"]) == 1
    assert capsys.readouterr().out.endswith(
        "BROKEN seed 12: of course\nreplay it: make soak SEED=12\n"
    )


def test_a_crash_in_the_simulation_itself_is_a_broken_seed() -> None:
    with workshop() as (base, _):
        broken: Tally = judged(1, base / "nowhere" / "deep", [])
    assert len(broken.broken) == 1
    assert broken.broken[0].startswith("seed 1: Traceback")
