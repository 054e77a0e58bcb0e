"""Statements that a newer Python refuses, on whichever these tests run."""

from __future__ import annotations

import re
from pathlib import Path

import crucible_batch


def test_no_parameter_of_a_statement_has_a_number() -> None:
    """Python 3.12 warns of ``?1`` with a sequence of values, and 3.14 refuses it."""
    found = [
        f"{path.name}: {line}"
        for path in Path(crucible_batch.__file__).parent.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bWHERE\b.*\?[1-9]|[=<>,(] ?\?[1-9]", line)
    ]
    assert found == []
