"""The gateway's side of a simulation: the sandbox's world, strangers on the same account, requests
that come late.

It outlives every process of ours. What it writes down of the requests is what the judge goes by.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import io
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from itertools import count
from typing import TypeVar

from PIL import Image, PngImagePlugin

from crucible_batch.gateway.retries import Operation
from crucible_batch.sandbox.assets import Arrival, Intent
from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.faults import Faults, parse_faults
from crucible_batch.sandbox.jobs import Order
from crucible_batch.sandbox.records import Job, RefusedError
from crucible_batch.sandbox.workflows import prompt
from crucible_batch.sandbox.world import World
from tests.verification.simulation.virtual_time import EPOCH, true_now
from tests.verification.simulation.weather import Weather

KEY = "moltazine_simulated"
STRANGER = "stranger"
_MOST_EXCHANGES = 400_000
"""Of a seed.

A queue that stands still is asked 24 times a second until the job timeout: 43,000 in half an hour.
"""

T = TypeVar("T")


class EndlessError(AssertionError):
    """So many requests that the run would never have ended."""


def marker(job: Job) -> str:
    """The word by which the judge knows what a job was bought for, whatever its key."""
    return prompt(job.params)


def content(job: Job, index: int) -> bytes:
    """The bytes of one output: the same for the same job, and for no other."""
    return _picture(f"{job.job_id}/{index}", job.outputs[index].mime_type)


@cache
def _picture(word: str, mime_type: str) -> bytes:
    digest = hashlib.sha256(word.encode()).digest()
    buffer = io.BytesIO()
    image = Image.frombytes("RGB", (4, 4), (digest * 2)[:48])
    if mime_type == "image/jpeg":
        image.save(buffer, "JPEG", comment=word.encode())
    else:
        about = PngImagePlugin.PngInfo()
        about.add_text("made for", word)
        image.save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


@dataclass
class Requests:
    """What reached the world, by what the judge needs of it."""

    counts: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    lost_jobs: set[str] = field(default_factory=set)
    ever_lost: set[str] = field(default_factory=set)
    """Jobs that were not known at some time: what one of them listed by then is all that could be
    read.
    """
    """Jobs that the gateway denies to know, some for ever."""
    conflicts: set[str] = field(default_factory=set)
    """Keys that were refused, since they have a job with other parameters: of a lost directory,
    with another image.
    """
    empty_lists: Counter[str] = field(default_factory=Counter)
    """How often a job that had succeeded listed no output."""


@dataclass
class Surroundings:
    """One world, and everything in it that isn't ours."""

    world: World
    account_id: str
    faults: Faults
    weather: Weather
    chance: random.Random
    forgets_for_ever: bool
    ids_in_text: bool = False
    """Whether entries of the ledger have the ids of jobs in their texts only."""
    requests: Requests = field(default_factory=Requests)
    word: Callable[[Job], str] = marker
    """What a job was bought for, as the judge counts it."""
    leaves: Callable[[Mapping[str, object]], None] = lambda _params: None
    """Called with the parameters of each submit that is sent."""
    _overdue: list[tuple[float, int, Callable[[float], object]]] = field(default_factory=list)
    _order: Callable[[], int] = field(default_factory=lambda: count().__next__)
    _strangers_left: int = 6

    @classmethod
    def of(
        cls,
        config: SandboxConfig,
        world_faults: str,
        weather: Weather,
        chance: random.Random,
        *,
        forgets: bool,
    ) -> Surroundings:
        faults = Faults(parse_faults(world_faults), config.seed)
        world = World(config, faults, EPOCH)
        return cls(world, world.authenticate(KEY), faults, weather, chance, forgets)

    def clear_up(self) -> None:
        """All faults end; what was overdue arrives now."""
        self.weather.clear_up()
        self.faults.replace(())
        if not self.forgets_for_ever:
            self.requests.lost_jobs.clear()
        self.arrive(float("inf"))

    def carry_out(self, operation: Operation, effect: Callable[[float], T]) -> T:
        """Let a request take effect. Raises ``RefusedError`` as the world does."""
        self.requests.counts[operation] += 1
        if self.requests.counts.total() > _MOST_EXCHANGES:
            raise EndlessError(f"{_MOST_EXCHANGES} requests and no end: {self.requests.counts}")
        self.arrive(true_now())
        self._strangers_act(operation)
        return effect(true_now())

    def postpone(self, effect: Callable[[float], object]) -> None:
        """Let a request, whose sender has given up, arrive in some seconds or hours."""
        due = true_now() + self.chance.choice((1.0, 40.0, 600.0, 4 * 3600.0)) * self.chance.random()
        heapq.heappush(self._overdue, (due, self._order(), effect))

    def arrive(self, until: float) -> None:
        """Let the overdue requests take effect that are due."""
        while self._overdue and self._overdue[0][0] <= until:
            _, _, effect = heapq.heappop(self._overdue)
            with contextlib.suppress(RefusedError):
                effect(true_now())

    def available(self, operation: Operation) -> Decimal:
        """What the account may spend.

        With a refund lag, refunds are booked and can't be spent for a while.
        """
        totals, _ = self.world.credits(self.account_id, true_now())
        if self.weather.strikes("refund-lag", operation):
            since = true_now() - 20.0
            late = (
                e.amount
                for e in self.world.entries
                if e.entry_type == "refund" and e.created_at > since
            )
            return max(Decimal(0), totals.available - sum(late, Decimal(0)))
        return totals.available

    def grant(self, credits: Decimal) -> None:
        """Somebody tops the account up."""
        self.world._ledger.post(self.account_id, "grant", credits, true_now(), description="Top-up")

    def _strangers_act(self, operation: Operation) -> None:
        if self._strangers_left and self.weather.strikes("stranger-buys", operation):
            self._strangers_left -= 1
            number = self._strangers_left
            order = Order(
                "zimage-base", {"prompt.text": f"{STRANGER} {number}"}, f"{STRANGER}-{number}"
            )
            with contextlib.suppress(RefusedError):
                self.world.submit(self.account_id, order, true_now())
        if self.weather.strikes("stranger-deletes", operation):
            listed = self.world.assets.listed(self.account_id)
            if listed:
                self.world.delete_asset(
                    self.account_id, self.chance.choice(listed).asset_id, true_now()
                )

    def has_ready(self, sha256: str, byte_size: int) -> None:
        """Let an earlier run directory have uploaded an image already, if the account could pay for
        it."""
        intent = Intent("image/png", byte_size, None, {"cb_sha256": sha256})
        with contextlib.suppress(RefusedError):
            asset = self.world.create_asset(self.account_id, intent, true_now())
            self.world.receive(asset.asset_id, Arrival(sha256, 64, 64), true_now())

    def ours(self) -> dict[str, list[Job]]:
        """Our jobs in the order of their purchase, by what they were bought for."""
        found: dict[str, list[Job]] = defaultdict(list)
        for job in self.world.jobs:
            if not marker(job).startswith(STRANGER):
                found[self.word(job)].append(job)
        return found
