"""A history made by hand, whose figures can be added up by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.events import AssetEvent, Event
from crucible_batch.core.gateway_types import AssetSpec, ErrorInfo
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.job import Job, replay
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.core.prices import PriceBook
from crucible_batch.core.retry_rule import RetryRule


@dataclass
class History:
    """Jobs in manifest order, and all that happened."""

    plan: list[PlannedJob] = field(default_factory=list)
    past: list[tuple[str, Event]] = field(default_factory=list)

    def job(
        self, name: str, *events: Event, image: str | None = None, workflow: str = "z"
    ) -> PlannedJob:
        spec = AssetSpec(image or "", 10, "image/png", "p.png")
        planned = PlannedJob(
            position=len(self.plan),
            identity=f"{len(self.plan):064x}",
            name=name,
            workflow_id=workflow,
            params={"prompt.text": f"a {name}", "seed": 2**60},
            images={"image.image": InputImage(spec, Path("/p.png"))} if image else {},
            prompt=f"a {name}",
            axes={"style": "noir"},
            row={"sku": f"{name}-1"},
        )
        self.plan.append(planned)
        self.past.extend((planned.identity, event) for event in events)
        return planned

    def asset(self, sha256: str, *events: AssetEvent) -> None:
        self.past.extend((f"asset:{sha256}", event) for event in events)

    def jobs(self, attempts: int = 3) -> Iterator[tuple[PlannedJob, Job]]:
        for planned in self.plan:
            job = Job(planned.identity, has_images=bool(planned.images), rule=RetryRule(attempts))
            events: list[Any] = [
                event for subject, event in self.past if subject == planned.identity
            ]
            yield planned, replay(job, events)

    def terms(self, budget: str | None = "100") -> RunTerms:
        amount = None if budget is None else Decimal(budget)
        return RunTerms("campaign", "/m.yaml", "ab" * 32, "nightly", amount, None, 3, frozenset())

    def ledger(self, budget: str | None = "100") -> Ledger:
        ledger = Ledger(PriceBook.of(self.terms(budget)))
        for subject, event in self.past:
            ledger.apply(subject, event)
        return ledger

    @property
    def error(self) -> ErrorInfo:
        return ErrorInfo("GPU_LOST", "the GPU fell off", hint="try again", request_id="req_1")

    def key(self, position: int, attempt: int = 1) -> str:
        return idempotency_key(f"{position:064x}", attempt)


@pytest.fixture
def history() -> History:
    return History()
