"""The table of the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.features.quality.table import EACH, rows, table

DOCS = Path(__file__).parents[3] / "docs" / "checks.md"


@pytest.mark.slow
def test_the_table_of_the_docs_is_what_is_measured() -> None:
    text = DOCS.read_text(encoding="utf-8")
    kept = text.partition("<!-- table: begin -->\n")[2].partition("<!-- table: end -->")[0]
    assert kept == table(EACH)


@pytest.mark.slow
def test_no_good_picture_is_called_wrong() -> None:
    found = [row for row in rows(2) if row.marked]
    groups = {row.group for row in found}
    assert groups == {"empty pictures", "copies of one picture"}
    assert all(row.marked == row.total for row in found)
