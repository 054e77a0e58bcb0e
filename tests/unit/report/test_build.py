"""A report says what was spent and what became of each job, to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from crucible_batch.core.budget import BLOCKING_CODES
from crucible_batch.core.events import (
    Accepted,
    BecameReady,
    Created,
    Deleted,
    Event,
    Failed,
    Found,
    Held,
    HoldReleased,
    JobLost,
    Lost,
    Prepared,
    Refunded,
    Refused,
    Saved,
    SubmitUnknown,
    Succeeded,
    Unavailable,
    Uploaded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.core.prices import PriceBook
from crucible_batch.report import CreditsRow, JobRow, ReportHead, build_head, build_rows, count_jobs
from crucible_batch.report.build import notes
from tests.harness.job_events import intended_event

D = Decimal
ERROR = ErrorInfo("GPU_LOST", "the GPU fell off", hint="try again", request_id="req_1")
STOP = ErrorInfo("BUDGET_EXHAUSTED", "the budget is used up")


def held(
    credits: str, *, attempt: int = 1, workflow: str = "z", at: float = 1.0, images: bool = False
) -> Held:
    return Held(
        at=at,
        attempt=attempt,
        key=f"cb1-{attempt}",
        credits=D(credits),
        price_class=f"workflow:{workflow}",
        images=images,
    )


def accepted(credits: str, job_id: str = "job_1", *, reused: bool = False) -> Accepted:
    return Accepted(at=2.0, job_id=job_id, credits=D(credits), reused=reused)


def saved(index: int = 0) -> Saved:
    path = f"a/{index}.png"
    return Saved(
        at=4.0,
        index=index,
        path=path,
        sha256="f" * 64,
        byte_size=9,
        mime_type="image/png",
        width=4,
        height=3,
    )


def bought(credits: str, *, reused: bool = False) -> list[Event]:
    return [held(credits), accepted(credits, reused=reused), Succeeded(at=3.0, outputs=1), saved()]


def head(history: Any, ending: Ending | None = None, budget: str | None = "100") -> ReportHead:
    return build_head(
        terms=history.terms(budget),
        ending=ending,
        started_at=1700000000.125,
        finished_at=None if ending is None else 1700000060.0,
        ledger=history.ledger(budget),
        counts=count_jobs(history.jobs(), {} if ending is None else ending.stops),
    )


def rows(history: Any, stops: dict[str, ErrorInfo] | None = None) -> list[JobRow]:
    return list(build_rows(history.jobs(), stops or {}))


def test_a_row_has_its_place_in_the_matrix_and_in_the_table(history: Any) -> None:
    history.job("fox")
    (row,) = rows(history)
    assert (row.axes, row.row) == ({"style": "noir"}, {"sku": "fox-1"})


def figures(credits: CreditsRow) -> dict[str, str]:
    return {
        name: value
        for name, value in credits.model_dump(mode="json").items()
        if isinstance(value, str)
    }


def test_credits_add_up_as_they_do_by_hand(history: Any) -> None:
    history.job("one", *bought("2.5"))
    history.job(  # failed once for 2.5, which came back, then 2.75 were paid
        "two",
        held("2.5"),
        accepted("2.5"),
        Failed(at=3.0, error=ERROR),
        Refunded(at=3.0, attempt=1, credits=D("2.5"), entry_id="e"),
        held("2.5", attempt=2),
        accepted("2.75", "job_2"),
        Succeeded(at=5.0, outputs=1),
        saved(),
    )
    history.job("three", held("2.75"), SubmitUnknown(at=3.0, error=ERROR))  # held
    history.job("four", held("2.75"), accepted("3"))  # held at the gateway's own figure
    history.job("five", held("3"), Refused(at=3.0, error=ERROR))  # nothing was bought
    payer = history.job("six", image="aa")
    history.past.append((payer.identity, held("4", images=True)))
    history.asset(
        "aa",
        intended_event(1, payer.identity),
        Created(at=1.1, asset_id="as_1", credits=D("0.5")),
        Uploaded(at=1.2),
        BecameReady(at=1.3),
    )
    history.past += [
        (payer.identity, Prepared(at=1.4, assets={"image.image": "as_1"}, credits=D(3))),
        (payer.identity, accepted("3", "job_6")),
        (payer.identity, Succeeded(at=3.0, outputs=1)),
        (payer.identity, saved()),
    ]
    history.asset("aa", Deleted(at=9.0, rebate=D("0.1")))
    # jobs 2.5 + 2.75 + 3 = 8.25, uploads 0.5, rebate 0.1: spent 8.65; held 2.75 + 3 = 5.75
    report = head(history)
    assert figures(report.credits) == {
        "budget": "100",
        "spent": "8.65",
        "held": "5.75",
        "held_for_refunds": "0",
        "set_aside": "0",
        "forgotten_refunds": "0",
        "jobs": "8.25",
        "reused": "0",
        "uploads": "0.5",
        "rebates": "0.1",
        "refunded": "2.5",
        "over_budget": "0",
        "price_differs": "0",
    }
    assert [str(row.credits) for row in rows(history)] == ["2.5", "2.75", "0", "3", "0", "3"]
    assert report.counts.model_dump() == {
        "total": 6,
        "succeeded": 3,
        "failed": 1,
        "blocked": 0,
        "pending": 1,
        "unknown": 1,
        "reused": 0,
    }


def test_a_lost_upload_stays_held_and_is_counted(history: Any) -> None:
    payer = history.job("a", held("4"), image="aa")
    intended = intended_event(1, payer.identity)
    history.asset(
        "aa", intended, Created(at=1.0, asset_id="as_1", credits=D("0.5")), Uploaded(at=1.0)
    )
    history.asset("bb", intended, Lost(at=2.0, nonce="n"))
    credits = head(history).credits
    assert credits.lost_uploads == 1
    # 4 - 0.5 - 1 of the job's hold, and 16 times 0.5 for the lost one
    assert (credits.uploads, credits.held) == (D("0.5"), D("10.5"))


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (Lost(at=2.0, nonce="n"), "held at the most that each may have cost"),
        (
            Created(at=2.0, asset_id="b", credits=D(0), assumed=True),
            "what each may have cost beyond it is held",
        ),
    ],
)
def test_what_is_held_for_an_upload_without_a_figure_is_noted_with_what_to_declare(
    end: Event, said: str
) -> None:
    for ceiling in (None, D(1)):
        ledger = Ledger(PriceBook(upload_ceiling=ceiling))
        ledger.apply("asset:a", intended_event(1))
        ledger.apply("asset:a", end)
        (note,) = notes(ledger)
        assert said in note
        assert ("budget.max_credits_per_upload" in note) is (ceiling is None)


@pytest.mark.parametrize(
    ("budget", "over"), [("10", "0"), ("8", "0"), ("7.5", "0.5"), ("0", "8"), (None, "0")]
)
def test_over_budget_is_what_went_past_it(history: Any, budget: str | None, over: str) -> None:
    history.job("spent", *bought("5"))
    history.job("held", held("3"))
    assert figures(head(history, budget=budget).credits)["over_budget"] == over


def test_a_job_that_was_found_is_reused(history: Any) -> None:
    history.job("bought", *bought("2"))
    history.job("found", *bought("2", reused=True))
    history.job("found and pending", held("2"), accepted("2", reused=True))
    counts = head(history).counts
    assert (counts.succeeded, counts.reused, counts.pending) == (2, 1, 1)
    assert [row.attempts[-1].reused for row in rows(history)] == [False, True, True]


@pytest.mark.parametrize("code", sorted(BLOCKING_CODES))
def test_a_job_that_credits_stopped_is_blocked(history: Any, code: str) -> None:
    history.job("done", *bought("2"))
    history.job("waiting")
    history.job("other class", workflow="y")
    stop = ErrorInfo(code, "no")
    everything = Ending(RunStatus.BLOCKED, 4, {"*": stop})
    assert head(history, everything).counts.blocked == 2
    one_class = Ending(RunStatus.BLOCKED, 4, {"workflow:z": stop})
    counts = head(history, one_class).counts
    assert (counts.blocked, counts.pending) == (1, 1)
    _, waiting, other = rows(history, dict(one_class.stops))
    assert (waiting.status, other.status) == ("blocked", "pending")
    assert waiting.error is not None
    assert waiting.error.code == code
    assert other.error is None


def test_a_job_that_something_else_stopped_is_pending_and_says_why(history: Any) -> None:
    history.job("waiting")
    (row,) = rows(history, {"*": ErrorInfo("INTERRUPTED", "stopped by a signal")})
    assert row.status == "pending"
    assert row.error is not None
    assert row.error.code == "INTERRUPTED"


def test_the_stop_of_its_class_goes_before_that_of_the_run(history: Any) -> None:
    history.job("waiting")
    stops = {"*": ErrorInfo("INTERRUPTED", "stopped by a signal"), "workflow:z": STOP}
    (row,) = rows(history, stops)
    assert (row.status, row.error and row.error.code) == ("blocked", "BUDGET_EXHAUSTED")


OUTCOMES: list[tuple[list[Event], str, str, str]] = [
    ([], "pending", "0", ""),
    ([held("2")], "unknown", "0", "held"),
    ([held("2"), HoldReleased(at=2.0, error=ERROR)], "pending", "0", "declined"),
    ([held("2"), Refused(at=2.0, error=ERROR)], "failed", "0", "refused"),
    ([held("2"), SubmitUnknown(at=2.0, error=ERROR)], "unknown", "0", "unknown"),
    ([held("2"), accepted("2")], "pending", "2", "accepted"),
    ([held("2"), accepted("2"), JobLost(at=3.0, error=ERROR)], "failed", "2", "vanished"),
    ([held("2"), accepted("2"), Succeeded(at=3.0, outputs=1)], "pending", "2", "succeeded"),
    (
        [held("2"), accepted("2"), Succeeded(at=3.0, outputs=1), Unavailable(at=4.0, error=ERROR)],
        "failed",
        "2",
        "succeeded",
    ),
    (bought("2"), "succeeded", "2", "succeeded"),
    ([held("2"), accepted("2"), Failed(at=3.0, error=ERROR)], "pending", "2", "failed"),
]


@pytest.mark.parametrize(("events", "status", "credits", "attempt"), OUTCOMES)
def test_a_row_says_what_became_of_a_job(
    history: Any, events: list[Event], status: str, credits: str, attempt: str
) -> None:
    history.job("a", *events)
    (row,) = rows(history)
    assert (row.status, str(row.credits)) == (status, credits)
    assert [item.status for item in row.attempts] == ([attempt] if attempt else [])


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([held("2")], "SUBMIT_UNANSWERED"),
        (
            [held("2"), SubmitUnknown(at=2.0, error=ErrorInfo("NO_ANSWER", "no answer"))],
            "NO_ANSWER",
        ),
        (
            [
                held("2"),
                SubmitUnknown(at=2.0, error=ErrorInfo("X", "y", hint="run the same command again")),
            ],
            "X",
        ),
        ([accepted("2")], "IMPOSSIBLE_HISTORY"),
    ],
)
def test_an_unknown_job_has_an_error_with_the_cause_and_the_next_step(
    history: Any, events: list[Event], code: str
) -> None:
    history.job("a", *events)
    (row,) = rows(history)
    assert (row.status, row.error.code) == ("unknown", code)
    assert row.error.message
    next_step = (
        "restore the run directory"
        if code == "IMPOSSIBLE_HISTORY"
        else "run the same command again"
    )
    assert row.error.hint.startswith(next_step)


@pytest.mark.parametrize(("events", "status", "credits", "attempt"), OUTCOMES)
def test_rows_and_books_agree(
    history: Any, events: list[Event], status: str, credits: str, attempt: str
) -> None:
    """What the rows come to is what the head says: spent, or held for what the gateway has."""
    history.job("a", *events)
    report = head(history).credits
    (row,) = rows(history)
    has_it = attempt in {"accepted", "succeeded", "vanished", "failed"}
    assert row.credits == (report.spent + report.held if has_it else 0)


def test_a_row_holds_all_of_a_job(history: Any) -> None:
    history.job(
        "a",
        held("2", images=True),
        Prepared(at=1.5, credits=D(2)),
        *bought("2")[1:3],
        saved(1),
        image="aa",
    )
    (row,) = rows(history)
    assert (row.name, row.workflow_id, row.prompt) == ("a", "z", "a a")
    assert row.params == {"prompt.text": "a a", "seed": 2**60}
    assert (row.images, row.axes) == ({"image.image": "aa"}, {"style": "noir"})
    assert (row.job_id, row.idempotency_key) == ("job_1", "cb1-1")
    (attempt,) = row.attempts
    assert (attempt.held_at, attempt.accepted_at, attempt.ended_at) == (1.0, 2.0, 3.0)
    (output,) = row.outputs
    assert output.model_dump() == {
        "index": 1,
        "path": "a/1.png",
        "sha256": "f" * 64,
        "byte_size": 9,
        "mime_type": "image/png",
        "width": 4,
        "height": 3,
        "saved_at": 4.0,
        "generation": 0,
        "rejected": None,
        "sent": None,
        "checks": [],
    }


def test_outputs_stand_in_order_however_they_were_saved(history: Any) -> None:
    history.job(
        "a", held("2"), accepted("2"), Succeeded(at=3.0, outputs=3), saved(2), saved(0), saved(1)
    )
    (row,) = rows(history)
    assert [output.index for output in row.outputs] == [0, 1, 2]


def test_a_job_without_attempts_shows_the_key_that_it_will_have(history: Any) -> None:
    history.job("a")
    (row,) = rows(history)
    assert row.idempotency_key == history.key(0)
    assert (row.job_id, row.attempts, row.outputs) == (None, [], [])


def test_a_run_that_continues_has_no_end(history: Any) -> None:
    report = head(history)
    assert (report.status, report.exit_code, report.finished_at) == ("running", None, None)
    assert report.started_at == "2023-11-14T22:13:20.125Z"
    assert (report.manifest.name, report.manifest.path, report.run_id) == (
        "campaign",
        "/m.yaml",
        "nightly",
    )


def test_a_run_that_ended_says_how(history: Any) -> None:
    report = head(history, Ending(RunStatus.BLOCKED, 4, {"*": ERROR}))
    assert (report.status, report.exit_code, report.finished_at) == (
        "blocked",
        4,
        "2023-11-14T22:14:20.000Z",
    )
    stop = report.stops["*"]
    assert (stop.code, stop.message, stop.hint, stop.request_id) == (
        "GPU_LOST",
        "the GPU fell off",
        "try again",
        "req_1",
    )


def test_a_price_above_every_bound_is_said_with_what_was_held_for_it(history):
    history.job("a", held("4"), accepted("9"), Succeeded(at=3.0, outputs=1), saved())
    (note,) = head(history).notes
    assert "a job on z cost 9 credits, more than the 4 held for it: no such price was known" in note


def test_a_first_price_without_a_budget_is_not_shown_as_above_a_bound(history):
    history.job("a", held("0"), accepted("9"), Succeeded(at=3.0, outputs=1), saved())
    assert head(history).notes == []


def test_what_can_not_be_seen_is_said_and_not_guessed(history):
    history.job("a", *bought("2"))
    history.asset("1", Found(at=1.0, asset_id="x"))
    history.asset("2", Found(at=1.0, asset_id="y"))
    assert head(history).notes == [
        (
            "2 images were found at the gateway and used again: "
            "what an upload once cost can't be seen, so it counts 0"
        )
    ]


def test_a_report_with_nothing_to_explain_explains_nothing(history):
    history.job("a", *bought("2"))
    assert head(history).notes == []


def test_an_attempt_shows_when_each_of_its_stages_began(history):
    photo = "ab" * 32
    story = [
        held("2", images=True),
        Prepared(at=1.5, assets={"image.image": "as_1"}, credits=D(2)),
        accepted("2"),
        Failed(at=2.75, error=ERROR, running_at=2.5),
        held("2", attempt=2, at=2.8, images=True),
        Prepared(at=2.85, assets={"image.image": "as_1"}, credits=D(2)),
        accepted("2", "job_2"),
        Succeeded(at=3.0, outputs=1, running_at=2.9),
        saved(),
    ]
    history.job("a", *story, image=photo)
    (row,) = rows(history)
    assert [(attempt.prepared_at, attempt.running_at) for attempt in row.attempts] == [
        (1.5, 2.5),
        (2.85, 2.9),
    ]
    assert (row.image_files, row.repeat) == ({"image.image": "/p.png"}, 1)
