"""The cap of a server: what it refuses, nothing is set aside for, and no run begins."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from crucible_batch.core.credits import Credits
from crucible_batch.errors import SpendLimitError
from crucible_batch.features.agents.part import capped
from crucible_batch.features.agents.spend_cap import JournalFigures, SpendCap
from crucible_batch.journal import Binding, Journal
from tests.harness.run_terms import run_terms

TERMS = run_terms(5, 2)
NOTHING = JournalFigures("other", 0, Decimal(0))


class Contested(SpendCap):
    """A cap of which another run takes all that is left, at the last moment."""

    def set_aside_for(
        self, directory: str, figures: JournalFigures, budget: Credits, mark: str
    ) -> bool:
        assert super().set_aside_for("/other", NOTHING, self.allowance.left, "other")
        return super().set_aside_for(directory, figures, budget, mark)


def begin(cap: SpendCap, directory: Path) -> None:
    binding = Binding("m", "default", "https://gateway.test")
    with (
        Journal.open(directory, binding, now=1.0) as journal,
        capped(cap, journal, TERMS, directory),
    ):
        assert cap.allowance.set_aside == 5


def test_a_run_within_the_cap_sets_its_budget_aside_and_gives_back_what_it_did_not_spend(
    tmp_path: Path,
) -> None:
    cap = SpendCap(Decimal(5))
    begin(cap, tmp_path)
    assert cap.allowance.left == 5


@pytest.mark.parametrize("cap", [SpendCap(Decimal(4)), Contested(Decimal(8))])
def test_a_run_does_not_begin_unless_its_budget_was_set_aside(
    cap: SpendCap, tmp_path: Path
) -> None:
    with pytest.raises(SpendLimitError, match="with a budget of 5 this run may spend 5 credits"):
        begin(cap, tmp_path)
    assert cap.allowance.set_aside in {0, 8}
