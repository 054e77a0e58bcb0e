"""The keys ``budget.per`` and ``budget.account`` of manifests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from crucible_batch.errors import Problem
from crucible_batch.manifest.field_types import AccountName
from crucible_batch.manifest.models import Budget
from crucible_batch.manifest.source_map import SourceNode


class PeriodKeys(Budget):
    """A budget that may be that of each period, shared by the runs that name its account."""

    per: Literal["day", "week", "month"] | None = Field(
        None,
        description=(
            "`credits` is then the limit for each such period of the time zone,"
            " over all runs of all manifests that name the same account."
        ),
    )
    account: AccountName | None = Field(
        None, description="Name of the budget that manifests with `per` share.", examples=["studio"]
    )

    @property
    def period(self) -> str | None:
        return self.per

    @property
    def shared_as(self) -> str | None:
        return self.account

    def problems(self, site: SourceNode) -> Iterator[Problem]:
        yield from super().problems(site)
        if self.per is not None and self.credits is None:
            yield site.problem(("budget", "per"), "`per` needs `credits`, the limit for one period")
        if self.per is not None and self.account is None:
            yield site.problem(("budget", "per"), "`per` needs `account`", key=True)
        if self.account is not None and self.per is None:
            yield site.problem(("budget", "account"), "`account` needs `per`", key=True)


KEYS = (PeriodKeys,)


def period_keys(budget: Budget) -> PeriodKeys:
    """Return the budget of a manifest with its keys for periods."""
    assert isinstance(budget, PeriodKeys)
    return budget
