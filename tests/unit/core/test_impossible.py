"""A journal that contradicts itself: every story can be folded, and none that is impossible frees
credits.
"""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core import job as core_job
from crucible_batch.core.audit_claims import has_unanswered_submit
from crucible_batch.core.events import (
    Accepted,
    AssetEvent,
    BecameReady,
    Consumed,
    Created,
    Deleted,
    Event,
    Failed,
    Found,
    Held,
    HoldReleased,
    Intended,
    JobEvent,
    JobLost,
    Listed,
    Lost,
    Missed,
    NotCharged,
    NotCreated,
    Prepared,
    Refunded,
    RefundForgotten,
    Refused,
    Relocated,
    Reopened,
    Repriced,
    Settled,
    SubmitUnknown,
    Succeeded,
    Unavailable,
    Uploaded,
)
from crucible_batch.core.job import IMPOSSIBLE_HISTORY, Job, Phase, decide, evolve, replay
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.outcome import Outcome, outcome_of
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.plan_diff import ChangeKind, change_reason
from crucible_batch.core.prices import Shape
from crucible_batch.core.resuming import resume_job
from tests.harness.case_table import each_case
from tests.harness.histories import ERROR, PRICES, lives
from tests.harness.job_events import accepted_event, held_event, intended_event, saved_event
from tests.harness.replacing import replace

JOB, OTHER, IMAGE = "a" * 64, "b" * 64, "asset:" + "c" * 64


def held(credits: str = "5", *, images: bool = False) -> Held:
    return held_event(credits, images=images)


def prepared(credits: str) -> Prepared:
    return Prepared(at=1.0, credits=Decimal(credits), assets={"image": "a"})


def accepted(credits: str = "5") -> Accepted:
    return accepted_event(credits)


def intended(credits: str = "3", payer: str = JOB) -> Intended:
    return intended_event(credits, payer)


DECLINED, REFUSED = HoldReleased(at=1.0, error=ERROR), Refused(at=1.0, error=ERROR)
FAILED, VANISHED, SUCCEEDED = (
    Failed(at=1.0, error=ERROR),
    JobLost(at=1.0, error=ERROR),
    Succeeded(at=1.0, outputs=1),
)
NOT_CREATED, LOST = NotCreated(at=1.0, error=ERROR), Lost(at=1.0, nonce="n")
UNANSWERED = SubmitUnknown(at=1.0, error=ERROR)
DELETED, CREATED = (
    Deleted(at=1.0, rebate=Decimal(1)),
    Created(at=1.0, asset_id="a", credits=Decimal(3)),
)

REPRICED_LATE = Repriced(at=1.0, credits=Decimal(6), settled=Settled(Decimal(5), "workflow:w", ""))

JOB_EVENTS: list[JobEvent] = [
    held(),
    prepared("2"),
    accepted(),
    DECLINED,
    REFUSED,
    UNANSWERED,
    Repriced(at=1.0, credits=Decimal(6)),
    REPRICED_LATE,
    SUCCEEDED,
    FAILED,
    Refunded(at=1.0, attempt=1, credits=Decimal(1), entry_id="e"),
    Consumed(at=1.0, attempt=1, credits=Decimal(5), entry_id="f"),
    RefundForgotten(at=1.0, attempt=1, credits=Decimal(5), by="somebody@host"),
    VANISHED,
    saved_event(0),
    Listed(at=1.0, numbers=(0, 1)),
    Unavailable(at=1.0, error=ERROR),
    Missed(at=1.0, index=0),
    Relocated(at=1.0, index=0, path="b/0.png"),
    Reopened(at=1.0),
]
ASSET_EVENTS: list[AssetEvent] = [
    NotCharged(at=1.0, nonce="n"),
    intended(),
    CREATED,
    NOT_CREATED,
    LOST,
    DELETED,
    Found(at=1.0, asset_id="a"),
    Uploaded(at=1.0),
    BecameReady(at=1.0),
]


