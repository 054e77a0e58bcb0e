"""A temporary directory that is full is the user's to mend.

That nothing is left there: journal/test_plan_file.py.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from crucible_batch.errors import UserError
from crucible_batch.temporary_database import room_for, temporary_database


def test_a_full_disk_is_reported_with_what_to_do() -> None:
    table = "CREATE TABLE kept (body BLOB NOT NULL)"
    with closing(temporary_database("PRAGMA max_page_count = 4", table)) as connection:

        def fill() -> None:
            with room_for("the plan"):
                connection.execute("INSERT INTO kept VALUES (zeroblob(100000))")

        with pytest.raises(
            UserError, match=r"the plan can't be stored in the temporary directory: .*full"
        ) as caught:
            fill()
    assert "TMPDIR" in (caught.value.hint or "")
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
