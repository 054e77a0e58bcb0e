"""Why an account's credits end a run: it has too few, or the gateway refuses a purchase that it
could pay for.
"""

from __future__ import annotations

from collections.abc import Iterable

from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.gateway_types import ErrorInfo

INSUFFICIENT_CREDITS = "INSUFFICIENT_CREDITS"
CHECK_IT = "check the account's credits and limits"
"""How the hint begins if the account shows enough credits: adding some may change nothing."""
_AGAIN = "run the same command again; completed jobs are not paid for again"


def account_step(hints: Iterable[str | None]) -> str:
    """Return what has to be done about the account before the run is resumed, by the hints of the
    run's stops."""
    if any(hint is not None and hint.startswith(CHECK_IT) for hint in hints):
        return CHECK_IT
    return "add credits to the account"


def account_exhausted(account: Credits | None, expected: Credits, *, is_open: bool) -> ErrorInfo:
    """Return the error of an account whose credits don't cover ``expected``, or more if
    ``is_open``."""
    needs = f"needs {format_credits(expected)}"
    if is_open:
        needs = f"needs more than {format_credits(expected)}" if expected else "costs more"
    return ErrorInfo(
        INSUFFICIENT_CREDITS,
        f"the account has {_available(account)} available; the next job {needs}",
        hint=f"add credits to the account and {_AGAIN}",
    )


def purchase_refused(account: Credits, refusal: str) -> ErrorInfo:
    """Return the error after a 402 from an account that shows enough credits.

    ``refusal`` is the 402's message.
    """
    said = f"402: {refusal}" if refusal else "402"
    return ErrorInfo(
        INSUFFICIENT_CREDITS,
        f"the gateway refused a purchase for lack of credits ({said}), "
        f"and shows {_available(account)} available",
        hint=f"{CHECK_IT} with the gateway's operator, and {_AGAIN}",
    )


def _available(account: Credits | None) -> str:
    if account is None:
        return "too few credits"
    return f"{format_credits(max(account, ZERO))} credits"
