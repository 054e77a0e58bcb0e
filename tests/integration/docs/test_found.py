"""The page of bugs found counts its rows, and names tests that are there."""

import re
from collections import Counter
from pathlib import Path

from tests.harness.features import features_of, has_feature

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reliability" / "found.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!what happened|---)(.+) \|$", PAGE, re.MULTILINE)


def test_each_row_has_a_finder_a_fix_and_a_test() -> None:
    for row in ROWS:
        _, finder, fix, test = row.split(" | ")
        assert re.fullmatch(r"attack|reading|seed \d+|seed, without its number", finder), row
        assert re.fullmatch(r"`[0-9a-f]{8}`", fix), row
        file = ROOT / test.strip("`")
        assert file.is_file() or not all(map(has_feature, features_of(file))), row


def test_the_page_counts_its_rows() -> None:
    finders = Counter(re.split(r"[ ,]", row.split(" | ")[1])[0] for row in ROWS)
    counted = ", ".join(f"{finders[name]} by {name}" for name in ("seed", "reading"))
    assert f"{len(ROWS)} faults: {finders['attack']} found by attack, {counted}." in PAGE
