"""What was measured on a gateway whose prices move, played again: the budget holds as far as it is
promised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.sandbox import SandboxConfig, parse_pricing
from tests.harness.run_terms import run_terms
from tests.verification.simulation.play import make_images, play_out
from tests.verification.simulation.price_worlds import placed
from tests.verification.simulation.scenario import NAME, Life, Scenario
from tests.verification.simulation.surroundings import KEY

SMALL = {"size.width": 512, "size.height": 512}
LARGE = {"size.width": 2048, "size.height": 1024}


def job(number: int, params: Mapping[str, object], image: InputImage | None = None) -> PlannedJob:
    """A job that edits the image, or makes one from its prompt."""
    workflow, field = (
        ("zimage-base", "prompt.text") if image is None else ("qwen-edit", "prompt.value")
    )
    prompt = f"picture {number}"
    planned = PlannedJob(
        position=number,
        identity="",
        name="",
        workflow_id=workflow,
        params={field: prompt, **params},
        images={} if image is None else {"image.image": image},
        prompt=prompt,
    )
    return placed(planned, number, NAME)


def by_size(_images: Sequence[InputImage]) -> list[PlannedJob]:
    """A small job, and 80 that have eight times as many pixels."""
    return [job(number, LARGE if number else SMALL) for number in range(81)]


def alike(_images: Sequence[InputImage]) -> list[PlannedJob]:
    return [job(number, SMALL) for number in range(80)]


def edits(images: Sequence[InputImage]) -> list[PlannedJob]:
    """A job for each image, which has to be uploaded first."""
    return [job(number, {}, image) for number, image in enumerate(images)]


@dataclass(frozen=True, kw_only=True)
class Market:
    """What is bought, at which prices (``parse_pricing``), and with which limits of the user:
    the budget, and the most that a job and an upload may cost.
    """

    jobs: Callable[[Sequence[InputImage]], list[PlannedJob]]
    pricing: str
    budget: int
    ceiling: int | None = None
    upload_ceiling: int | None = None


MARKETS = {
    "by size, declared": Market(
        jobs=by_size, pricing="zimage-base.size=512x512", budget=50, ceiling=16
    ),
    "by size": Market(jobs=by_size, pricing="zimage-base.size=512x512", budget=50),
    "the first is free": Market(
        jobs=alike, pricing="zimage-base.base=100,zimage-base.free=1", budget=50
    ),
    "ten times as much after ten jobs": Market(
        jobs=alike, pricing="zimage-base.rise-after=10x10", budget=200
    ),
    "uploads": Market(jobs=edits, pricing="qwen-edit.base=0.1,upload.rise-after=1x50", budget=60),
    "uploads, declared": Market(
        jobs=edits, pricing="qwen-edit.base=1,upload.rise-after=1x50", budget=60, upload_ceiling=25
    ),
    "uploads above it": Market(
        jobs=edits, pricing="qwen-edit.base=1,upload.rise-after=1x50", budget=60, upload_ceiling=1
    ),
    "answer below the record": Market(
        jobs=alike, pricing="zimage-base.base=7,zimage-base.answer=1", budget=30
    ),
}


def scenario(market: Market, images: Sequence[InputImage]) -> Scenario:
    """One run without crashes or faults, with as many jobs at the same time as there may be."""
    ceiling = market.upload_ceiling
    return Scenario(
        seed=1,
        jobs=market.jobs(images),
        terms=run_terms(
            market.budget,
            market.ceiling,
            manifest_name=NAME,
            manifest_path="simulation.yaml",
            upload_ceiling=None if ceiling is None else Decimal(ceiling),
            attempts=1,
        ),
        world=SandboxConfig(
            accounts={KEY: Decimal(100_000)}, pricing=parse_pricing(market.pricing), runners=64
        ),
        world_faults="",
        weather={},
        longest_partition_s=1.0,
        lives=(Life(concurrency=64, budget=Decimal(market.budget)),),
        clock_jumps=(),
        known_images=(),
        forgets_for_ever=False,
        top_up=None,
    )


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS)
def test_a_gateway_whose_prices_move_takes_no_more_than_is_stated(
    tmp_path: Path, market: Market
) -> None:
    played = play_out(scenario(market, make_images(tmp_path, 40)), tmp_path / "run")
    assert played.broken == [], "promises that the judge of the simulation found broken"
