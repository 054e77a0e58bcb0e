"""The figures in the documentation are those of the newest campaign, and a campaign's file is
complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.verification.campaign.figures import (
    CAMPAIGNS,
    PAGES,
    RESULTS,
    campaigns,
    placed,
    results,
)
from tests.verification.campaign.mutation import MODULES
from tests.verification.campaign.rows import ROWS, ZEROS
from tests.verification.crash.wire_faults import FAULTS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_figures_of_a_page_are_those_of_the_newest_campaign(page: Path) -> None:
    """Made by ``make figures``."""
    text = page.read_text(encoding="utf-8")
    assert text == placed(text, PAGES[page]()), "run make figures"


def test_the_page_of_results_has_the_number_of_network_faults() -> None:
    assert f"go wrong in {len(FAULTS)} ways" in RESULTS.read_text(encoding="utf-8")


def test_the_page_of_the_regime_has_every_row_with_its_share() -> None:
    page = (CAMPAIGNS / "regime.md").read_text(encoding="utf-8")
    cells = [
        line.strip("| ").split(" | ") for line in page.splitlines() if re.match(r"\| \d", line)
    ]
    shares = {int(row[0]): int((re.match(r"\d+", row[-1]) or ["0"])[0]) for row in cells}
    assert shares == {row.number: row.share for row in ROWS}
    assert f"of {sum(row.share for row in ROWS)} in all" in page


def test_a_campaign_tells_all_of_its_rows_and_found_nothing() -> None:
    for file in campaigns():
        told = json.loads(file.read_text(encoding="utf-8"))
        assert len(told["revision"]) == 40
        assert all(row["command"] and row["counts"] for row in told["rows"])
        assert all(row["found"].keys() >= set(ZEROS) for row in told["rows"])
        assert sum(told["totals"]["found"].values()) == 0
        assert told["planted"]["caught"] == told["planted"]["bugs"] >= 30


def test_a_campaign_that_is_shown_has_every_row() -> None:
    for file in campaigns()[-1:]:
        told = json.loads(file.read_text(encoding="utf-8"))
        assert [row["row"] for row in told["rows"]] == [row.number for row in ROWS]
        assert results().count("\n| ") == len(ROWS) + 1
        assert [row["never_struck"] for row in told["rows"]] == [[]] * len(ROWS)
        mutants = next(row["counts"] for row in told["rows"] if row["row"] == 15)
        assert mutants["modules"] == len(MODULES)
