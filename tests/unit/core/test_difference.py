"""A plan held against what was planned and done: every row of the table, and that no job is lost on
the way.
"""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.attempt import credits_paid
from crucible_batch.core.events import (
    Failed,
    HoldReleased,
    JobLost,
    Refused,
    SubmitUnknown,
    Succeeded,
    Unavailable,
)
from crucible_batch.core.gateway_types import AssetSpec, ErrorInfo
from crucible_batch.core.identity import job_identity, of_generation
from crucible_batch.core.job import Job, replay
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.plan_diff import (
    Change,
    ChangeCause,
    ChangeKind,
    EarlierPlan,
    OutputPaths,
    change_reason,
    diff_jobs,
    field_changes,
)
from crucible_batch.core.retry_rule import RetryRule
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event, saved_event
from tests.harness.replacing import replace

BOOM = ErrorInfo("BOOM", "it went boom")
HELD = held_event(2)
ACCEPTED = accepted_event(2, at=2.0)
SUCCEEDED = Succeeded(at=3.0, outputs=1)
SAVED = saved_event(at=4.0)
FAILED = Failed(at=3.0, error=BOOM)


def planned(name: str = "a", position: int = 0, **params: object) -> PlannedJob:
    identity = job_identity(
        manifest="m", run_id="r", workflow_id="w", params=params, images={}, repeat=1
    )
    return PlannedJob(position, identity, name, "w", params)


def job(*events: object, attempts: int = 1) -> Job:
    return replay(Job("a", rule=RetryRule(attempts)), events)  # type: ignore[arg-type]


@each_case(
    "found, options, why, mark, code, credits",
    [
        (job(HELD, ACCEPTED, SUCCEEDED, SAVED), {}, ChangeCause.DONE, ChangeKind.DONE, None, 2),
        (
            job(HELD, ACCEPTED, SUCCEEDED, SAVED),
            {"to_fetch": OutputPaths(missing=("a/0.png",))},
            ChangeCause.MISSING_OUTPUT,
            ChangeKind.COLLECTED,
            None,
            2,
        ),
        (
            job(HELD, ACCEPTED, SUCCEEDED, SAVED),
            {"to_fetch": OutputPaths(resized=("a/0.png",))},
            ChangeCause.CHANGED_OUTPUT,
            ChangeKind.COLLECTED,
            None,
            2,
        ),
        (
            job(HELD, ACCEPTED, SUCCEEDED, SAVED),
            {"to_fetch": OutputPaths(missing=("a/0.png",), resized=("a/1.png",))},
            ChangeCause.MISSING_OUTPUT,
            ChangeKind.COLLECTED,
            None,
            2,
        ),
        (
            job(HELD, ACCEPTED, SUCCEEDED),
            {},
            ChangeCause.NOT_FETCHED,
            ChangeKind.COLLECTED,
            None,
            2,
        ),
        (job(HELD, ACCEPTED), {}, ChangeCause.IN_FLIGHT, ChangeKind.COLLECTED, None, 2),
        (job(HELD), {}, ChangeCause.UNANSWERED, ChangeKind.COLLECTED, None, 0),
        (
            job(HELD, SubmitUnknown(at=2.0, error=BOOM)),
            {},
            ChangeCause.UNANSWERED,
            ChangeKind.COLLECTED,
            "BOOM",
            0,
        ),
        (
            job(HELD, ACCEPTED, SUCCEEDED, Unavailable(at=4.0, error=BOOM)),
            {},
            ChangeCause.UNAVAILABLE,
            ChangeKind.COLLECTED,
            "BOOM",
            2,
        ),
        (
            job(HELD, ACCEPTED, JobLost(at=3.0, error=BOOM)),
            {},
            ChangeCause.VANISHED,
            ChangeKind.COLLECTED,
            "BOOM",
            2,
        ),
        (job(HELD, ACCEPTED, FAILED), {}, ChangeCause.FAILED, ChangeKind.FAILED, "BOOM", 0),
        (
            job(HELD, ACCEPTED, FAILED),
            {"retry_failed": True},
            ChangeCause.RETRIED,
            ChangeKind.NEW,
            "BOOM",
            0,
        ),
        (
            job(HELD, Refused(at=2.0, error=BOOM)),
            {},
            ChangeCause.FAILED,
            ChangeKind.FAILED,
            "BOOM",
            0,
        ),
        (
            job(HELD, ACCEPTED, FAILED, attempts=3),
            {},
            ChangeCause.RETRIED,
            ChangeKind.NEW,
            "BOOM",
            0,
        ),
        (
            job(HELD, HoldReleased(at=2.0, error=BOOM)),
            {},
            ChangeCause.NOT_SENT,
            ChangeKind.NEW,
            "BOOM",
            0,
        ),
        (job(), {}, ChangeCause.NEVER_RUN, ChangeKind.NEW, None, 0),
    ],
)
def test_each_row_of_the_table(
    found: Job,
    options: dict[str, object],
    why: ChangeCause,
    mark: ChangeKind,
    code: str | None,
    credits: int,
) -> None:
    said = change_reason(planned(), found, None, **options)  # type: ignore[arg-type]
    assert (said.why, said.mark, said.code, said.credits) == (why, mark, code, credits)


