"""What the prices of a seed do: they stay, depend on parameters, rise within a surge and beyond, or
are misstated.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from crucible_batch.core.identity import job_identity
from crucible_batch.core.plan import PlannedJob
from crucible_batch.sandbox.pricing import UPLOAD, Pricing, Rise

FIRST_SEED = 10**9
"""From this seed on prices may move. Those below keep the stories for which they are remembered."""
FIRST_SCENE = 2 * 10**9
"""From this seed on, runs are given commands and manifests have stages (``scenes.py``), and prices
stay again."""
_SIDES = (256, 512, 1024, 2048)
_STEPS = (5, 20, 80)
_SIZED = frozenset({"zimage-base", "zimage-sheet"})
_FACTORS = tuple(Decimal(factor) for factor in ("0.5", "1.5", "4", "10", "16", "40"))
_CEILINGS = tuple(Decimal(factor) for factor in (1, 4, 16, 64))


@dataclass(frozen=True, slots=True)
class PriceWorld:
    """How prices move, and what is declared of them, as factors of the highest price and of that of
    an upload."""

    pricing: Mapping[str, Pricing]
    budget_factor: Decimal = Decimal(1)
    ceiling_factor: Decimal | None = None
    upload_factor: Decimal | None = None
    first_concurrency: int | None = None
    """How many jobs a first process, that nothing befalls, has under way; None: there is no such
    one.
    """


def price_world(seed: int, used: Sequence[str]) -> PriceWorld:
    """Decide what the prices of the workflows that are used do; nothing below ``FIRST_SEED``, and
    at times above."""
    chance = random.Random(f"prices {seed}")
    if not FIRST_SEED <= seed < FIRST_SCENE or chance.random() < 0.2:
        return PriceWorld({})
    scopes = [name for name in (*sorted(set(used)), UPLOAD) if chance.random() < 0.6]
    return PriceWorld(
        pricing={scope: _pricing(chance, scope) for scope in scopes},
        budget_factor=chance.choice((Decimal(1), Decimal(1), Decimal(4), Decimal(16))),
        ceiling_factor=chance.choice((*[None] * 4, *_CEILINGS)),
        upload_factor=chance.choice((*[None] * 4, *_CEILINGS)),
        first_concurrency=chance.choice((None, 24, 64)),
    )


def priced_jobs(
    seed: int, jobs: Sequence[PlannedJob], world: PriceWorld, *, manifest: str
) -> list[PlannedJob]:
    """Add jobs, so that many are under way when a price moves, and give them sizes and steps that
    it may depend on."""
    if not world.pricing:
        return list(jobs)
    chance = random.Random(f"jobs {seed}")
    more = [_another(chance.choice(jobs), number) for number in range(chance.choice((0, 12, 30)))]
    shaped = (replace(job, params=_shape(chance, job)) for job in (*jobs, *more))
    return [placed(job, position, manifest) for position, job in enumerate(shaped)]


def _another(job: PlannedJob, number: int) -> PlannedJob:
    prompt = f"more {number}"
    params = {
        name: prompt if name.startswith("prompt.") else value for name, value in job.params.items()
    }
    return replace(job, params=params, prompt=prompt, repeat=1)


def _shape(chance: random.Random, job: PlannedJob) -> Mapping[str, object]:
    if job.workflow_id not in _SIZED:
        return job.params
    sides = {name: chance.choice(_SIDES) for name in ("size.width", "size.height")}
    return {**job.params, **sides, "sampler.steps": chance.choice(_STEPS)}


def placed(job: PlannedJob, position: int, manifest: str) -> PlannedJob:
    """Give a job its place in a plan, and the identity that follows from what it asks for."""
    identity = job_identity(
        manifest=manifest,
        run_id="default",
        workflow_id=job.workflow_id,
        params=job.params,
        images={name: image.spec.sha256 for name, image in job.images.items()},
        repeat=job.repeat,
    )
    name = f"job-{position}"
    return replace(
        job, position=position, name=name, identity=identity, output=f"{name}/{{index}}{{ext}}"
    )


def _pricing(chance: random.Random, scope: str) -> Pricing:
    """One to three of the ways in which a price moves."""
    ways: list[Callable[[random.Random, Pricing], Pricing]] = [_rises, _free, _jitter]
    if scope != UPLOAD:
        ways += [_by_shape] * (2 if scope in _SIZED else 0) + [_misstated]
    found = Pricing()
    for way in chance.sample(ways, chance.choice((1, 1, 2, 3))):
        found = way(chance, found)
    return found


def _by_shape(_chance: random.Random, pricing: Pricing) -> Pricing:
    return replace(pricing, size=512 * 512, steps=20)


def _rises(chance: random.Random, pricing: Pricing) -> Pricing:
    rises = [_rise(chance) for _ in range(chance.choice((1, 1, 2)))]
    return replace(pricing, rises=tuple(sorted(rises, key=lambda rise: (rise.after, rise.after_s))))


def _rise(chance: random.Random) -> Rise:
    factor = chance.choice(_FACTORS)
    if chance.random() < 0.6:
        return Rise(factor, after=chance.randrange(1, 7))
    return Rise(factor, after_s=Decimal(chance.choice((1, 30, 3600, 40_000))))


def _free(chance: random.Random, pricing: Pricing) -> Pricing:
    return replace(pricing, free=chance.choice((1, 1, 3)))


def _jitter(chance: random.Random, pricing: Pricing) -> Pricing:
    return replace(
        pricing, jitter=chance.choice((Decimal("0.3"), Decimal(3), Decimal(14), Decimal(30)))
    )


def _misstated(chance: random.Random, pricing: Pricing) -> Pricing:
    """The answer states less or more than the ledger takes; sometimes the record states it too."""
    stated = Decimal(chance.choice(("0", "0.1", "0.3", "5")))
    return replace(pricing, answer=stated, record=stated if chance.random() < 0.3 else None)
