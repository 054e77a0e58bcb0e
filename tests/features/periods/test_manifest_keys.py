"""The manifest key ``budget`` with a period."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.errors import ManifestError
from tests.harness.case_table import each_case
from tests.unit.manifest.test_operations import load


@each_case(
    "text, message",
    [
        ("budget: {credits: 5, per: day}", "`per` needs `account`"),
        ("budget: {credits: 5, account: studio}", "`account` needs `per`"),
        ("budget: {per: day, account: studio}", "`per` needs `credits`"),
        ("budget: {credits: 5, per: year, account: studio}", "must be 'day', 'week' or 'month'"),
        ("budget: {credits: 5, per: day, account: ../x}", "must consist of letters"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
