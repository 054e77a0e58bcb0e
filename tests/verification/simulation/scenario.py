"""What a seed stands for: jobs, images, terms, weather, and the lives and deaths of the processes
that run them.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from crucible_batch.core.identity import job_identity
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.core.retry_rule import HOPELESS_CODES
from crucible_batch.gateway import RetryPolicy
from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.pricing import Pricing, Rise
from tests.verification.simulation.commands import Order
from tests.verification.simulation.price_worlds import PriceWorld, price_world, priced_jobs
from tests.verification.simulation.refund_worlds import RefundWorld, refund_world
from tests.verification.simulation.stages import Edition, StagedManifest
from tests.verification.simulation.surroundings import KEY
from tests.verification.simulation.weather import FAULTS

NAME = "simulation"
_PRICES = [Decimal(text) for text in ("0.1", "0.3", "1", "2", "3.5", "0.333333")]
_WORKFLOWS = ("zimage-base", "qwen-edit", "zimage-sheet", "zimage-sketch")
_PROMPTS = {"qwen-edit": "prompt.value"}
_WORLD_FAULTS = ("fail", "moderate", "slow-queue", "never-ready")


class Mishap(enum.Enum):
    """What befalls the run directory between two processes."""

    NONE = "none"
    DELETED = "deleted"
    RESTORED = "restored"
    JOURNAL_LOST = "journal lost"
    STATE_LOST = "journal and receipts lost"
    FILES_LOST = "outputs lost"


@dataclass(frozen=True, slots=True)
class Life:
    """One process of ours. ``effects``: it dies at that effect.

    Before it begins ``rest_s`` pass, and the workflow ``dearer`` comes to cost twice as much.
    """

    effects: int | None = None
    interrupt_at_s: tuple[float, ...] = ()
    deadline_s: float | None = None
    rest_s: float = 0.0
    dearer: str | None = None
    concurrency: int = 6
    budget: Decimal | None = None
    retry_failed: bool = False
    resubmit_unknown: bool = False
    mishap: Mishap = Mishap.NONE
    job_timeout_s: float = 1800.0
    retries: RetryPolicy = RetryPolicy()  # noqa: RUF009 - frozen
    orders: tuple[Order, ...] = ()
    edition: Edition | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that a seed decides before anything happens.

    ``staged`` is the manifest in stages whose jobs are run in place of ``jobs``, if there is one,
    and ``last`` its edition once the faults have ended.
    """

    seed: int
    jobs: Sequence[PlannedJob]
    terms: RunTerms
    world: SandboxConfig
    world_faults: str
    weather: dict[str, float]
    longest_partition_s: float
    lives: Sequence[Life]
    clock_jumps: Sequence[tuple[float, float]]
    known_images: Sequence[InputImage]
    forgets_for_ever: bool
    top_up: Decimal | None
    refunds: RefundWorld = RefundWorld()  # noqa: RUF009 - frozen
    staged: StagedManifest | None = None
    last: Edition | None = None

    @property
    def wanted(self) -> dict[str, int]:
        """How many jobs are wanted, by marker."""
        counts: dict[str, int] = {}
        for job in self.jobs:
            counts[job.prompt or ""] = counts.get(job.prompt or "", 0) + 1
        return counts


def invent(seed: int, images: Sequence[InputImage]) -> Scenario:
    """Decide everything that a seed stands for. ``images`` are there to be chosen from."""
    chance = random.Random(f"scenario {seed}")
    used = chance.sample(images, chance.randrange(len(images) + 1))
    jobs = _jobs(chance, used)
    world, refunds = price_world(seed, [job.workflow_id for job in jobs]), refund_world(seed)
    jobs = priced_jobs(seed, jobs, world, manifest=NAME)
    prices = {workflow: chance.choice(_PRICES) for workflow in _WORKFLOWS}
    upload_price = min(chance.choice(_PRICES), *prices.values())
    cost = sum((prices[job.workflow_id] for job in jobs), Decimal(0)) + upload_price * len(used)
    budget = chance.choice(
        (None, cost, cost * 3, cost, (cost * Decimal(chance.randrange(2, 11)) / 10))
    )
    budget = None if budget is None else budget * world.budget_factor
    dearest = max(prices.values())
    ceiling = chance.choice((None, dearest, dearest * 2, dearest * 3, dearest / 2))
    credits = chance.choice(
        (Decimal(1000), Decimal(1000), Decimal(1000), max(cost / 2, Decimal(1)))
    )
    if world.pricing:
        credits *= 1000
    return Scenario(
        seed=seed,
        jobs=jobs,
        terms=RunTerms(
            manifest_name=NAME,
            manifest_path="simulation.yaml",
            manifest_sha256="0" * 64,
            run_id="default",
            budget=budget,
            ceiling=ceiling if world.ceiling_factor is None else dearest * world.ceiling_factor,
            attempts=chance.randrange(1, 4),
            never=HOPELESS_CODES,
            upload_ceiling=None
            if world.upload_factor is None
            else upload_price * world.upload_factor,
        ),
        world=SandboxConfig(
            seed=seed,
            accounts={KEY: round(credits, 6)},
            prices=prices,
            upload_price=upload_price,
            pricing=_rises(chance, [job.workflow_id for job in jobs]) | world.pricing,
            rebate_share=chance.choice((Decimal(1), Decimal(1), Decimal("0.5"), Decimal(0))),
            runners=chance.choice((1, 4, 64)),
            time_scale=chance.choice((0.0, 1.0, 1.0, 40.0, 400.0)),
            ready_after_s=chance.choice((0.0, 0.2, 8.0)),
            upload_ttl_s=chance.choice((900.0, 5.0)),
            slow_queue_s=chance.choice((5.0, 2 * 3600.0)),
            refund_late_s=refunds.late_s,
            partial_refund=refunds.partial,
            recent_entries=refunds.recent_entries,
        ),
        world_faults=",".join(
            (
                *(f"{name}:{_rate(chance)}" for name in _some(chance, _WORLD_FAULTS, 2)),
                *refunds.faults,
            )
        ),
        weather={name: _rate(chance) for name in _some(chance, tuple(FAULTS), 12)},
        longest_partition_s=chance.choice((5.0, 600.0)),
        lives=_awaiting(
            seed,
            (
                *_first_life(world, budget),
                *_lives(chance, budget, [job.workflow_id for job in jobs]),
            ),
        ),
        clock_jumps=_clock_jumps(chance),
        known_images=tuple(image for image in used if chance.random() < 0.1),
        forgets_for_ever=chance.random() < 0.3,
        top_up=chance.choice((None, Decimal(1000), Decimal(1000))),
        refunds=refunds,
    )


