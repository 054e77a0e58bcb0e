"""The life of a job: each row of the table at the head of ``core/job.py``, and what holds in any
life.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given

from crucible_batch.core.attempt import AttemptStatus, record_differs
from crucible_batch.core.events import (
    Accepted,
    Failed,
    Held,
    HoldReleased,
    JobEvent,
    JobLost,
    Listed,
    Missed,
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
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.job import (
    Command,
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
    replay,
)
from crucible_batch.core.resuming import key_may_be_forgotten, may_reopen, resume_job
from crucible_batch.core.retry_rule import RetryRule
from tests.harness.case_table import each_case
from tests.harness.histories import ERROR, lives
from tests.harness.job_events import held_event, saved_event
from tests.harness.replacing import replace

ID = "a" * 64
HELD = held_event(2, key=idempotency_key(ID, 1))  # type: ignore[arg-type]
PREPARED = Prepared(at=1.0, assets={"image.image": "x"}, credits=2)  # type: ignore[arg-type]
ACCEPTED = Accepted(at=1.0, job_id="j1", credits=2, reused=False)  # type: ignore[arg-type]
DECLINED = HoldReleased(at=1.0, error=ERROR)
REFUSED = Refused(at=1.0, error=ERROR)
UNANSWERED = SubmitUnknown(at=1.0, error=ERROR)
SUCCEEDED = Succeeded(at=1.0, outputs=2)
FAILED = Failed(at=1.0, error=ERROR)
REPRICED = Repriced(at=1.0, credits=7)  # type: ignore[arg-type]
VANISHED = JobLost(at=1.0, error=ERROR)
UNAVAILABLE = Unavailable(at=1.0, error=ERROR)
REOPENED = Reopened(at=1.0)
MISSED = Missed(at=1.0, index=1)
MOVED = Relocated(at=9.0, index=1, path="a/1.0.png")

LISTING = Succeeded(at=1.0, outputs=1, numbers=(0,))
EMPTY = Succeeded(at=1.0, outputs=0, numbers=())
SAME = Listed(at=1.0, numbers=(0,))
MORE = Listed(at=1.0, numbers=(0, 4))

ONCE = RetryRule(attempts=1)
PLAIN = Job(ID, rule=ONCE)
WITH_IMAGE = Job(ID, has_images=True, rule=ONCE)

# job, what happened to it, its phase then, what it wishes then
ROWS: list[tuple[Job, list[JobEvent], Phase, Command | None]] = [
    (PLAIN, [], Phase.READY, Hold()),
    (PLAIN, [HELD], Phase.SUBMITTING, Submit()),
    (PLAIN, [REFUSED], Phase.FAILED, None),
    (WITH_IMAGE, [HELD], Phase.PREPARING, Prepare()),
    (WITH_IMAGE, [HELD, PREPARED], Phase.SUBMITTING, Submit()),
    (WITH_IMAGE, [HELD, DECLINED], Phase.READY, Hold()),
    (WITH_IMAGE, [HELD, REFUSED], Phase.FAILED, None),
    (PLAIN, [HELD, ACCEPTED], Phase.IN_FLIGHT, Poll("j1")),
    (PLAIN, [HELD, ACCEPTED, REPRICED], Phase.IN_FLIGHT, Poll("j1")),
    (PLAIN, [HELD, DECLINED], Phase.READY, Hold()),
    (PLAIN, [HELD, REFUSED], Phase.FAILED, None),
    (PLAIN, [HELD, UNANSWERED], Phase.UNKNOWN, None),
    (PLAIN, [HELD, ACCEPTED, SUCCEEDED], Phase.FETCHING, Fetch("j1", 0)),
    (PLAIN, [HELD, ACCEPTED, FAILED], Phase.FAILED, None),
    (Job(ID), [HELD, ACCEPTED, FAILED], Phase.READY, Hold()),
    (PLAIN, [HELD, ACCEPTED, VANISHED], Phase.VANISHED, None),
    (PLAIN, [HELD, ACCEPTED, SUCCEEDED, saved_event(0)], Phase.FETCHING, Fetch("j1", 1)),
    (PLAIN, [HELD, ACCEPTED, SUCCEEDED, saved_event(1), saved_event(0)], Phase.SUCCEEDED, None),
    (
        PLAIN,
        [HELD, ACCEPTED, SUCCEEDED, saved_event(0), saved_event(1), MISSED],
        Phase.FETCHING,
        Fetch("j1", 1),
    ),
    (PLAIN, [HELD, ACCEPTED, SUCCEEDED, saved_event(1), MOVED], Phase.FETCHING, Fetch("j1", 0)),
    (
        PLAIN,
        [HELD, ACCEPTED, SUCCEEDED, saved_event(1), UNAVAILABLE, MOVED],
        Phase.UNAVAILABLE,
        None,
    ),
    (
        PLAIN,
        [HELD, ACCEPTED, SUCCEEDED, saved_event(0), saved_event(1), MOVED],
        Phase.SUCCEEDED,
        None,
    ),
    (PLAIN, [HELD, ACCEPTED, SUCCEEDED, UNAVAILABLE], Phase.UNAVAILABLE, None),
    (PLAIN, [HELD, ACCEPTED, FAILED, REOPENED], Phase.READY, Hold()),
    (PLAIN, [HELD, ACCEPTED, LISTING, saved_event(0)], Phase.FETCHING, RecheckOutputs("j1")),
    (PLAIN, [HELD, ACCEPTED, LISTING, saved_event(0), SAME], Phase.SUCCEEDED, None),
    (PLAIN, [HELD, ACCEPTED, LISTING, saved_event(0), MORE], Phase.FETCHING, Fetch("j1", 1)),
    (
        PLAIN,
        [HELD, ACCEPTED, LISTING, saved_event(0), MORE, saved_event(1)],
        Phase.FETCHING,
        RecheckOutputs("j1"),
    ),
    (
        PLAIN,
        [HELD, ACCEPTED, LISTING, saved_event(0), MORE, saved_event(1), SAME],
        Phase.SUCCEEDED,
        None,
    ),
    (PLAIN, [HELD, ACCEPTED, LISTING, saved_event(0), SAME, MORE], Phase.FETCHING, Fetch("j1", 1)),
    (PLAIN, [HELD, ACCEPTED, EMPTY], Phase.FETCHING, RecheckOutputs("j1")),
    (PLAIN, [HELD, ACCEPTED, EMPTY, UNAVAILABLE], Phase.UNAVAILABLE, None),
    (PLAIN, [HELD, ACCEPTED, EMPTY, UNAVAILABLE, MORE], Phase.FETCHING, Fetch("j1", 0)),
    (
        PLAIN,
        [HELD, ACCEPTED, SUCCEEDED, saved_event(0), saved_event(1), MORE],
        Phase.SUCCEEDED,
        None,
    ),
]


@each_case("job, events, phase, wanted", ROWS)
def test_a_row_of_the_table(
    job: Job, events: list[JobEvent], phase: Phase, wanted: Command | None
) -> None:
    after = replay(job, events)
    assert (after.phase, decide(after)) == (phase, wanted)


@each_case(
    "events, phase, in_doubt",
    [
        ([HELD], Phase.SUBMITTING, True),
        ([HELD, UNANSWERED], Phase.SUBMITTING, True),
        ([HELD, ACCEPTED], Phase.IN_FLIGHT, False),
        ([HELD, ACCEPTED, VANISHED], Phase.IN_FLIGHT, False),
        ([HELD, ACCEPTED, SUCCEEDED, UNAVAILABLE], Phase.FETCHING, False),
        ([HELD, ACCEPTED, FAILED], Phase.FAILED, False),
        ([HELD, ACCEPTED, SUCCEEDED, saved_event(0), saved_event(1)], Phase.SUCCEEDED, False),
    ],
)
def test_a_new_run_takes_a_job_up(events: list[JobEvent], phase: Phase, in_doubt: bool) -> None:
    job = resume_job(replay(PLAIN, events))
    assert (job.phase, job.in_doubt) == (phase, in_doubt)
    assert resume_job(job) == job


@each_case("records, credits, recorded", [([7], 7, 7), ([1], 2, 1), ([7, 9], 9, 9), ([7, 3], 7, 3)])
def test_of_the_answer_and_the_record_the_higher_figure_is_the_attempts(
    records: list[int], credits: int, recorded: int
) -> None:
    repriced = [Repriced(at=1.0, credits=record) for record in records]  # type: ignore[arg-type]
    attempt = replay(PLAIN, [HELD, ACCEPTED, *repriced, SUCCEEDED]).current
    assert (attempt.credits, attempt.answered, attempt.recorded) == (credits, 2, recorded)


@each_case("after", [[], [saved_event(0)], [saved_event(0), saved_event(1)], [UNAVAILABLE]])
def test_a_record_that_differs_after_the_end_changes_the_price_and_nothing_else(
    after: list[JobEvent],
) -> None:
    before = replay(PLAIN, [HELD, ACCEPTED, SUCCEEDED, *after])
    settled = Settled(before.current.credits, "workflow:w", "")
    job = evolve(before, Repriced(at=1.0, credits=7, settled=settled))  # type: ignore[arg-type]
    assert replace(job, attempts=before.attempts) == before
    assert (job.current.credits, job.current.answered, job.current.recorded) == (7, 2, 7)


@pytest.mark.parametrize(("ended", "settled"), [(False, True), (True, False)])
def test_a_price_says_whether_its_job_had_succeeded_or_can_not_have_happened(
    ended: bool, settled: bool
) -> None:
    job = replay(PLAIN, [HELD, ACCEPTED, *([SUCCEEDED] if ended else [])])
    said = Settled(Decimal(2), "workflow:w", "") if settled else None
    with pytest.raises(ValueError, match="can't be that of the job"):
        evolve(job, Repriced(at=1.0, credits=Decimal(7), settled=said))


@each_case(
    "record, told_before, is_final, differs",
    [(7, [], False, True), (7, [], True, True), (1, [], False, False), (1, [], True, True),
     (2, [], True, False), (7, [7], True, False), (9, [7], False, True), (1, [1], True, False),
     (2, [7], True, False)],
)  # fmt: skip
def test_a_record_differs_where_it_names_what_the_books_do_not_have(
    record: int, told_before: list[int], is_final: bool, differs: bool
) -> None:
    repriced = [
        Repriced(at=1.0, credits=credits)  # type: ignore[arg-type]
        for credits in told_before
    ]
    attempt = replay(PLAIN, [HELD, ACCEPTED, *repriced]).current
    assert record_differs(attempt, record, is_final=is_final) is differs  # type: ignore[arg-type]


def test_a_missed_output_is_remembered_until_it_is_saved_again() -> None:
    whole = [HELD, ACCEPTED, SUCCEEDED, saved_event(0), saved_event(1)]
    job = replay(PLAIN, [*whole, MISSED])
    assert (job.outputs, job.missed) == ({0: saved_event(0)}, {1: saved_event(1)})
    assert replay(job, [MISSED]).missed == {1: saved_event(1)}
    assert replay(job, [UNAVAILABLE]).missed == {1: saved_event(1)}
    assert replay(job, [saved_event(1)]) == replay(PLAIN, whole)


def test_a_failed_job_gets_the_next_key_and_a_refused_one_keeps_its_own() -> None:
    failed = replay(Job(ID), [HELD, ACCEPTED, FAILED])
    refused = replay(PLAIN, [HELD, REFUSED, REOPENED])
    assert (failed.attempt, failed.key) == (2, idempotency_key(ID, 2))
    assert (refused.attempt, refused.key) == (1, idempotency_key(ID, 1))
    known = Refused(
        at=1.0, error=ErrorInfo("IDEMPOTENCY_KEY_REUSED", "it belongs to another request")
    )
    assert replay(PLAIN, [HELD, known, REOPENED]).attempt == 2  # its own key can't be used any more
    bought = replay(PLAIN, [HELD, known])
    assert not may_reopen(bought, buys_again=False)
    assert may_reopen(bought, buys_again=True)
    assert may_reopen(replay(PLAIN, [HELD, REFUSED]), buys_again=False)


def test_retrying_what_failed_opens_one_more_attempt() -> None:
    job = replay(PLAIN, [HELD, ACCEPTED, FAILED, REOPENED])
    assert (job.phase, job.attempt) == (Phase.READY, 2)


@each_case(
    "events, attempt",
    [
        ([HELD, ACCEPTED, FAILED, REOPENED], 2),
        ([HELD, ACCEPTED, FAILED, REFUSED, REOPENED], 2),
        ([HELD, ACCEPTED, FAILED, REFUSED, REOPENED, REFUSED, REOPENED], 2),
        ([HELD, DECLINED, REOPENED], 1),
        ([HELD, REFUSED, REOPENED, REOPENED], 1),
    ],
)
def test_no_number_is_skipped_however_often_a_job_is_opened_again(
    events: list[JobEvent], attempt: int
) -> None:
    """An attempt that was never sent has used no key up: the next one is it, and is what a rerun
    asks for first.
    """
    assert replay(Job(ID), events).attempt == attempt


@each_case("events", [[HELD], [HELD, UNANSWERED]])
@each_case(
    "age_s, is_forgotten",
    [
        (0, False),
        (100, False),
        (100.5, True),
        (1e9, True),
        (-300, False),
        (-300.5, True),
        (-1e9, True),
    ],
)
def test_a_key_is_trusted_for_its_time_and_a_clocks_slack(
    events: list[JobEvent], age_s: float, is_forgotten: bool
) -> None:
    job = replay(PLAIN, events)
    assert key_may_be_forgotten(job, HELD.at + age_s, key_ttl_s=100) is is_forgotten


def test_an_answered_submit_is_never_forgotten() -> None:
    for events in ([], [HELD, ACCEPTED], [HELD, ACCEPTED, VANISHED], [HELD, DECLINED]):
        assert not key_may_be_forgotten(replay(PLAIN, events), 1e9, key_ttl_s=100)


def test_what_moved_is_the_same_output_in_another_place() -> None:
    job = replay(PLAIN, [HELD, ACCEPTED, SUCCEEDED, saved_event(0), saved_event(1), MOVED])
    assert job.outputs == {0: saved_event(0), 1: replace(saved_event(1), path="a/1.0.png")}


def test_what_was_missed_before_it_could_move_is_fetched_anyway() -> None:
    job = replay(PLAIN, [HELD, ACCEPTED, SUCCEEDED, saved_event(0), saved_event(1), MISSED, MOVED])
    assert (job.phase, job.outputs) == (Phase.FETCHING, {0: saved_event(0)})


@each_case("code", ["MODERATION_REFUSED", "invalid_params", "MINE"])
def test_what_cannot_get_better_is_not_tried_again(code: str) -> None:
    rule = RetryRule(attempts=3, never=RetryRule().never | {"MINE"})
    job = replay(Job(ID, rule=rule), [HELD, ACCEPTED, Failed(at=1.0, error=ErrorInfo(code, "no"))])
    assert job.phase is Phase.FAILED


def test_a_tighter_rule_of_today_still_reads_yesterdays_attempts() -> None:
    second = Held(
        at=2.0,
        attempt=2,
        key=idempotency_key(ID, 2),
        credits=2,  # type: ignore[arg-type]
        price_class="w",
    )
    job = replay(PLAIN, [HELD, ACCEPTED, FAILED, second])
    assert (job.phase, job.attempt, len(job.attempts)) == (Phase.SUBMITTING, 2, 2)


@each_case(
    "events, impossible",
    [
        ([], ACCEPTED),
        ([HELD], SUCCEEDED),
        ([HELD, ACCEPTED], HELD),
        ([HELD], PREPARED),
        ([HELD, ACCEPTED], REFUSED),
    ],
)
def test_what_cannot_have_happened_is_refused(events: list[JobEvent], impossible: JobEvent) -> None:
    with pytest.raises(ValueError, match="is impossible for a job"):
        evolve(replay(PLAIN, events), impossible)


def test_no_definite_answer_frees_nothing() -> None:
    job = replay(PLAIN, [HELD, UNANSWERED])
    assert job.current.status is AttemptStatus.UNKNOWN
    assert job.in_doubt


@given(lives())
def test_any_life_keeps_its_attempts_in_order_and_its_keys_derived(
    life: tuple[Job, list[JobEvent]],
) -> None:
    job, events = life
    for event in events:
        job = evolve(job, event) if event is not None else job
        numbers = [attempt.number for attempt in job.attempts]
        assert numbers == sorted(set(numbers))
        assert all(
            attempt.key == idempotency_key(job.identity, attempt.number) for attempt in job.attempts
        )
        assert job.attempt >= (numbers[-1] if numbers else 1)
        accepted = [attempt for attempt in job.attempts if attempt.job_id is not None]
        assert len({attempt.number for attempt in accepted}) == len(accepted)


@given(lives())
def test_only_what_has_ended_wishes_nothing(life: tuple[Job, list[JobEvent]]) -> None:
    job, events = life
    ended = {Phase.SUCCEEDED, Phase.FAILED, Phase.UNKNOWN, Phase.UNAVAILABLE, Phase.VANISHED}
    job = replay(job, events)
    assert (decide(job) is None) == (job.phase in ended)
    assert decide(resume_job(job)) is not None or job.is_settled


@given(lives())
def test_a_job_that_succeeded_once_is_never_bought_again(life: tuple[Job, list[JobEvent]]) -> None:
    job, events = life
    succeeded = False
    for event in events:
        assert not (succeeded and isinstance(event, Held))
        job = evolve(job, event)
        succeeded = succeeded or isinstance(event, Succeeded)
