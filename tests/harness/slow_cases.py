"""Cases of one test of which some are tried on each ``make test``, and all others with the long
proofs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest

Case = TypeVar("Case")


def quick_where(cases: Iterable[Case], is_quick: Callable[[Case], bool]) -> list[Any]:
    """Mark as slow each case that is not quick. A case of several arguments is a tuple."""
    return [case if is_quick(case) else _slow(case) for case in cases]


def quick_every(step: int, cases: Iterable[Any]) -> list[Any]:
    """Mark as slow all cases but the first and each ``step``-th after it."""
    return [case if number % step == 0 else _slow(case) for number, case in enumerate(cases)]


def _slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
