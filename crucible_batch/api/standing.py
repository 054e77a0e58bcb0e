"""How far each planned job is, by the run directory's journal, and what a saved plan says of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from crucible_batch.api.draft import Choice
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.core.prices import PriceBook, shape_of
from crucible_batch.core.retry import RetryRule
from crucible_batch.core.saved_plan import ImageFile, PlannedState, PlanRow
from crucible_batch.journal import Journal, PlanFile


def journal_of(directory: Path) -> AbstractContextManager[Journal | None]:
    """Open the directory's journal for reading; None where there is none yet."""
    return Journal.read(directory) if Journal.exists(directory) else nullcontext()


def standing(draft: PlanFile, journal: Journal | None, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
    """Yield the draft's jobs in manifest order, each as its past left it."""
    for planned in draft.jobs():
        fresh = Job(planned.identity, has_images=bool(planned.images), rule=rule)
        yield planned, fresh if journal is None else journal.job(planned, rule)


def state_of(job: Job) -> PlannedState:
    """Say how far a job is, as a plan tells it."""
    match job.phase:
        case Phase.SUCCEEDED:
            return PlannedState.DONE
        case Phase.FAILED:
            return PlannedState.FAILED
        case Phase.READY | Phase.PREPARING:
            return PlannedState.NEW
        case _:
            return PlannedState.IN_FLIGHT


def plan_rows(
    draft: PlanFile,
    journal: Journal | None,
    terms: RunTerms,
    choice: Choice,
    *,
    base: Path,
    prices: PriceBook,
) -> Iterator[PlanRow]:
    """Yield the row of each job that is chosen, in manifest order.

    ``base`` is the manifest's directory; ``prices`` is what is known of them.
    """
    real = os.path.realpath(base)
    for planned, job in standing(draft, journal, RetryRule(terms.attempts, terms.never)):
        if choice.takes(planned.name):
            state = state_of(job)
            buys = state is PlannedState.NEW or (state is PlannedState.FAILED and choice.retry_failed)
            price = prices.quote(shape_of(planned)).credits if buys else ZERO
            yield _row(planned, state, price, real)


def _row(planned: PlannedJob, state: PlannedState, price: Credits | None, base: str) -> PlanRow:
    return PlanRow(
        name=planned.name,
        identity=planned.identity,
        workflow_id=planned.workflow_id,
        state=state,
        credits=price,
        params=planned.params,
        images={param: _image(image, base) for param, image in planned.images.items()},
        repeat=planned.repeat,
    )


def _image(image: InputImage, base: str) -> ImageFile:
    return ImageFile(Path(os.path.relpath(image.path, base)).as_posix(), image.spec.sha256)
