"""Planted bugs of refunds that have not been seen in the gateway's ledger: ``bugs.py`` plants them
with the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from crucible_batch.core import events
from crucible_batch.core.ledger import Ledger
from tests.harness.replacing import replace

Plant = Callable[[ExitStack], None]
REFUND_BUGS: dict[str, Plant] = {}
Apply = Callable[[Ledger, str, events.Event], None]


def _bug(plant: Plant) -> Plant:
    REFUND_BUGS[plant.__name__.strip("_").replace("_", " ")] = plant
    return plant


@dataclasses.dataclass
class _Attempt:
    """The newest attempt of a job, and what it held before its end."""

    number: int = 0
    charge: Any = 0


def _on_ledger(
    stack: ExitStack, change: Callable[[Apply, Ledger, str, events.Event, _Attempt], None]
) -> None:
    """Have events applied by ``change``.

    Its last argument is the job's attempt before the event.
    """
    apply = Ledger.apply
    attempts: dict[tuple[int, str], _Attempt] = {}

    def changed(self: Ledger, subject: str, event: events.Event) -> None:
        attempt = attempts.setdefault((id(self), subject), _Attempt())
        if isinstance(event, events.Failed):
            attempt.charge = self.hold_of(subject)
        change(apply, self, subject, event, attempt)
        if isinstance(event, events.Held):
            attempts[id(self), subject] = _Attempt(event.attempt)

    stack.enter_context(patch.object(Ledger, "apply", changed))


def _refunded(at: float, attempt: _Attempt) -> Any:
    return events.Refunded(
        at=at, attempt=attempt.number, credits=attempt.charge, entry_id="believed"
    )  # type: ignore[attr-defined]


@_bug
def a_refund_believed_without_being_seen(stack: ExitStack) -> None:
    def change(
        apply: Apply, ledger: Ledger, subject: str, event: events.Event, attempt: _Attempt
    ) -> None:
        apply(ledger, subject, event)
        if isinstance(event, events.Failed):
            apply(ledger, subject, _refunded(event.at, attempt))

    _on_ledger(stack, change)


@_bug
def a_hold_that_replaces_that_of_the_failed_attempt(stack: ExitStack) -> None:
    def change(
        apply: Apply, ledger: Ledger, subject: str, event: events.Event, attempt: _Attempt
    ) -> None:
        if isinstance(event, events.Held) and attempt.charge:
            apply(ledger, subject, _refunded(event.at, attempt))
        apply(ledger, subject, event)

    _on_ledger(stack, change)


@_bug
def a_failed_attempt_counted_as_spent(stack: ExitStack) -> None:
    def change(
        apply: Apply, ledger: Ledger, subject: str, event: events.Event, attempt: _Attempt
    ) -> None:
        apply(ledger, subject, event)
        if isinstance(event, events.Failed):
            consumed: Any = events.Consumed  # type: ignore[attr-defined]
            booked = consumed(
                at=event.at, attempt=attempt.number, credits=attempt.charge, entry_id="believed"
            )
            apply(ledger, subject, booked)

    _on_ledger(stack, change)


@_bug
def a_part_of_a_refund_taken_for_all_of_it(stack: ExitStack) -> None:
    def change(
        apply: Apply, ledger: Ledger, subject: str, event: events.Event, attempt: _Attempt
    ) -> None:
        if type(event).__name__ == "Refunded" and attempt.charge:
            event = replace(event, credits=attempt.charge)
        apply(ledger, subject, event)

    _on_ledger(stack, change)


@_bug
def a_refund_that_is_never_seen(stack: ExitStack) -> None:
    """Nothing is overspent then, and what a run may still buy is never bought."""

    def change(
        apply: Apply, ledger: Ledger, subject: str, event: events.Event, attempt: _Attempt
    ) -> None:
        if type(event).__name__ != "Refunded":
            apply(ledger, subject, event)

    _on_ledger(stack, change)