def test_a_name_that_was_planned_with_other_words_is_changed_and_says_what_it_was_paid() -> None:
    before = EarlierPlan(planned(seed=1), job(HELD, ACCEPTED, SUCCEEDED, SAVED))
    said = change_reason(planned(seed=2), job(), before)
    assert (said.why, said.changes, said.credits) == (
        ChangeCause.CHANGED,
        (Change("seed", 1, 2),),
        2,
    )
    # What it asks for now has a past of its own: that says more.
    assert change_reason(planned(seed=2), job(HELD, ACCEPTED), before).why is ChangeCause.IN_FLIGHT


def test_changes_tell_numbers_from_words_and_images_by_their_bytes() -> None:
    def image(path: str, digest: str) -> InputImage:
        return InputImage(
            AssetSpec(sha256=digest * 64, byte_size=1, mime_type="image/png", filename=path),
            Path(path),
        )

    before = replace(
        planned(a=1, b="x", c=True),
        images={"image": image("p.png", "0"), "mask": image("m.png", "1")},
    )
    now = replace(
        planned(a=1.0, b="x", d=None),
        images={"image": image("p.png", "2"), "mask": image("n.png", "1")},
        repeat=2,
    )
    assert list(field_changes(before, replace(now, workflow_id="v"))) == [
        Change("workflow", "w", "v"),
        Change("a", 1, 1.0),
        Change("c", True, None),
        Change("d", None, None),
        Change("image", "p.png (00000000)", "p.png (22222222)"),
        Change("repeat", 1, 2),
    ]
    assert list(field_changes(before, before)) == []


PLANS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5)),
    max_size=8,
    unique_by=(lambda row: row[0]),
)


@given(last=PLANS, now=PLANS, done=st.sets(st.integers(0, 5)))
def test_every_job_has_one_row_and_every_name_that_went_is_gone(
    last: list[tuple[str, int]], now: list[tuple[str, int]], done: set[int]
) -> None:
    def job_of(content: int) -> Job:
        return job(HELD, ACCEPTED, SUCCEEDED, SAVED) if content in done else job()

    kept = {content for _, content in now}
    dropped = {name: content for name, content in last if content not in kept}
    rows = list(
        diff_jobs(
            (
                (planned(name, position, content=content), job_of(content))
                for position, (name, content) in enumerate(now)
            ),
            dict(dropped),
            earlier=lambda content: EarlierPlan(planned(content=content), job_of(content)),
            to_fetch=lambda _job: OutputPaths(),
            retries=lambda _job: False,
        )
    )
    assert [row.name for row in rows[: len(now)]] == [name for name, _ in now]
    gone = [row.name for row in rows[len(now) :]]
    assert gone == [name for name in dropped if name not in dict(now)]
    assert all(row.reason.mark is ChangeKind.GONE for row in rows[len(now) :])
    for (name, content), row in zip(now, rows, strict=False):
        if content in done:
            assert row.reason.mark is ChangeKind.DONE
        elif name in dropped:
            assert row.reason.changes == (Change("content", dropped[name], content),)
            assert row.reason.credits == credits_paid(job_of(dropped[name]).attempts)
        else:
            assert row.reason.why is ChangeCause.NEVER_RUN


def test_a_job_that_is_asked_for_again_names_its_generation() -> None:
    before = planned()
    again = replace(before, identity=of_generation(before.identity, 2))
    step = Change("generation", 0, 2)
    assert list(field_changes(before, again)) == [step]
    earlier = EarlierPlan(before, job(HELD, ACCEPTED, SUCCEEDED, SAVED))
    found = change_reason(again, Job(again.identity), earlier)
    assert (found.mark, found.changes, found.credits) == (ChangeKind.CHANGED, (step,), 2)
    unsent = change_reason(again, Job(again.identity), None)
    assert (unsent.mark, unsent.changes) == (ChangeKind.CHANGED, (Change("generation", 1, 2),))
