"""Seeds with commands to running runs and with manifests in stages: what they change of other
scenarios.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from crucible_batch.core.plan import InputImage
from tests.verification.simulation.commands import invent_orders
from tests.verification.simulation.price_worlds import FIRST_SCENE
from tests.verification.simulation.scenario import Life, Mishap, Scenario, invent
from tests.verification.simulation.stages import Edition, cost, invent_editions, invent_manifest

_LOSSES = tuple(mishap for mishap in Mishap if mishap is not Mishap.NONE)


def scene(seed: int, images: Sequence[InputImage]) -> Scenario:
    """Decide everything that a seed stands for: from ``FIRST_SCENE`` on with commands, and mostly
    in stages.
    """
    scenario = invent(seed, images)
    if seed < FIRST_SCENE:
        return scenario
    chance = random.Random(f"scene {seed}")
    if chance.random() < 0.75:
        scenario = _staged(scenario, chance)
    return replace(scenario, lives=tuple(_commanded(life, chance) for life in scenario.lives))


def _commanded(life: Life, chance: random.Random) -> Life:
    return replace(life, orders=invent_orders(chance)) if chance.random() < 0.6 else life


def _staged(scenario: Scenario, chance: random.Random) -> Scenario:
    manifest = invent_manifest(chance)
    total = cost(manifest, scenario.world.prices, scenario.world.upload_price)
    factor = chance.choice(
        (None, *map(Decimal, (1, 2, 4, 40)), Decimal(chance.randrange(2, 11)) / 10)
    )
    budget = None if factor is None else total * factor
    lives = scenario.lives or (Life(),)
    *editions, last = invent_editions(chance, manifest, len(lives))
    return replace(
        scenario,
        jobs=(),
        known_images=(),
        terms=replace(scenario.terms, budget=budget),
        lives=tuple(
            _life(life, edition, budget, chance, is_first=not number)
            for number, (life, edition) in enumerate(zip(lives, editions, strict=True))
        ),
        staged=manifest,
        last=last,
    )


def _life(
    life: Life, edition: Edition, budget: Decimal | None, chance: random.Random, *, is_first: bool
) -> Life:
    """Return a process of a staged scene.

    It may live longer, since there is more to be done, and lose more.
    """
    effects = None if life.effects is None else life.effects * chance.choice((1, 2, 4))
    mishap = Mishap.NONE if is_first or chance.random() < 0.65 else chance.choice(_LOSSES)
    return replace(life, edition=edition, budget=budget, effects=effects, mishap=mishap)
