"""What was measured on a gateway whose prices move, played again: the budget holds as far as it is
promised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def scenario(
    jobs: Sequence[PlannedJob],
    pricing: str,
    budget: str,
    ceiling: str | None,
    upload_ceiling: str | None,
) -> Scenario:
    return Scenario(
        seed=1,
        jobs=jobs,
        terms=run_terms(
            budget,
            ceiling,
            manifest_name=NAME,
            manifest_path="simulation.yaml",
            upload_ceiling=None if upload_ceiling is None else Decimal(upload_ceiling),
            attempts=1,
        ),
        world=SandboxConfig(
            accounts={KEY: Decimal(100_000)}, pricing=parse_pricing(pricing), runners=64
        ),
        world_faults="",
        weather={},
        longest_partition_s=1.0,
        lives=(Life(concurrency=64, budget=Decimal(budget)),),
        clock_jumps=(),
        known_images=(),
        forgets_for_ever=False,
        top_up=None,
    )


def by_size(_images: Sequence[InputImage]) -> list[PlannedJob]:
    return [job(number, LARGE if number else SMALL) for number in range(81)]


def alike(_images: Sequence[InputImage]) -> list[PlannedJob]:
    return [job(number, SMALL) for number in range(80)]


def edits(images: Sequence[InputImage]) -> list[PlannedJob]:
    return [job(number, {}, image) for number, image in enumerate(images)]


@pytest.mark.parametrize(
    ("make", "pricing", "budget", "ceiling", "upload_ceiling"),
    [
        pytest.param(by_size, "zimage-base.size=512x512", "50", "16", None, id="by size, declared"),
        pytest.param(by_size, "zimage-base.size=512x512", "50", None, None, id="by size"),
        pytest.param(
            alike,
            "zimage-base.base=100,zimage-base.free=1",
            "50",
            None,
            None,
            id="the first is free",
        ),
        pytest.param(
            alike,
            "zimage-base.rise-after=10x10",
            "200",
            None,
            None,
            id="ten times as much after ten jobs",
        ),
        pytest.param(
            edits, "qwen-edit.base=0.1,upload.rise-after=1x50", "60", None, None, id="uploads"
        ),
        pytest.param(
            edits,
            "qwen-edit.base=1,upload.rise-after=1x50",
            "60",
            None,
            "25",
            id="uploads, declared",
        ),
        pytest.param(
            edits, "qwen-edit.base=1,upload.rise-after=1x50", "60", None, "1", id="uploads above it"
        ),
        pytest.param(
            alike,
            "zimage-base.base=7,zimage-base.answer=1",
            "30",
            None,
            None,
            id="answer below the record",
        ),
    ],
)
def test_a_gateway_whose_prices_move_takes_no_more_than_is_stated(
    tmp_path: Path,
    make: object,
    pricing: str,
    budget: str,
    ceiling: str | None,
    upload_ceiling: str | None,
) -> None:
    assert callable(make)
    jobs = make(make_images(tmp_path, 40))
    assert (
        play_out(scenario(jobs, pricing, budget, ceiling, upload_ceiling), tmp_path / "run").broken
        == []
    )
