"""Progress messages of runs, written by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from crucible_batch.core.events import (
    Failed,
    HoldReleased,
    JobEvent,
    Listed,
    Prepared,
    Refused,
    Succeeded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Phase
from crucible_batch.core.outcome import Ending, Outcome, RunStatus
from crucible_batch.core.progress import Balance, JobAdvanced, Message, RunBegan, RunEnded, TakenUp
from tests.harness.job_events import accepted_event, held_event, saved_event

BUDGET = Decimal(20)
REFUSED = ErrorInfo("MODERATION_REFUSED", "the prompt 'a secret fox' was refused")
BUSY = ErrorInfo("RATE_LIMITED", "too many")


def balance(spent: object = 0, held: object = 0) -> Balance:
    return Balance(BUDGET, Decimal(str(spent)), Decimal(str(held)))


def began(at: float, total: int, *, spent: object = 0, **counts: int) -> RunBegan:
    return RunBegan(
        at, total, {Outcome(name): count for name, count in counts.items()}, balance(spent)
    )


def ended(
    at: float, *, spent: object = 0, held: object = 0, code: int = 0, **counts: int
) -> RunEnded:
    status = RunStatus.SUCCEEDED if code == 0 else RunStatus.PARTIAL
    return RunEnded(
        at, Ending(status, code), {Outcome(k): n for k, n in counts.items()}, balance(spent, held)
    )


def resumed(at: float, name: str, phase: Phase, since: float = 0.0) -> TakenUp:
    return TakenUp(at, name, f"id-{name}", phase, since)


def moved(
    name: str, event: JobEvent, before: Phase, after: Phase, *, beside: bool = False
) -> JobAdvanced:
    return JobAdvanced(event.at, name, f"id-{name}", event, before, after, balance(2), beside)


def held(name: str, at: float, attempt: int = 1, *, images: bool = False) -> JobAdvanced:
    event = held_event(2, at=at, attempt=attempt, price_class="workflow:zimage-base", images=images)
    return moved(name, event, Phase.READY, Phase.PREPARING if images else Phase.SUBMITTING)


def prepared(name: str, at: float) -> JobAdvanced:
    return moved(name, Prepared(at=at, credits=Decimal(2)), Phase.PREPARING, Phase.SUBMITTING)


def accepted(name: str, at: float) -> JobAdvanced:
    event = accepted_event(2, f"job-{name}", at=at)
    return moved(name, event, Phase.SUBMITTING, Phase.IN_FLIGHT)


def declined(name: str, at: float) -> JobAdvanced:
    return moved(name, HoldReleased(at=at, error=BUSY), Phase.SUBMITTING, Phase.READY)


def refused(name: str, at: float, before: Phase = Phase.SUBMITTING) -> JobAdvanced:
    return moved(name, Refused(at=at, error=REFUSED), before, Phase.FAILED)


def failed(name: str, at: float, *, is_last: bool) -> JobAdvanced:
    return moved(
        name,
        Failed(at=at, error=REFUSED),
        Phase.IN_FLIGHT,
        Phase.FAILED if is_last else Phase.READY,
    )


def made(name: str, at: float, outputs: int = 1) -> JobAdvanced:
    return moved(name, Succeeded(at=at, outputs=outputs), Phase.IN_FLIGHT, Phase.FETCHING)


def saved(name: str, at: float, *, is_last: bool = False, index: int = 0) -> JobAdvanced:
    event = saved_event(index, f"{name}/0.png", at=at, byte_size=1000, width=8, height=8)
    return moved(name, event, Phase.FETCHING, Phase.SUCCEEDED if is_last else Phase.FETCHING)


def listed(name: str, at: float) -> JobAdvanced:
    return moved(name, Listed(at=at, numbers=(1,)), Phase.FETCHING, Phase.SUCCEEDED)


def whole_job(name: str, at: float = 100.0) -> list[Message]:
    """A job with an image:

    1 s of upload, 2 s of submit, 30 s at the gateway, 4 s of download, then the second poll.
    """
    return [
        held(name, at, images=True),
        prepared(name, at + 1),
        accepted(name, at + 3),
        made(name, at + 33),
        saved(name, at + 37),
        listed(name, at + 39),
    ]


def interleaved(jobs: Sequence[Sequence[Message]]) -> Iterator[Message]:
    """Yield the messages of jobs that are active at the same time, by time."""
    yield from sorted((message for job in jobs for message in job), key=lambda message: message.at)
