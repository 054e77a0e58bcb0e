"""The figures in the documentation are those of the campaigns, a campaign's file is complete, and
the sums have each campaign once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verification.campaign import totals
from tests.verification.campaign.figures import (
    CAMPAIGNS,
    PLACES,
    RESULTS,
    campaigns,
    placed,
    results,
)
from tests.verification.campaign.mutation import MODULES
from tests.verification.campaign.rows import ROWS, ZEROS
from tests.verification.crash.wire_faults import FAULTS


@pytest.mark.parametrize(("page", "markers", "figures"), PLACES)
def test_the_figures_of_a_page_are_those_of_the_campaigns(
    page: Path, markers: tuple[str, str], figures: Callable[[], str]
) -> None:
    """Made by ``make figures``."""
    text = page.read_text(encoding="utf-8")
    assert text == placed(text, figures(), markers), "run make figures"


def test_the_sums_have_each_campaign_once() -> None:
    kept = totals.load()
    for file in campaigns():
        told = json.loads(file.read_text(encoding="utf-8"))
        assert totals.added(kept, told) == kept, f"{file.name}: run make figures"
    assert json.loads(totals.TOTALS.read_text(encoding="utf-8"))["totals"] == totals.sums(kept)
    starts = [(part["revision"], part["started_at"]) for part in kept]
    assert len(set(starts)) == len(starts)


def test_rows_that_were_run_again_count_for_their_own_revision() -> None:
    row = {"row": 1, "counts": {"kills": 3}, "found": {"leftovers": 0}}
    again = {**row, "revision": "b", "started_at": "2026-02", "seed": 8, "counts": {"kills": 5}}
    found = {**row, "row": 2, "found": {"double charges": 1}}
    told = {"revision": "a", "started_at": "2026-01", "seed": 7, "rows": [row, again, found]}
    first, second = totals.added([], told)
    assert (first["rows"], first["counts"]["kills"]) == ([1, 2], 6)
    assert (second["revision"], second["seed"], second["counts"]["kills"]) == ("b", 8, 5)
    assert totals.sums([first, second])["failures"] == 1
    assert first["failures"] == {"double charges": 1}
    cells = [line.split("|")[4].strip() for line in totals.table([first, second])]
    assert cells == ["kills", "---", "6", "5", "11"]


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