def _first_life(world: PriceWorld, budget: Decimal | None) -> tuple[Life, ...]:
    most = world.first_concurrency
    return () if most is None else (Life(concurrency=most, budget=budget),)


def _rate(chance: random.Random) -> float:
    return chance.choice((0.02, 0.1, 0.1, 0.3))


def _some(chance: random.Random, names: Sequence[str], most: int) -> list[str]:
    return chance.sample(names, chance.randrange(most + 1))


def _jobs(chance: random.Random, images: Sequence[InputImage]) -> list[PlannedJob]:
    jobs: list[PlannedJob] = []
    workflows = chance.sample(_WORKFLOWS, chance.randrange(1, 4))
    for number in range(chance.randrange(1, 9)):
        workflow = chance.choice(workflows)
        if workflow == "qwen-edit" and not images:
            workflow = "zimage-base"
        # The sandbox refuses this word whenever it reads it.
        prompt = f"picture {number}" + (" nsfw" if chance.random() < 0.03 else "")
        taken = {"image.image": chance.choice(images)} if workflow == "qwen-edit" else {}
        for repeat in range(1, chance.choice((2, 2, 2, 3, 4))):
            jobs.append(_job(len(jobs), workflow, prompt, repeat, taken))
    return jobs[:12]


def _job(
    position: int, workflow: str, prompt: str, repeat: int, images: dict[str, InputImage]
) -> PlannedJob:
    params = {_PROMPTS.get(workflow, "prompt.text"): prompt}
    return PlannedJob(
        position=position,
        identity=job_identity(
            manifest=NAME,
            run_id="default",
            workflow_id=workflow,
            params=params,
            images={name: image.spec.sha256 for name, image in images.items()},
            repeat=repeat,
        ),
        name=f"job-{position}",
        workflow_id=workflow,
        params=params,
        images=images,
        prompt=prompt,
        repeat=repeat,
        output=f"job-{position}/{{index}}{{ext}}",
    )


def _rises(chance: random.Random, used: Sequence[str]) -> dict[str, Pricing]:
    if chance.random() < 0.6:
        return {}
    workflow, after = chance.choice(used), chance.randrange(1, 5)
    return {workflow: Pricing(rises=(Rise(Decimal(chance.choice((2, 3))), after),))}


def _lives(chance: random.Random, budget: Decimal | None, used: Sequence[str]) -> tuple[Life, ...]:
    lives: list[Life] = []
    for number in range(chance.randrange(6)):
        changed = budget is not None and chance.random() < 0.15
        lives.append(
            Life(
                effects=int(1 + 100 * chance.random() ** 1.5) if chance.random() < 0.75 else None,
                interrupt_at_s=_interrupts(chance),
                deadline_s=chance.uniform(0.1, 60) if chance.random() < 0.1 else None,
                rest_s=chance.choice((0.0, 1.0, 3600.0, 30 * 3600.0)) * chance.random(),
                concurrency=chance.choice((1, 2, 6, 24)),
                budget=budget * chance.choice((2, 1)) if budget is not None and changed else budget,
                retry_failed=chance.random() < 0.2,
                mishap=chance.choice((Mishap.DELETED, Mishap.RESTORED))
                if number and chance.random() < 0.1
                else Mishap.NONE,
                dearer=chance.choice(used) if chance.random() < 0.2 else None,
                job_timeout_s=chance.choice((1800.0, 1800.0, 60.0)),
                retries=chance.choice(
                    (RetryPolicy(), RetryPolicy(attempts=2), RetryPolicy(attempts=1))
                ),
            )
        )
    return tuple(lives)


def _awaiting(seed: int, lives: Sequence[Life]) -> tuple[Life, ...]:
    """Let some lives wait for the end of an outage, and change nothing else that a seed decides."""
    chance = random.Random(f"outage {seed}")
    return tuple(
        replace(life, retries=replace(life.retries, outage_s=chance.choice((0.0, 30.0, 900.0))))
        for life in lives
    )


def _interrupts(chance: random.Random) -> tuple[float, ...]:
    if chance.random() < 0.85:
        return ()
    first = chance.uniform(0, 20)
    return (first,) if chance.random() < 0.5 else (first, first + chance.uniform(0, 5))


def _clock_jumps(chance: random.Random) -> tuple[tuple[float, float], ...]:
    if chance.random() < 0.7:
        return ()
    moments = sorted(chance.uniform(0, 5000) for _ in range(3))
    return tuple((moment, chance.choice((-86400.0, -5.0, 3600.0, 1e6))) for moment in moments)
