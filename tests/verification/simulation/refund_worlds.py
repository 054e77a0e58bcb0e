"""What becomes of the refunds of a seed's failed jobs, and what the list of the ledger shows of
them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal

_KINDS = ("refund-late", "refund-partial", "refund-missing")
_RATES = (0.1, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class RefundWorld:
    """``faults`` are rules of the sandbox. A list of 10 entries is soon full of other purchases."""

    faults: tuple[str, ...] = ()
    late_s: float = 60.0
    partial: Decimal = Decimal("0.5")
    recent_entries: int = 50
    ids_in_text: bool = False


def refund_world(seed: int) -> RefundWorld:
    """Decide what refunds do; in half of the seeds they come when they should.

    Nothing else of a seed depends on it.
    """
    chance = random.Random(f"refunds {seed}")
    if chance.random() < 0.5:
        return RefundWorld()
    kinds = chance.sample(_KINDS, chance.choice((1, 1, 2, 3)))
    # Without more failures few seeds would have any refund.
    failing = f"fail:{chance.choice((0.1, 0.3, 0.7))}"
    return RefundWorld(
        faults=(failing, *(f"{kind}:{chance.choice(_RATES)}" for kind in kinds)),
        late_s=chance.choice((1.0, 60.0, 600.0, 4 * 3600.0)),
        partial=chance.choice((Decimal("0.5"), Decimal("0.1"), Decimal("0.9"))),
        recent_entries=chance.choice((10, 50, 50, 1000)),
        ids_in_text=chance.random() < 0.3,
    )
