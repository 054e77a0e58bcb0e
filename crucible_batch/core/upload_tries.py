"""Whether an image is uploaded once more in a run, after failed uploads of it.

The limit is on credits spent without a result, not on the number of lost answers:

    failed upload                                        counts
    charged, and less given back                         yes
    charge unknown, nothing given back                   yes
    charge unknown, less given back than the price seen  yes
    refused by the storage, or never ready               yes: the cause is not the connection
    all of the charge given back, or free                no

    so far                                               decision
    two that count                                       stop
    twenty in all                                        stop
    half of the budget held for uploads like these       stop
    else                                                 upload it again

The last rule is for uploads whose answer was lost: they stay held at their bound
(``core/ledger.py``), since a rebate doesn't prove what was charged. An image that can't be uploaded
must not take the entire budget from the other jobs.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import UPLOAD, PriceBook

ASSET_NOT_READY = "ASSET_NOT_READY"
MOST_IN_VAIN = 2
"""An image is bought at most once more in a run after an upload that cost something or was turned
down."""
MOST_TRIES = 20


@dataclass(frozen=True, slots=True)
class FailedUpload:
    """A failed upload. ``charged`` is None if its answer was lost, ``rebate`` 0 if none is known.

    ``was_refused``: the storage refused the bytes, or the gateway took them and never showed the
    asset as ready.
    """

    charged: Credits | None
    rebate: Credits = ZERO
    was_refused: bool = False

    def counts(self, price: Credits | None) -> bool:
        """Whether it counts by the table above.

        ``price`` is that of an upload, as far as it is known.
        """
        if self.was_refused:
            return True
        charged = price if self.charged is None else self.charged
        if charged is None:
            # What was given back is the only figure that the gateway has named.
            return not self.rebate
        return self.rebate < charged


class UploadStop(enum.StrEnum):
    """Why an image is not uploaded again in this run."""

    IN_VAIN = "in_vain"
    TOO_OFTEN = "too_often"
    BUDGET_HELD = "budget_held"


def upload_stop(
    uploads: Sequence[FailedUpload], ledger: Ledger, budget: Credits | None
) -> UploadStop | None:
    """Return why an image is not uploaded again, None if it is."""
    price = _known_price(ledger.prices)
    if sum(upload.counts(price) for upload in uploads) >= MOST_IN_VAIN:
        return UploadStop.IN_VAIN
    if len(uploads) >= MOST_TRIES:
        return UploadStop.TOO_OFTEN
    if (
        len(uploads) >= MOST_IN_VAIN
        and budget is not None
        and 2 * ledger.held_for_uploads >= budget
    ):
        return UploadStop.BUDGET_HELD
    return None


def _known_price(prices: PriceBook) -> Credits | None:
    """Return the highest price seen.

    One of 0 proves nothing, unless 0 is the ceiling (``PriceBook.bound``).
    """
    if prices.upload_ceiling is not None and not prices.upload_ceiling:
        return ZERO
    return prices.expected(UPLOAD) or None


def not_ready(filename: str, uploads: Sequence[FailedUpload], stop: UploadStop) -> ErrorInfo:
    """Return the error of an image that is not uploaded again: what was charged and refunded, and
    what to do.
    """
    lost = sum(upload.charged is None for upload in uploads)
    known = sum((upload.charged for upload in uploads if upload.charged is not None), ZERO)
    figures = []
    if lost < len(uploads):
        figures.append(f"{format_credits(known)} credits were charged")
    if lost:
        figures.append(f"the answers to {lost} were lost, so their cost is unknown")
    back = format_credits(sum((upload.rebate for upload in uploads), ZERO))
    figures.append(f"{back} were refunded")
    message = f"{filename} was uploaded {len(uploads)} times and is not ready: {'; '.join(figures)}"
    return ErrorInfo(ASSET_NOT_READY, message, hint=_hint(stop, is_unknown=lost > 0))


def _hint(stop: UploadStop, *, is_unknown: bool) -> str:
    again = "run the same command again with --retry-failed (the job itself was not bought)"
    match stop:
        case UploadStop.IN_VAIN:
            if not is_unknown:
                return again
            return f"crucible-batch check shows the cost of the uploads; {again}"
        case UploadStop.TOO_OFTEN:
            return (
                f"check the connection to the gateway, which fails during each upload; then {again}"
            )
        case UploadStop.BUDGET_HELD:
            return (
                "half of the budget is held for uploads without an answer: "
                "set budget.max_credits_per_upload to count each at that price, "
                f"or raise the budget; check the connection, then {again}"
            )
