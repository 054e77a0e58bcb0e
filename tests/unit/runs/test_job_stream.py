"""The jobs that a stream gives: each that ends while it is in the plan."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from crucible_batch.core.identity import of_generation
from crucible_batch.core.job import Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.progress import JobAdvanced
from crucible_batch.core.retry_rule import ONCE
from crucible_batch.journal import Binding, Journal, PlanFile
from crucible_batch.runs.finished_jobs import FinishedJob
from crucible_batch.runs.job_stream import FinishedJobsPart
from crucible_batch.runs.observers import Observers
from tests.harness.job_events import held_event, saved_event

FIRST = PlannedJob(
    position=0,
    identity=hashlib.sha256(b"fox").hexdigest(),
    name="fox",
    workflow_id="w",
    params={"prompt.text": "fox"},
)
SECOND = replace(FIRST, identity=of_generation(FIRST.identity, 1))


def succeeded(planned: PlannedJob) -> JobAdvanced:
    return JobAdvanced(
        2.0,
        planned.name,
        planned.identity,
        saved_event(),
        Phase.FETCHING,
        Phase.SUCCEEDED,
        cast("Any", None),
    )


async def test_a_generation_that_another_one_has_replaced_does_not_come_after_it(
    tmp_path: Path,
) -> None:
    # After the loss of a run directory the rejected output is found again, and its list of outputs
    # may be complete only when the next generation has been asked for, or has ended.
    given = list[FinishedJob]()
    part = FinishedJobsPart(given.append)
    with (
        Journal.open(
            tmp_path, Binding("herons", "default", "https://g.example/"), now=1
        ) as journal,
        PlanFile.temporary() as plan,
    ):
        plan.fill([FIRST])
        journal.adopt(plan)
        await journal.append(FIRST.identity, held_event("2"))
        context = SimpleNamespace(
            observers=Observers(), directory=tmp_path, terms=SimpleNamespace(rule=ONCE)
        )
        async with part.begin(cast("Any", SimpleNamespace(journal=journal, context=context))):
            part.notify(succeeded(FIRST))
            await journal.append_planned(SECOND)
            part.notify(succeeded(FIRST))
            part.notify(succeeded(SECOND))
            part.notify(succeeded(FIRST))
    assert [(job.name, job.generation) for job in given] == [("fox", 0), ("fox", 1)]