def test_every_kind_of_event_is_among_those_that_are_tried() -> None:
    assert {type(event) for event in JOB_EVENTS} == set(get_args(JobEvent))
    assert {type(event) for event in ASSET_EVENTS} == set(get_args(AssetEvent))


def after(*entries: tuple[str, Event]) -> Ledger:
    ledger = Ledger()
    for subject, event in entries:
        ledger.apply(subject, event)
    return ledger


def committed(*entries: tuple[str, Event]) -> Decimal:
    return after(*entries).committed


def possible(job: Job, events: list[JobEvent]) -> int:
    """How many events there are before the first that can't have happened."""
    for count, event in enumerate(events):
        try:
            job = evolve(job, event)
        except ValueError:
            return count
    return len(events)


@st.composite
def any_events(draw: st.DrawFn, has_images: bool) -> list[JobEvent]:
    """A possible life, then anything at all, at any price."""
    _, events = draw(lives(has_images=has_images))
    events = [*events, *draw(st.lists(st.sampled_from(JOB_EVENTS), max_size=6))]
    events = [
        replace(event, images=has_images) if isinstance(event, Held) else event for event in events
    ]
    return [
        replace(event, credits=draw(PRICES))
        if isinstance(event, Held | Prepared | Accepted)
        else event
        for event in events
    ]


@given(st.booleans().flatmap(lambda images: st.tuples(st.just(images), any_events(images))))
def test_after_what_can_not_have_happened_no_less_is_committed_than_before(
    story: tuple[bool, list[JobEvent]],
) -> None:
    has_images, events = story
    told = [(JOB, event) for event in events]
    count = possible(Job(JOB, has_images=has_images), events)
    floor = committed(*told[:count])
    if not after(*told[: count + 1]).is_contradictory(JOB):
        # The event came to a job without a hold, and changed nothing: the refunds of its failed
        # attempts still count.
        floor -= after(*told[:count]).held_for_refunds
    assert all(committed(*told[:end]) >= floor for end in range(count, len(told) + 1))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([JOB, OTHER, IMAGE]), st.sampled_from([*JOB_EVENTS, *ASSET_EVENTS])
        )
    )
)
def test_whatever_is_told_of_whom_can_be_folded(entries: list[tuple[str, Event]]) -> None:
    assert committed(*entries) >= -sum(isinstance(event, Deleted) for _, event in entries)
    job = replay(Job(JOB), [event for subject, event in entries if subject == JOB])
    assert job.phase in Phase


@each_case(
    "possible, impossible, floor",
    [
        ([held(images=False)], [prepared("1"), DECLINED], 5),
        ([held(images=True)], [accepted("1"), SUCCEEDED], 5),
        ([held()], [held("1"), REFUSED], 5),
        ([held()], [FAILED], 5),
        ([held(), UNANSWERED], [DECLINED], 5),
        ([held(), accepted("4")], [REFUSED], 4),
        ([held(), accepted("4")], [accepted("1"), FAILED], 4),
        ([held(), accepted("4"), VANISHED], [held("2"), FAILED], 6),
        ([held(), REFUSED], [accepted("4"), FAILED], 4),
        ([held()], [CREATED, NOT_CREATED, DELETED], 5),
        ([held("1"), accepted("1"), SUCCEEDED], [Repriced(at=1.0, credits=Decimal(6))], 6),
    ],
)
def test_what_is_held_stays_held_and_what_was_charged_is_counted(
    possible: list[Event], impossible: list[Event], floor: int
) -> None:
    assert committed(*((JOB, event) for event in [*possible, *impossible])) >= floor


