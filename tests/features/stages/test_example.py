"""The example with stages makes what it says."""

from __future__ import annotations

from tests.unit.manifest.test_examples import check


def test_the_example_makes_what_it_says_within_its_budget() -> None:
    check("stages", 12)
