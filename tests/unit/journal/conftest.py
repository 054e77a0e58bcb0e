"""Ground for journals: a run directory, and plans by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from crucible_batch.core.events import Accepted, Held
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.plan import PlannedJob
from crucible_batch.journal import Binding, Journal, PlanFile
from tests.harness.job_events import accepted_event, held_event

BINDING = Binding("campaign", "default", "https://gateway.example/")


@dataclass(frozen=True)
class Ground:
    """A run directory, bound to the campaign that the tests run."""

    directory: Path
    binding: Binding = BINDING

    def open(self) -> AbstractContextManager[Journal]:
        return Journal.open(self.directory, self.binding, now=1.0)

    def planned(self, name: str, position: int) -> PlannedJob:
        identity = hashlib.sha256(name.encode()).hexdigest()
        return PlannedJob(
            position=position,
            identity=identity,
            name=name,
            workflow_id="w",
            params={"prompt.text": name},
        )

    @contextmanager
    def plan(self, *names: str) -> Iterator[PlanFile]:
        with PlanFile.temporary() as plan:
            plan.fill(self.planned(name, position) for position, name in enumerate(names))
            yield plan


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.fixture
def binding() -> Binding:
    return BINDING


@pytest.fixture
def held() -> Callable[..., Held]:
    def make(number: int, *, attempt: int = 1, credits: str = "2") -> Held:
        key = idempotency_key(f"{number:064x}", attempt)
        return held_event(credits, attempt=attempt, key=key)

    return make


@pytest.fixture
def accepted() -> Callable[..., Accepted]:
    return lambda number: accepted_event("0.1", f"g-{number}")