@each_case(
    "entries, floor",
    [
        ([(JOB, held()), (IMAGE, intended()), (IMAGE, intended()), (IMAGE, NOT_CREATED)], 5),
        (
            [
                (JOB, held()),
                (OTHER, held()),
                (IMAGE, intended()),
                (IMAGE, intended(payer=OTHER)),
                (IMAGE, NOT_CREATED),
            ],
            10,
        ),
        ([(JOB, held("1")), (IMAGE, intended("3"))], 3),
        ([(IMAGE, intended("3"))], 3),
        (
            [
                (JOB, held()),
                (IMAGE, intended()),
                (IMAGE, CREATED),
                (IMAGE, DELETED),
                (IMAGE, DELETED),
            ],
            4,
        ),
        (
            [
                (JOB, held()),
                (IMAGE, intended()),
                (IMAGE, CREATED),
                (IMAGE, DECLINED),
                (IMAGE, CREATED),
            ],
            8,
        ),
        ([(IMAGE, DELETED)], 0),
        (
            [
                (JOB, held()),
                (IMAGE, intended()),
                (IMAGE, DECLINED),
                (IMAGE, NOT_CREATED),
                (JOB, prepared("2")),
            ],
            5,
        ),
        ([(IMAGE, LOST)], 0),
    ],
)
def test_an_image_frees_nothing_by_what_can_not_have_happened_either(
    entries: list[tuple[str, Event]], floor: int
) -> None:
    assert committed(*entries) >= floor


@each_case(
    "subject, events, is_possible",
    [
        (JOB, [held(), accepted(), Repriced(at=1.0, credits=Decimal(6))], True),
        (JOB, [held(), accepted(), REPRICED_LATE], False),
        (JOB, [held(), accepted(), SUCCEEDED, REPRICED_LATE], True),
        (JOB, [held(), accepted(), SUCCEEDED, Repriced(at=1.0, credits=Decimal(6))], False),
        (
            IMAGE,
            [intended(), LOST, intended(), CREATED, DELETED, Found(at=1.0, asset_id="b"), DELETED],
            True,
        ),
        (IMAGE, [LOST], False),
        (IMAGE, [intended(), CREATED, LOST], False),
        (IMAGE, [DELETED], False),
        (IMAGE, [intended(), CREATED, DELETED, DELETED], False),
    ],
)
def test_the_ledger_knows_what_can_not_have_happened(
    subject: str, events: list[Event], is_possible: bool
) -> None:
    ledger = Ledger()
    for event in events:
        assert not ledger.is_contradictory(subject)
        ledger.apply(subject, event)
    assert ledger.is_contradictory(subject) is not is_possible


def test_an_unreadable_job_teaches_no_price() -> None:
    ledger = Ledger()
    for event in (held(), FAILED, accepted("9")):
        ledger.apply(JOB, event)
    assert ledger.hold_of(JOB) == 9
    assert ledger.prices.expected(Shape("workflow:w")) is None


def test_an_unreadable_job_keeps_what_was_known_of_it_and_wants_nothing() -> None:
    before = replay(Job(JOB), [held(), accepted()])
    odd = replay(Job(JOB), [held(), accepted(), DECLINED, FAILED])
    assert (odd.phase, odd.attempts) == (Phase.UNREADABLE, before.attempts)
    assert odd.error is not None
    assert odd.error.code == IMPOSSIBLE_HISTORY
    assert "the event HoldReleased is impossible for a job that is in_flight" in odd.error.message
    assert (decide(odd), resume_job(odd)) == (None, odd)
    assert outcome_of(odd, "workflow:w", {}) == (Outcome.UNKNOWN, odd.error)
    assert has_unanswered_submit(odd)
    planned = PlannedJob(position=0, identity=JOB, name="a", workflow_id="w", params={})
    assert change_reason(planned, odd, None, retry_failed=True).mark is ChangeKind.FAILED


def test_what_happens_to_images_alone_has_not_happened_to_a_job() -> None:
    assert replay(Job(JOB), [held(), Uploaded(at=1.0)]).phase is Phase.UNREADABLE


def test_each_event_has_its_effect_on_the_ledger_and_on_its_job() -> None:
    assert set(Ledger._EFFECTS) == set(get_args(Event))
    assert set(core_job._EFFECTS) == set(core_job.ALLOWED_PHASES) == set(get_args(JobEvent))
