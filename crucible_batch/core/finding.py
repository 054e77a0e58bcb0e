"""A finding: one claim of our books beside what the gateway's ledger shows of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from crucible_batch.core.credits import ZERO, Credits


class Verdict(enum.StrEnum):
    """Whether books and ledger agree on one claim.

    ``VAGUE``: an entry of that amount and time is there, and more than one claim or stranger fits it. ``MOVING``: it is
    in flight, or changed while we looked. ``UNSEEN``: it may lie before the oldest entry that the gateway shows.
    """

    AGREES = "agrees"
    VAGUE = "vague"
    MOVING = "moving"
    UNSEEN = "unseen"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one purchase came to. ``returned`` is a job's refund or an upload's rebate."""

    charged: Credits = ZERO
    returned: Credits = ZERO
    held: Credits = ZERO

    def __add__(self, other: Figures) -> Figures:
        return Figures(self.charged + other.charged, self.returned + other.returned, self.held + other.held)


@dataclass(frozen=True, slots=True)
class Finding:
    """One job (by attempt) or upload. ``gateway_id`` is its job or asset id, None for an upload that never had one.

    ``reasons`` say in words what differs. ``assumed``: nobody told us what the books say here, so the ledger is right
    where it shows something else, and that is no difference. ``present``: the gateway lists the asset; None for jobs.
    """

    name: str
    gateway_id: str | None
    books: Figures
    ledger: Figures
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    attempt: int | None = None
    assumed: bool = False
    present: bool | None = None
