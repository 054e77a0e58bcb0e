"""What a run takes up of the past: of a job that the plan no longer asks for, only what can't buy
anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crucible_batch.core.events import (
    HoldReleased,
    JobEvent,
    JobLost,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase, replay
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.engine.history import Survey, survey
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event

ERROR = ErrorInfo("X", "x")
PLANNED = PlannedJob(0, "a", "a", "w", {})
HELD = held_event(2)
ACCEPTED = accepted_event(2, at=2.0)


class Past:
    """One job with a past, that the plan asks for or no longer does."""

    def __init__(self, events: Sequence[JobEvent], *, has_images: bool, is_wanted: bool) -> None:
        self._job = replay(Job("a", has_images=has_images), events)
        self._is_wanted = is_wanted

    def started_jobs(self, _rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        if self._is_wanted and self._job.attempts:
            yield PLANNED, self._job

    def unstarted_jobs(self) -> Iterator[tuple[str, bool]]:
        if self._is_wanted and not self._job.attempts:
            yield PLANNED.name, False

    def retired(self) -> Iterator[tuple[PlannedJob, Job]]:
        if not self._is_wanted:
            yield PLANNED, self._job


def surveyed(*events: JobEvent, is_wanted: bool, has_images: bool = False) -> Survey:
    past = Past(events, has_images=has_images, is_wanted=is_wanted)
    return survey(
        past,  # type: ignore[arg-type]
        RetryRule(),
        missed=lambda _job: [],
        is_forgotten=lambda _job: False,
        includes=lambda _name: True,
    )


PASTS: list[tuple[list[JobEvent], bool, Phase | None, Phase | None]] = [
    ([], False, None, None),
    ([HELD], True, Phase.PREPARING, Phase.PREPARING),
    ([HELD], False, Phase.SUBMITTING, None),
    ([HELD, SubmitUnknown(at=2.0, error=ERROR)], False, Phase.SUBMITTING, None),
    ([HELD, HoldReleased(at=2.0, error=ERROR)], False, None, None),
    ([HELD, ACCEPTED], False, Phase.IN_FLIGHT, Phase.IN_FLIGHT),
    ([HELD, ACCEPTED, Succeeded(at=3.0, outputs=1)], False, Phase.FETCHING, Phase.FETCHING),
    ([HELD, ACCEPTED, JobLost(at=3.0, error=ERROR)], False, Phase.IN_FLIGHT, None),
]


@each_case("events, has_images, wanted, dropped", PASTS)
def test_a_submit_in_doubt_is_resumed_only_where_the_plan_still_asks_for_its_job(
    events: list[JobEvent], has_images: bool, wanted: Phase | None, dropped: Phase | None
) -> None:
    """To send the key of a dropped job again might buy what nobody wants."""
    for is_wanted, phase in ((True, wanted), (False, dropped)):
        found = surveyed(*events, is_wanted=is_wanted, has_images=has_images)
        assert [job.phase for _, job in found.in_flight] == ([] if phase is None else [phase])
        assert found.retired == (frozenset() if is_wanted or phase is None else {"a"})


@each_case(
    "events, is_wanted, count",
    [
        ([], True, 2),
        ([HELD, ACCEPTED], True, 2),
        ([HELD, ACCEPTED], False, 2),
        ([HELD], False, 1),
    ],
)
def test_there_is_a_worker_for_each_job_that_the_run_can_work_on_and_one_more(
    events: list[JobEvent], is_wanted: bool, count: int
) -> None:
    assert surveyed(*events, is_wanted=is_wanted).most_workers == count
