"""The page about the sandbox has every fault, operation, finding and field of the verdict."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

from crucible_batch.sandbox.faults import KINDS, OPERATIONS
from crucible_batch.sandbox.verdict import Finding, Kind, Verdict

PAGE = (Path(__file__).parents[3] / "docs" / "test-your-client.md").read_text(encoding="utf-8")


def test_the_page_has_every_name() -> None:
    names = {*KINDS, *OPERATIONS, *get_args(Kind)} - {"health"}
    names |= {each.name for kind in (Finding, Verdict) for each in fields(kind)}
    assert names - set(re.findall(r"`([a-z0-9_-]+)`", PAGE)) == set()
