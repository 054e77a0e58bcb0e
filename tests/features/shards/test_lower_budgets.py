"""A budget below what is spent and set aside for shards is refused while they are out."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from crucible_batch.errors import UserError
from crucible_batch.features.shards.divided_plan import refuse_lower_budget
from crucible_batch.journal import Journal
from crucible_batch.runs.shard_notes import outstanding_shards
from tests.harness.shard_ground import BINDING, ShardGround


def test_a_lower_budget_is_refused_while_shards_are_out(tmp_path: Path) -> None:
    ground = ShardGround(tmp_path)
    ground.divide()
    with Journal.open(ground.main, BINDING, now=1.0) as journal:
        outstanding = outstanding_shards(journal)
        assert outstanding is not None
        least = outstanding.set_aside
        assert least > 0
        refuse_lower_budget(journal, None)
        refuse_lower_budget(journal, least)
        with pytest.raises(UserError, match="used and set aside"):
            refuse_lower_budget(journal, least - Decimal("0.01"))
