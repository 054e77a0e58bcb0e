"""Claims: what a journal's events say that we bought, and nothing that they don't."""

from __future__ import annotations

from decimal import Decimal

from crucible_batch.core.audit_claims import (
    CreditStatus,
    UploadClaim,
    UploadState,
    has_unanswered_submit,
    job_claims,
    upload_claims,
)
from crucible_batch.core.events import (
    Accepted,
    AssetEvent,
    Created,
    Deleted,
    Failed,
    Found,
    Held,
    Intended,
    JobEvent,
    Lost,
    NotCharged,
    NotCreated,
    Refused,
    SubmitUnknown,
    Succeeded,
    Uploaded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, replay
from crucible_batch.core.retry_rule import RetryRule

ERROR = ErrorInfo("X", "x")
TWO = Decimal(2)
HALF = Decimal("0.5")


def uploads(*events: AssetEvent) -> list[UploadClaim]:
    return upload_claims([("asset:aa", event) for event in events], {"aa": "cat.png"})


def intended(at: float = 1.0) -> Intended:
    return Intended(at=at, nonce=f"n{at:.0f}", credits=TWO, payer="job")


def held(attempt: int) -> Held:
    return Held(at=float(attempt), attempt=attempt, key="k", credits=TWO, price_class="w")


def accepted(job_id: str, *, reused: bool = False) -> Accepted:
    return Accepted(at=5.0, job_id=job_id, credits=TWO, reused=reused)


def lived(*events: JobEvent) -> Job:
    return replay(Job("0" * 64, rule=RetryRule(attempts=3)), events)


def test_every_attempt_that_became_a_gateway_job_is_claimed() -> None:
    job = lived(
        held(1), accepted("j1"), Failed(at=6.0, error=ERROR), held(2), accepted("j2", reused=True)
    )
    first, second = job_claims("hero", job)
    assert (first.job_id, first.status, first.held_at, first.ended_at) == (
        "j1",
        CreditStatus.REFUNDED,
        1.0,
        6.0,
    )
    assert (second.job_id, second.status, second.bought_here) == ("j2", CreditStatus.HELD, False)
    (done,) = job_claims("hero", lived(held(1), accepted("j1"), Succeeded(at=7.0, outputs=1)))
    assert (done.status, done.price) == (CreditStatus.CHARGED, TWO)


def test_a_submit_without_an_answer_is_no_claim_and_is_counted() -> None:
    job = lived(held(1), SubmitUnknown(at=2.0, error=ERROR))
    assert list(job_claims("hero", job)) == []
    assert has_unanswered_submit(job)
    refused = lived(held(1), Refused(at=2.0, error=ERROR))
    assert list(job_claims("hero", refused)) == []
    assert not has_unanswered_submit(refused)


def test_an_upload_is_claimed_from_its_intent_to_its_end() -> None:
    (claim,) = uploads(intended(), Created(at=2.0, asset_id="a1", credits=HALF), Uploaded(at=3.0))
    assert (claim.name, claim.state, claim.begun_at, claim.answered_at) == (
        "cat.png",
        UploadState.KNOWN,
        1.0,
        2.0,
    )
    assert (claim.charge, claim.rebate) == (HALF, None)
    (claim,) = uploads(
        intended(), Created(at=2.0, asset_id="a1", credits=HALF), Deleted(at=4.0, rebate=HALF)
    )
    assert (claim.rebate, claim.deleted_at) == (HALF, 4.0)


def test_an_intent_is_open_lost_or_dropped_by_its_answer() -> None:
    assert [claim.state for claim in uploads(intended())] == [UploadState.OPEN]
    assert [claim.state for claim in uploads(intended(), Lost(at=2.0, nonce="n1"))] == [
        UploadState.LOST
    ]
    assert uploads(intended(), NotCreated(at=2.0, error=ERROR)) == []
    assert uploads(intended(), Lost(at=2.0, nonce="n1"), NotCharged(at=3.0, nonce="n1")) == []
    assert len(uploads(intended(), Lost(at=2.0, nonce="n1"), NotCharged(at=3.0, nonce="n2"))) == 1


def test_an_image_that_is_given_up_later_changes_no_claim() -> None:
    """Such a NotCreated follows no intent: the image was bought often enough."""
    (claim,) = uploads(
        intended(),
        Created(at=2.0, asset_id="a1", credits=HALF),
        Deleted(at=3.0, rebate=HALF),
        NotCreated(at=9.0, error=ERROR),
    )
    assert (claim.answered_at, claim.deleted_at) == (2.0, 3.0)


def test_each_purchase_of_an_image_is_a_claim_of_its_own_and_a_found_one_is_none_of_ours() -> None:
    claims = uploads(
        intended(),
        Lost(at=2.0, nonce="n1"),
        intended(3.0),
        Created(at=4.0, asset_id="a1", credits=HALF, assumed=True),
        Found(at=5.0, asset_id="a1"),
        Deleted(at=6.0, rebate=HALF),
        Found(at=7.0, asset_id="a2"),
    )
    assert [claim.state for claim in claims] == [
        UploadState.LOST,
        UploadState.ASSUMED,
        UploadState.FOUND,
    ]
    assert [claim.rebate for claim in claims] == [None, HALF, None]
