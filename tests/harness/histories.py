"""Random but possible lives of jobs, for the properties of machine and ledger."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from crucible_batch.core.events import (
    Accepted,
    Failed,
    Held,
    HoldReleased,
    JobEvent,
    JobLost,
    Listed,
    Prepared,
    Refused,
    Relocated,
    Reopened,
    Repriced,
    Settled,
    SubmitUnknown,
    Succeeded,
    Unavailable,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import (
    Fetch,
    Hold,
    Job,
    Phase,
    Poll,
    Prepare,
    RecheckOutputs,
    Submit,
    decide,
    evolve,
)
from crucible_batch.core.resuming import resume_job
from tests.harness.job_events import saved_event

ERROR = ErrorInfo("GENERATION_FAILED", "it failed")
PRICES = st.decimals(min_value=0, max_value=20, places=2)


def answers_to(job: Job, price: Decimal) -> list[JobEvent]:
    """What may happen to a job next, by what it wishes."""
    match decide(job):
        case Hold():
            held = Held(
                at=1.0,
                attempt=job.attempt,
                key=job.key,
                credits=price,
                price_class="workflow:w",
                images=job.has_images,
            )
            return [held]
        case Prepare():
            return [
                Prepared(at=1.0, assets={}, credits=price),
                HoldReleased(at=1.0, error=ERROR),
                Refused(at=1.0, error=ERROR),
            ]
        case Submit():
            answers: list[JobEvent] = [
                Accepted(at=1.0, job_id="j", credits=price, reused=False),
                SubmitUnknown(at=1.0, error=ERROR),
            ]
            return (
                answers
                if job.in_doubt
                else [*answers, HoldReleased(at=1.0, error=ERROR), Refused(at=1.0, error=ERROR)]
            )
        case Poll():
            listed = [
                Succeeded(at=1.0, outputs=len(numbers), numbers=numbers)
                for numbers in ((), (3,), (0, 1))
            ]
            ends = [
                Succeeded(at=1.0, outputs=2),
                Failed(at=1.0, error=ERROR),
                JobLost(at=1.0, error=ERROR),
            ]
            return [*listed, *ends, Repriced(at=1.0, credits=price)]
        case Fetch(index=index):
            return [saved_event(index), Unavailable(at=1.0, error=ERROR)]
        case RecheckOutputs():
            settled = Settled(job.current.credits, "workflow:w", "")
            repriced = Repriced(at=1.0, credits=price, settled=settled)
            if not job.expected:
                return [repriced, Listed(at=1.0, numbers=(0, 1)), Unavailable(at=1.0, error=ERROR)]
            return [
                repriced,
                Listed(at=1.0, numbers=job.numbers or ()),
                Listed(at=1.0, numbers=(0, 1, 3)),
            ]
        case None:
            moved = [Relocated(at=1.0, index=index, path=f"b/{index}.png") for index in job.outputs]
            return [Reopened(at=1.0)] if job.phase is Phase.FAILED else [*moved]


@st.composite
def lives(draw: st.DrawFn, *, has_images: bool | None = None) -> tuple[Job, list[JobEvent]]:
    """A job as it was planned, and what happened to it, new runs taking it up now and then."""
    images = draw(st.booleans()) if has_images is None else has_images
    first = Job(draw(st.text("0123456789abcdef", min_size=64, max_size=64)), has_images=images)
    job, events = first, []
    for _ in range(draw(st.integers(0, 14))):
        if draw(st.integers(0, 3)) == 0:
            job = resume_job(job)
        choices = answers_to(job, draw(PRICES))
        if not choices:
            break
        event = draw(st.sampled_from(choices))
        events.append(event)
        job = evolve(job, event)
    return first, events
