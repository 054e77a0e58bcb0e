"""The ledger: no credit appears or is lost, whatever happens to jobs and images."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.answers import ErrorInfo
from crucible_batch.core.credits import format_credits
from crucible_batch.core.events import (
    Accepted,
    Created,
    Declined,
    Deleted,
    Failed,
    Held,
    Intended,
    JobEvent,
    Lost,
    NotCreated,
    Prepared,
    Refused,
    Succeeded,
    Unanswered,
    Vanished,
)
from crucible_batch.core.job import Job
from crucible_batch.core.ledger import Ledger
from tests.core.histories import lives

ERROR = ErrorInfo("X", "x")


def held(credits: str, price_class: str = "workflow:w") -> Held:
    return Held(at=0.0, attempt=1, key="k", credits=Decimal(credits), price_class=price_class)


def intended(credits: str) -> Intended:
    return Intended(at=0.0, nonce="n", credits=Decimal(credits), payer="job")


def created(credits: str, *, assumed: bool = False) -> Created:
    return Created(at=0.0, asset_id="a", credits=Decimal(credits), assumed=assumed)


def books(*entries: tuple[str, Any]) -> Ledger:
    ledger = Ledger()
    for subject, event in entries:
        ledger.apply(subject, event)
    return ledger


def figures(ledger: Ledger) -> tuple[str, str]:
    return format_credits(ledger.spent), format_credits(ledger.held)


def test_of_a_job_that_is_over_nothing_is_kept() -> None:
    accepted = Accepted(at=0.0, job_id="j", credits=Decimal(2), reused=True)
    endings = (Succeeded(at=0.0, outputs=1), Failed(at=0.0, error=ERROR), Declined(at=0.0, error=ERROR))
    stories = [[held("2"), accepted, endings[0]], [held("2"), accepted, endings[1]], [held("2"), endings[2]]]
    ledger = books(*((f"job-{number}", event) for number, story in enumerate(stories) for event in story))
    collections = [kept for kept in vars(ledger).values() if isinstance(kept, dict | set | list)]
    assert "job-" not in repr(collections)


@given(st.lists(lives(), max_size=4))
def test_spent_and_held_are_what_a_simple_model_says(histories: list[tuple[Job, list[JobEvent]]]) -> None:
    """The model: each attempt has a price and a state, and the books are sums over attempts."""
    ledger = Ledger()
    attempts: dict[tuple[int, int], tuple[str, Decimal]] = {}
    for number, (_, events) in enumerate(histories):
        attempt = (number, 0)
        for event in events:
            ledger.apply(f"job-{number}", event)
            _, price = attempts.get(attempt, ("", Decimal(0)))
            match event:
                case Held():
                    attempt = (number, event.attempt)
                    attempts[attempt] = ("held", event.credits)
                case Prepared() | Accepted():
                    attempts[attempt] = ("held", event.credits)
                case Declined() | Refused():
                    attempts.pop(attempt, None)
                case Succeeded() | Vanished():
                    attempts[attempt] = ("spent", price)
                case Failed():
                    attempts[attempt] = ("refunded", price)
                case _:
                    pass

            def total(state: str) -> Decimal:
                return sum((amount for found, amount in attempts.values() if found == state), Decimal(0))

            assert (ledger.jobs, ledger.held, ledger.refunded) == (total("spent"), total("held"), total("refunded"))


def test_a_hold_entered_twice_counts_once() -> None:
    assert figures(books(("job", held("2")), ("job", held("2")))) == ("0", "2")


def test_no_answer_holds() -> None:
    assert figures(books(("job", held("2")), ("job", Unanswered(at=0.0, error=ERROR)))) == ("0", "2")


def test_an_image_is_paid_out_of_the_hold_of_its_job() -> None:
    ledger = books(("job", held("10")), ("asset:x", intended("10")))
    assert figures(ledger) == ("0", "10")
    ledger.apply("asset:x", created("0.5"))
    assert figures(ledger) == ("0.5", "9.5")
    ledger.apply("job", Prepared(at=0.0, credits=Decimal(2)))
    assert figures(ledger) == ("0.5", "2")


def test_an_image_that_was_not_bought_gives_its_hold_back_to_the_job() -> None:
    ledger = books(("job", held("3")), ("asset:x", intended("0.5")), ("asset:x", NotCreated(at=0.0, error=ERROR)))
    assert (figures(ledger), ledger.hold_of("job")) == (("0", "3"), Decimal(3))


def test_an_image_whose_job_has_gone_gives_its_hold_to_nobody() -> None:
    ledger = books(
        ("job", held("3")),
        ("asset:x", intended("0.5")),
        ("job", Declined(at=0.0, error=ERROR)),
        ("asset:x", NotCreated(at=0.0, error=ERROR)),
    )
    assert ledger.held == 0


def test_a_rebate_comes_back_once() -> None:
    ledger = books(("job", held("3")), ("asset:x", intended("0.5")), ("asset:x", created("0.5")))
    ledger.apply("asset:x", Deleted(at=0.0, rebate=Decimal("0.4")))
    assert (ledger.uploads, ledger.rebates) == (Decimal("0.5"), Decimal("0.4"))
    assert ledger.spent == Decimal("0.1")


def test_an_upload_whose_answer_was_lost_counts_with_the_price_that_is_learned_later() -> None:
    ledger = books(("job", held("10")), ("asset:x", intended("10")), ("asset:x", created("0", assumed=True)))
    ledger.apply("asset:x", Deleted(at=0.0, rebate=Decimal("0.2")))
    assert ledger.spent == 0
    ledger.apply("asset:x", intended("10"))
    ledger.apply("asset:x", created("0.25"))
    assert ledger.spent == Decimal("0.25") + Decimal("0.25") - Decimal("0.2")


def test_an_upload_that_is_nowhere_to_be_found_stays_held_at_the_price_of_one() -> None:
    ledger = books(("job", held("10")), ("asset:x", intended("10")), ("asset:x", Lost(at=0.0, nonce="n")))
    assert figures(ledger) == ("0", "10")
    ledger.apply("asset:x", intended("10"))
    ledger.apply("asset:x", created("0.5"))
    assert (ledger.lost_uploads, ledger.spent, ledger.hold_of("job")) == (1, Decimal("0.5"), Decimal("9.5"))
    assert ledger.held == Decimal("9.5") + Decimal("0.5")


def test_a_job_found_again_teaches_a_lower_bound_and_no_price() -> None:
    ledger = books(("job", held("10")), ("job", Accepted(at=0.0, job_id="j", credits=Decimal(2), reused=True)))
    assert ledger.prices.known("workflow:w") is None
    assert ledger.prices.lower_bound("workflow:w") == 2
