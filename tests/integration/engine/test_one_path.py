"""How often a run validates the entry of a job, writes its plan row and reads it back."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from crucible_batch.core.plan import PlannedJob
from crucible_batch.journal import codec, store
from crucible_batch.manifest.models import JobEntry

HAS_PAGES = True
JOBS = 40


@dataclass
class CountingAdapter:
    """A ``TypeAdapter`` that counts what it writes and reads."""

    inner: Any
    counts: Counter[str] = field(default_factory=Counter)

    def dump_json(self, value: object) -> Any:
        self.counts["encoded"] += 1
        return self.inner.dump_json(value)

    def validate_json(self, text: str) -> Any:
        self.counts["decoded"] += 1
        return self.inner.validate_json(text)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    adapter = CountingAdapter(codec._adapter(PlannedJob))
    monkeypatch.setitem(codec._ADAPTERS, PlannedJob, adapter)
    found = adapter.counts
    connect, replayed = sqlite3.connect, store.job_of
    validate = JobEntry.model_validate.__func__

    def connected(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.set_trace_callback(
            lambda sql: found.update(["row written"] * (" INTO plan " in sql))
        )
        return connection

    def entry(model: type[JobEntry], *args: Any, **options: Any) -> Any:
        found["validated"] += 1
        return validate(model, *args, **options)

    def job_of(*args: Any) -> Any:
        found["replayed"] += 1
        return replayed(*args)

    monkeypatch.setattr(sqlite3, "connect", connected)
    monkeypatch.setattr(JobEntry, "model_validate", classmethod(entry))
    monkeypatch.setattr(store, "job_of", job_of)
    return found


async def test_a_job_is_validated_and_written_and_decoded_a_bounded_number_of_times(start, counts):
    async with start() as bench:
        manifest = bench.manifest(
            "\n".join(f"{{name: j{number}, prompt: a {number}}}" for number in range(JOBS)),
            budget=1000,
        )
        result = await bench.run(manifest, concurrency=8)  # a busy machine answers eight in time
    assert result.report.counts.succeeded == JOBS
    assert result.page is not None
    assert counts["encoded"] <= JOBS
    assert counts["row written"] <= 2 * JOBS
    assert counts["decoded"] <= 2 * JOBS
    assert counts["replayed"] <= 2 * JOBS
    assert counts["validated"] <= JOBS
