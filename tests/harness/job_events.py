"""Events of a job and of its uploads, of which a test says only what it is about."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from crucible_batch.core.events import Accepted, Held, Intended, Saved
from tests.harness.replacing import replace

_HELD = Held(at=1.0, attempt=1, key="k", credits=Decimal(0), price_class="workflow:w")
_ACCEPTED = Accepted(at=1.0, job_id="j", credits=Decimal(0), reused=False)
_INTENDED = Intended(at=1.0, nonce="n", credits=Decimal(0), payer="job")
_SAVED = Saved(
    at=1.0,
    index=0,
    path="",
    sha256="ab" * 32,
    byte_size=1,
    mime_type="image/png",
    width=1,
    height=1,
)


def held_event(credits: Decimal | int | str, **others: Any) -> Held:
    """Return a hold for the first attempt of a job of the workflow ``w``."""
    return replace(_HELD, credits=Decimal(credits), **others)


def accepted_event(credits: Decimal | int | str, job_id: str = "j", **others: Any) -> Accepted:
    return replace(_ACCEPTED, credits=Decimal(credits), job_id=job_id, **others)


def intended_event(credits: Decimal | int | str, payer: str = "job", **others: Any) -> Intended:
    return replace(_INTENDED, credits=Decimal(credits), payer=payer, **others)


def saved_event(index: int = 0, path: str | None = None, **others: Any) -> Saved:
    """Return the event of an output at ``a/INDEX.png``, unless another path is given."""
    return replace(_SAVED, index=index, path=f"a/{index}.png" if path is None else path, **others)
