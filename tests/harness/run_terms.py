"""Terms of a run, of which a test says only what it is about."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from crucible_batch.core.plan import RunTerms


def run_terms(
    budget: Decimal | int | str | None = None,
    ceiling: Decimal | int | str | None = None,
    **others: Any,
) -> RunTerms:
    """Return the terms of a run of ``m.yaml`` with three attempts for each job."""
    fields = {
        "manifest_name": "m",
        "manifest_path": "m.yaml",
        "manifest_sha256": "0" * 64,
        "run_id": "default",
        "budget": None if budget is None else Decimal(budget),
        "ceiling": None if ceiling is None else Decimal(ceiling),
        "attempts": 3,
        "never": frozenset[str](),
    }
    return RunTerms(**{**fields, **others})
